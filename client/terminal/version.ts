/** The version of this software, from package.json. */
import { createRequire } from 'node:module'

// The same file lies two folders up from the source and three from the build.
const require = createRequire(import.meta.url)
const manifest = (): { version: string } => {
  try {
    return require('../../package.json')
  } catch {
    return require('../../../package.json')
  }
}

export const { version } = manifest()
