/**
 * Copies of a store, taken while it serves. A backup is a directory of its own with these files: `store.backup`, which
 * gets its name last, so that whatever has that name is whole; and `relay.key`, as the relay keeps it. Where the relay has
 * coins, a third one is `wallet.backup`, encrypted to that key. The payment log of contracts (relay/escrow/payment-log.ts) is in
 * none: it is the second path, for what was signed after the backup.
 */
import { createHash } from 'node:crypto'
import { chmod, type FileHandle, mkdir, open, readdir, readFile, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { MarketError } from '../../market/errors.ts'
import { BackupWriter } from './backup-file.ts'
import type { Snapshot } from './database.ts'
import { everything, metaKey } from './keys.ts'
import { checkVersion, decodeMeta } from './meta.ts'

export const storeFile = 'store.backup'
export const keyFile = 'relay.key'
export const walletFile = 'wallet.backup'

export const backupLimits = {
  /** Rows read at once, of 1 MiB together at most: about 3 ms in which nobody else is served. */
  readRows: 1024,
  /** After this much work the backup waits. */
  sliceMs: 5,
  /** A busy relay makes every slice seem long, for it shares the time: no reason to wait without end. */
  waitMs: 250,
} as const

/** How much of the relay's time a backup takes, and by which clock. */
export interface Pace {
  /** The share of the time in which the backup works: above 0, at most 1. */
  readonly duty: number
  /** Milliseconds that no setting of the clock changes. */
  monotonic(): number
  wait(ms: number, signal: AbortSignal): Promise<void>
}

/** A relay that writes all it can loses about 6 % (bench/backup.ts); 50 GB of small records take it two hours. */
const defaultPace: Pace = {
  duty: 0.1,
  monotonic: () => performance.now(),
  wait: (ms, signal) => setTimeout(ms, undefined, { signal }),
}

export interface BackupOptions {
  /** What is written down. It is closed, whatever happens. */
  readonly snapshot: Snapshot
  /** The file with the relay's key. */
  readonly key: string
  /** The backup of the coins; absent where there are none. */
  readonly coins?: (() => Promise<Uint8Array>) | undefined
  /** Must be empty, if it exists. */
  readonly directory: string
  readonly now: number
  readonly signal: AbortSignal
  readonly pace?: Partial<Pace>
}

export interface Backup {
  readonly directory: string
  readonly takenAt: number
  readonly rows: number
  readonly bytes: number
  /** Of the coins' own backup; null where there are none. */
  readonly walletBytes: number | null
}

/**
 * Writes a backup, durable when this resolves; when it rejects no file and no directory of it is left.
 * @throws ERR_CONFLICT when the directory is in use, ERR_NOT_FOUND when the one it would lie in is not there; ERR_BUSY when the store was closed meanwhile or `signal` was
 * aborted; ERR_INTERNAL when something cannot be read or written.
 */
export async function writeBackup(options: BackupOptions): Promise<Backup> {
  const { snapshot, directory, signal } = options
  try {
    const { file, made } = await claim(directory)
    try {
      return await write(options, file).finally(() => file.close())
    } catch (error) {
      for (const name of [partOf(storeFile), storeFile, keyFile, walletFile])
        await rm(join(directory, name), { force: true })
      await unmake(directory, made)
      throw error
    }
  } catch (cause) {
    if (signal.aborted) throw new MarketError('ERR_BUSY', 'the backup was interrupted', { cause })
    throw failed(`the backup to ${directory} failed`, cause)
  } finally {
    await snapshot.close()
  }
}

export const partOf = (name: string): string => `${name}.part`

/** An error of the file system or the store as one that says what was being done. */
export function failed(what: string, cause: unknown): MarketError {
  const { code, extras } =
    cause instanceof MarketError ? cause : { code: 'ERR_INTERNAL' as const, extras: {} }
  return new MarketError(code, `${what}: ${cause instanceof Error ? cause.message : cause}`, {
    extras,
    cause,
  })
}

/** Only the owner may read it; durable once its directory is. */
export async function writeNewFile(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Makes the names in a directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return // directories cannot be opened there
  const handle = await open(directory, 'r')
  await handle.sync().finally(() => handle.close())
}

/**
 * The file of this backup and no other in a directory that is empty but for it, and whether the directory was made for it.
 * Those above are not made: below some paths of the system (/proc) that never ends.
 */
async function claim(directory: string): Promise<{ file: FileHandle; made: boolean }> {
  const made = await make(directory)
  try {
    if ((await readdir(directory)).length > 0)
      throw new MarketError('ERR_CONFLICT', 'it is not empty, and a backup takes a directory of its own')
    await chmod(directory, 0o700)
    return { file: await open(join(directory, partOf(storeFile)), 'wx', 0o600), made }
  } catch (error) {
    await unmake(directory, made)
    throw error
  }
}

async function make(directory: string): Promise<boolean> {
  try {
    await mkdir(directory, { mode: 0o700 })
    return true
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (code !== 'ENOENT') throw cause
    throw new MarketError('ERR_NOT_FOUND', `it cannot be made in ${dirname(directory)}`, { cause })
  }
}

/** Removes a directory that was made for a backup; not one that others use by now. */
async function unmake(directory: string, made: boolean): Promise<void> {
  // Why the backup failed says more.
  if (made) await rmdir(directory).catch(() => {})
}

async function write(options: BackupOptions, file: FileHandle): Promise<Backup> {
  const { snapshot, key, coins, directory, now } = options
  const walletBytes = await coins?.()
  const keyBytes = await readFile(key)
  const stored = snapshot.get(storeKey)
  if (stored === undefined) throw new MarketError('ERR_INTERNAL', 'the store does not say what it is')
  const writer = new BackupWriter(file)
  await writer.begin({
    takenAt: now,
    key: hashOf(keyBytes),
    ...(walletBytes && { wallet: hashOf(walletBytes) }),
    store: checkVersion(decodeMeta(stored)),
  })
  await writeRows(options, writer)
  await writer.end()

  await writeNewFile(join(directory, keyFile), keyBytes)
  if (walletBytes !== undefined) await writeNewFile(join(directory, walletFile), walletBytes)
  await rename(join(directory, partOf(storeFile)), join(directory, storeFile))
  await syncDirectory(directory)
  await syncDirectory(dirname(directory))
  const { rows, bytes } = writer
  return { directory, takenAt: now, rows, bytes, walletBytes: walletBytes?.length ?? null }
}

export const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

async function writeRows({ snapshot, signal, pace }: BackupOptions, writer: BackupWriter): Promise<void> {
  const { duty, monotonic, wait } = { ...defaultPace, ...pace }
  const scan = snapshot.scan(everything)
  try {
    for (let began = monotonic(); ; ) {
      signal.throwIfAborted()
      const rows = await scan.next(backupLimits.readRows)
      if (rows.length === 0) return
      await writer.write(rows.filter(([key]) => !key.equals(storeKey)))
      const workedMs = monotonic() - began
      if (workedMs < backupLimits.sliceMs) continue
      await wait(Math.min(workedMs * (1 / duty - 1), backupLimits.waitMs), signal)
      began = monotonic()
    }
  } finally {
    await scan.close()
  }
}

const storeKey = metaKey('store')
