/** All that neither the key nor the chain tells, in one encrypted file that is whole at every moment and new after each change. */
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { MarketError } from '../../../market/errors.ts'
import { type BackupHeader, backupLimits, BackupText, Counts, readBackup } from './format.ts'
import type { Rows } from '../coins/batch.ts'
import { Counter } from '../coins/rows.ts'
import type { CoinStore } from '../coins/store.ts'
import type { KeyWallet } from '../key-wallet.ts'

export { type Backup, type BackupHeader, backupLimits, readBackup } from './format.ts'

export interface BackupParts {
  readonly keys: KeyWallet
  readonly store: CoinStore
  readonly now: () => number
}

/**
 * The sequence of a backup after the one of `sequence`. It is newer than all before it, whoever made them: the clock says so
 * between programs that share none.
 */
export const newerThan = (sequence: number, now: number): number => Math.max(sequence + 1, now)

/** A backup of this moment, e.g. for a record to oneself. @param sequence greater than that of every one before */
export async function makeBackup({ keys, store, now }: BackupParts, sequence: number): Promise<Uint8Array> {
  const text = await store.exclusive(async () => {
    const { identity, network } = store.meta()
    const recovery = store.recovery()
    const text = new BackupText({
      ...{ version: 1, identity, network, sequence, taken: now(), counts: countsOf(store) },
      ...(recovery && { recovery }),
    })
    for await (const row of store.rows()) text.add(row)
    return text
  })
  return text.seal(keys)
}

/** The file of a backup. @throws as `readBackup`, and ERR_NOT_FOUND when there is none */
export async function readBackupFile(
  path: string,
  of: Parameters<typeof readBackup>[1],
): ReturnType<typeof readBackup> {
  return readBackup(await bytesOf(path), of)
}

/** Keeps the file of a backup as new as the store, one write at a time. */
export class BackupFile {
  readonly path: string
  readonly #parts: BackupParts
  readonly #stop: () => void
  /** Of the newest backup there is, written here or found. */
  #sequence: number
  /** Changes of the store so far, and how many of them the file has. */
  #changes = 1
  #written = 0
  #writing: Promise<void> | undefined
  #failure: unknown

  /**
   * Writes at once when there is no backup yet.
   * @throws ERR_CONFLICT rather than to replace what is not a backup of this wallet, or one that has more than the store:
   * that one is to be restored first
   */
  static async open(path: string, parts: BackupParts): Promise<BackupFile> {
    const absolute = resolve(path)
    const before = await headerOf(absolute, parts)
    const counts = countsOf(parts.store)
    const ahead = before && Counter.options.filter((kind) => before.counts[kind] > counts[kind])
    if (ahead !== undefined && ahead.length > 0)
      throw new MarketError(
        'ERR_CONFLICT',
        `the backup ${absolute} has more than the coins here: restore it first`,
      )
    const file = new BackupFile(absolute, parts, before?.sequence ?? 0)
    try {
      await file.flushed()
      return file
    } catch (error) {
      file.#stop()
      throw error
    }
  }

  private constructor(path: string, parts: BackupParts, sequence: number) {
    this.path = path
    this.#parts = parts
    this.#sequence = sequence
    this.#stop = parts.store.onChange(() => {
      this.#changes++
      void this.#write().catch(() => undefined) // whoever waits hears of it, as does whoever asks for `failure`
    })
  }

  /** Why the last write failed; undefined once one went well. The next change, or `flushed`, tries again. */
  get failure(): unknown {
    return this.#failure
  }

  /** Of the last one written. */
  get sequence(): number {
    return this.#sequence
  }

  /** Resolves when the state of now is on disk. @throws ERR_INTERNAL when it cannot be written; ERR_TOO_LARGE */
  async flushed(): Promise<void> {
    const wanted = this.#changes
    while (this.#written < wanted) await this.#write()
  }

  /** The state of now as bytes, newer than every file before. */
  export(): Promise<Uint8Array> {
    return makeBackup(this.#parts, this.#next())
  }

  /** Writes what is not on disk, and stops. */
  async close(): Promise<void> {
    this.#stop()
    await this.flushed()
  }

  #next(): number {
    this.#sequence = newerThan(this.#sequence, this.#parts.now())
    return this.#sequence
  }

  #write(): Promise<void> {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
    })
    return this.#writing
  }

  /** Until the file has all changes, also those that come while it is being written. */
  async #writeAll(): Promise<void> {
    while (this.#written < this.#changes) {
      const changes = this.#changes
      try {
        await replace(this.path, await makeBackup(this.#parts, this.#next()))
      } catch (cause) {
        this.#failure = cause
        if (cause instanceof MarketError) throw cause
        throw new MarketError('ERR_INTERNAL', `cannot write the backup ${this.path}`, { cause })
      }
      this.#failure = undefined
      this.#written = changes
    }
  }
}

const countsOf = (rows: Pick<Rows, 'counter'>): Counts =>
  Counts.parse(Object.fromEntries(Counter.options.map((kind) => [kind, rows.counter(kind)])))

/** Of the backup that is there. @throws ERR_CONFLICT for anything else that is there */
async function headerOf(path: string, { keys, store }: BackupParts): Promise<BackupHeader | undefined> {
  try {
    return (await readBackupFile(path, { keys, network: store.meta().network })).header
  } catch (cause) {
    if (!(cause instanceof MarketError)) throw cause
    if (cause.code === 'ERR_NOT_FOUND') return undefined
    throw new MarketError('ERR_CONFLICT', `${path} is not replaced: ${cause.message}`, { cause })
  }
}

async function bytesOf(path: string): Promise<Uint8Array> {
  try {
    if ((await stat(path)).size > backupLimits.bytes)
      throw new MarketError('ERR_TOO_LARGE', `${path} is too large for a backup`)
    return await readFile(path)
  } catch (cause) {
    if (cause instanceof MarketError) throw cause
    const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    throw new MarketError(isMissing ? 'ERR_NOT_FOUND' : 'ERR_INTERNAL', `cannot read the backup ${path}`, {
      cause,
    })
  }
}

/** In one step, and durable: there is always a whole file of that name. */
async function replace(path: string, bytes: Uint8Array): Promise<void> {
  const directory = dirname(path)
  // Always the same name, so that a crash leaves one at most: who has the store open is the only one that writes.
  const temporary = join(directory, `.${basename(path)}.tmp`)
  try {
    const file = await open(temporary, 'w', 0o600)
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  if (process.platform === 'win32') return // directories cannot be opened there
  const handle = await open(directory, 'r')
  await handle.sync().finally(() => handle.close())
}
