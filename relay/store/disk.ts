/** Refuses writes before the disk is full: a full disk stops LevelDB in the middle of a batch. */
import { statfsSync } from 'node:fs'
import { MarketError } from '../../market/errors.ts'

const checkEveryMs = 1000
const retryAfterMs = 60_000
/** About what one pull leaves in the log, its indexes included. */
const pullBytes = 1024

export interface DiskOptions {
  readonly directory: string
  readonly minFreeBytes: number
  now(): number
  /** Free bytes of the file system of `directory`, for an ordinary user. */
  freeBytes?(directory: string): number
}

export class DiskGuard {
  readonly #options: DiskOptions
  readonly #freeBytes: (directory: string) => number
  #checkedAt = Number.NEGATIVE_INFINITY
  /** As measured, less what was admitted since. */
  #free = 0

  constructor(options: DiskOptions) {
    this.#options = options
    this.#freeBytes = options.freeBytes ?? freeBytes
  }

  /** As measured in this second, less what was admitted since. */
  get free(): number {
    return this.#measure()
  }

  /** Why writes are refused, if they are. */
  get trouble(): string | undefined {
    return this.#measure() < this.#options.minFreeBytes ? 'the disk is almost full' : undefined
  }

  /** @throws ERR_BUSY when, with these bytes, less than `minFreeBytes` would stay free. Measures at most once a second. */
  admit(bytes: number): void {
    this.#admit(bytes, this.#options.minFreeBytes)
  }

  /** Room for the evidence of one pull, of which half the reserve may be used. @throws ERR_BUSY */
  admitPull(): void {
    this.#admit(pullBytes, this.#options.minFreeBytes / 2)
  }

  #admit(bytes: number, reserve: number): void {
    if (this.#measure() - bytes < reserve) {
      throw new MarketError('ERR_BUSY', 'the disk is almost full', { extras: { retryAfterMs } })
    }
    this.#free -= bytes
  }

  #measure(): number {
    const now = this.#options.now()
    // A clock that was set back must not postpone the next check.
    if (Math.abs(now - this.#checkedAt) >= checkEveryMs) {
      this.#free = this.#freeBytes(this.#options.directory)
      this.#checkedAt = now
    }
    return this.#free
  }
}

function freeBytes(directory: string): number {
  const { bavail, bsize } = statfsSync(directory)
  return bavail * bsize
}
