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
import { ClientError } from '../errors.ts'
import { exists, namesIn, readText, remove, writeDurably } from './durable.ts'

const pollMs = 25
export const lockWaitMs = 120_000

/**
 * The tokens of what this process holds. A file that names our pid with another token was left by a dead process
 * that had this pid before us: in a container every process is number 1.
 */
const held = new Set<string>()

export interface LockOptions {
  readonly signal?: AbortSignal | undefined
  readonly waitMs?: number
}

/** Which lock, among all that lie in `directory`. */
export interface LockName {
  readonly directory: string
  readonly name: string
}

interface Taken {
  readonly path: string
  readonly token: string
}

/** Runs `work` while holding the lock. @throws ERR_LOCKED when a living process keeps it longer than `waitMs`. */
export async function withLock<T>(
  lock: LockName,
  work: () => Promise<T>,
  { signal, waitMs = lockWaitMs }: LockOptions = {},
): Promise<T> {
  const deadline = Date.now() + waitMs
  let taken = await take(lock)
  while ('holder' in taken) {
    if (Date.now() >= deadline) {
      const { directory, name } = lock
      throw new ClientError('ERR_LOCKED', `process ${taken.holder} is busy with ${name} in ${directory}`)
    }
    await delay(pollMs * (1 + Math.random()), undefined, signal && { signal })
    taken = await take(lock)
  }
  try {
    return await work()
  } finally {
    held.delete(taken.token)
    await writeDurably(taken.path, 'free', { sync: false })
  }
}

/** Forgets a lock that nobody will ask for again. */
export async function dropLock({ directory, name }: LockName): Promise<void> {
  const all = await numbers({ directory, name })
  await Promise.all(all.map((number) => remove(join(directory, `${name}.${number}`))))
}

/** The lock file now ours, or who holds the lock. */
async function take({ directory, name }: LockName): Promise<Taken | { holder: number }> {
  const newest = Math.max(0, ...(await numbers({ directory, name })))
  if (newest > 0) {
    const [pid, token] = ((await readText(join(directory, `${name}.${newest}`))) ?? '').split(' ')
    const holder = Number(pid)
    // NaN is `free`, 0 a file deleted by a newer holder: try, the number decides.
    if (holder > 0 && isHolding(holder, token)) return { holder }
  }
  const path = join(directory, `${name}.${newest + 1}`)
  const token = await createWhole(path)
  if (token === undefined) return { holder: 0 }
  const all = await numbers({ directory, name })
  // Between our look and our creation others may have come, gone and cleaned up below them.
  if (Math.max(...all) > newest + 1) {
    held.delete(token)
    await remove(path)
    return { holder: 0 }
  }
  await Promise.all(all.filter((n) => n <= newest).map((n) => remove(join(directory, `${name}.${n}`))))
  return { path, token }
}

/** Creates a lock file that names us from its first moment on; undefined when it is there already. */
async function createWhole(path: string): Promise<string | undefined> {
  const token = randomBytes(6).toString('hex')
  const temporary = `${path}.${token}.tmp`
  await writeFile(temporary, `${process.pid} ${token}`, { mode: 0o600 })
  // Before anybody can see it: another task of ours must not take it for a dead process'.
  held.add(token)
  try {
    await link(temporary, path)
    return token
  } catch (error) {
    held.delete(token)
    if (exists(error)) return undefined
    throw error
  } finally {
    await remove(temporary)
  }
}

async function numbers({ directory, name }: LockName): Promise<number[]> {
  const pattern = new RegExp(`^${name}\\.([1-9][0-9]*)$`)
  const matches = (await namesIn(directory)).map((file) => pattern.exec(file)?.[1])
  return matches.filter((match) => match !== undefined).map(Number)
}

const isHolding = (pid: number, token: string | undefined): boolean =>
  pid === process.pid ? token !== undefined && held.has(token) : isAlive(pid)

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' // alive, and somebody else's
  }
}
