/** How often a contract is paid: each payment is written to two disks for good. */
import { MarketError } from '../../market/errors.ts'
import type { Hash } from '../../market/units.ts'

/** At once, then one in each second. */
const burst = 32
const everyMs = 1000
/** Contracts whose pace is remembered. */
const remembered = 10_000

export class Pace {
  /** When each has all its payments again. */
  readonly #rested = new Map<Hash, number>()

  /** @throws ERR_LIMIT with `retryAfterMs` */
  check(id: Hash, now: number): void {
    const from = Math.max(now, this.#rested.get(id) ?? 0)
    const retryAfterMs = from + everyMs - (now + burst * everyMs)
    if (retryAfterMs > 0)
      throw new MarketError('ERR_LIMIT', 'too many payments of this contract', { extras: { retryAfterMs } })
    this.#rested.delete(id)
    this.#rested.set(id, from + everyMs)
    if (this.#rested.size > remembered) this.#rested.delete(this.#rested.keys().next().value as Hash) // it is not empty
  }
}
