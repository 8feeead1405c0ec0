/**
 * One holder at a time among all processes of a machine, with plain files.
 *
 * A lock is a row of numbered files `NAME.N`; the highest number is the truth: it says which process holds the
 * lock, or `free`. To take it is to create the next number, which only one can do, and only after a free or
 * dead holder. Nobody ever deletes the highest, so breaking a dead holder's lock cannot break a living one's.
 */
import { randomBytes } from 'node:crypto'
import { link, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { exists, namesIn, readText, remove, writeDurably } from './durable.ts'
import { ClientError } from './errors.ts'

const pollMs = 25
export const lockWaitMs = 120_000

/** Runs `work` while holding the lock. @throws ERR_LOCKED when a living process keeps it longer than `waitMs`. */
export async function withLock<T>(
  directory: string,
  name: string,
  work: () => Promise<T>,
  options: { signal?: AbortSignal; waitMs?: number } = {},
): Promise<T> {
  const { signal, waitMs = lockWaitMs } = options
  const deadline = Date.now() + waitMs
  let taken = await take(directory, name)
  while (typeof taken !== 'string') {
    if (Date.now() >= deadline) {
      throw new ClientError('ERR_LOCKED', `process ${taken.holder} is busy with ${name} in ${directory}`)
    }
    await delay(pollMs * (1 + Math.random()), undefined, signal && { signal })
    taken = await take(directory, name)
  }
  try {
    return await work()
  } finally {
    await writeDurably(taken, 'free', { sync: false })
  }
}

/** Forgets a lock that nobody will ask for again. */
export async function dropLock(directory: string, name: string): Promise<void> {
  const all = await numbers(directory, name)
  await Promise.all(all.map((number) => remove(join(directory, `${name}.${number}`))))
}

/** The path of the lock file now ours, or who holds the lock. */
async function take(directory: string, name: string): Promise<string | { holder: number }> {
  const newest = Math.max(0, ...(await numbers(directory, name)))
  if (newest > 0) {
    const holder = Number(await readText(join(directory, `${name}.${newest}`)))
    // NaN is `free`, 0 a file deleted by a newer holder: try, the number decides.
    if (holder > 0 && isAlive(holder)) return { holder }
  }
  const mine = join(directory, `${name}.${newest + 1}`)
  if (!(await createWhole(mine))) return { holder: 0 }
  const all = await numbers(directory, name)
  // Between our look and our creation others may have come, gone and cleaned up below them.
  if (Math.max(...all) > newest + 1) {
    await remove(mine)
    return { holder: 0 }
  }
  await Promise.all(all.filter((n) => n <= newest).map((n) => remove(join(directory, `${name}.${n}`))))
  return mine
}

/** Creates a lock file that names us from its first moment on; false when it is there already. */
async function createWhole(path: string): Promise<boolean> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  await writeFile(temporary, String(process.pid), { mode: 0o600 })
  try {
    await link(temporary, path)
    return true
  } catch (error) {
    if (exists(error)) return false
    throw error
  } finally {
    await remove(temporary)
  }
}

async function numbers(directory: string, name: string): Promise<number[]> {
  const pattern = new RegExp(`^${name}\\.([1-9][0-9]*)$`)
  const matches = (await namesIn(directory)).map((file) => pattern.exec(file)?.[1])
  return matches.filter((match) => match !== undefined).map(Number)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' // alive, and somebody else's
  }
}
