/** A file that says which process has something: what a killed process leaves behind is taken over. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { MarketError } from '../../../market/errors.ts'

/** Those of this process: its number alone could also be that of an earlier one. */
const held = new Set<string>()

/** @returns what gives it back @throws ERR_BUSY while it is held */
export function lock(path: string): () => void {
  const holder = held.has(path) ? process.pid : holderOf(path)
  if (holder !== undefined) throw new MarketError('ERR_BUSY', `process ${holder} holds ${path}`)
  writeFileSync(path, String(process.pid), { mode: 0o600 })
  held.add(path)
  return () => {
    held.delete(path)
    rmSync(path, { force: true })
  }
}

/** The other process that is alive and holds it. */
function holderOf(path: string): number | undefined {
  const pid = Number(read(path))
  if (!Number.isSafeInteger(pid) || pid <= 0 || pid === process.pid) return undefined
  try {
    process.kill(pid, 0)
    return pid
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? pid : undefined // kill throws nothing else
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '' // system calls throw errors with codes
    throw error
  }
}
