/** The version of this software, from package.json. */
import { createRequire } from 'node:module'

// The same file lies one folder up from the source and two from the build.
const require = createRequire(import.meta.url)
const manifest = (): { version: string } => {
  try {
    return require('../package.json')
  } catch {
    return require('../../package.json')
  }
}

export const { version } = manifest()
