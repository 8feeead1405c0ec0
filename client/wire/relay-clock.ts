/** The time at a relay, as far as its signed answers told us (docs/protocol.md §3.2). */
import { Refused } from '../errors.ts'
import { connectionLimits } from './info.ts'

export class RelayClock {
  readonly #own: () => number
  #offsetMs = 0

  constructor(own: () => number) {
    this.#own = own
  }

  get now(): number {
    return this.#own() + this.#offsetMs
  }

  /** Believes a signed ERR_STALE about this relay's clock, within bounds; true when asking again makes sense. */
  follow(error: unknown): boolean {
    if (!(error instanceof Refused)) return false
    const { time } = error.extras
    if (!error.signed || typeof time !== 'number') return false
    const offset = time - this.#own()
    if (Math.abs(offset) > connectionLimits.clockOffsetMs) return false
    this.#offsetMs = Math.round(offset)
    return true
  }
}
