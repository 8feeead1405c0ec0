/**
 * What the relay may promise to keep. Whoever writes is promised room until his record is gone, so a record is taken only where the
 * promises of now leave room for it: decided in the batch of its write, on the stock that the same batch changes. What was
 * promised is kept, also when the capacity is lowered below it.
 */
import { statfsSync } from 'node:fs'
import { MarketError } from '../../market/errors.ts'
import { billedBytes } from '../../market/price.ts'
import { promisedBytes, stockOf } from '../store/counters.ts'
import type { Reader } from '../store/postings.ts'

/** Room comes back when records end; sooner than this it is not worth asking again. */
const retryAfterMs = 600_000

export class Capacity {
  readonly #store: Reader
  readonly #bytes: number
  #sold = 0

  constructor(store: Reader, bytes: number) {
    this.#store = store
    this.#bytes = bytes
  }

  /** As the promises of this moment are, or were when the store could last be read: bytes in all, sold, and free. */
  get state(): { readonly bytes: number; readonly sold: number; readonly free: number } {
    try {
      this.#sold = promisedBytes(stockOf(this.#store))
    } catch (error) {
      if (!(error instanceof MarketError) || error.code !== 'ERR_BUSY') throw error
    }
    return { bytes: this.#bytes, sold: this.#sold, free: Math.max(0, this.#bytes - this.#sold) }
  }

  /** @throws ERR_BUSY with `reason: "capacity"` where a record of so many content bytes has no room */
  check(bytes: number, from: Reader = this.#store): void {
    const free = this.#bytes - promisedBytes(stockOf(from))
    if (billedBytes(bytes) <= free) return
    const extras = { reason: 'capacity', free: Math.max(0, free), retryAfterMs }
    throw new MarketError('ERR_BUSY', 'this relay has no room left to sell for this', { extras })
  }
}

/** Without `--capacity`: what is promised, and what the disk has beyond the reserve. */
export function capacityOfDisk(store: Reader, directory: string, reserveBytes: number): number {
  const { bavail, bsize } = statfsSync(directory)
  return promisedBytes(stockOf(store)) + Math.max(0, bavail * bsize - reserveBytes)
}
