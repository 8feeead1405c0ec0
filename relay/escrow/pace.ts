/** How often somebody may do what costs the relay more than him. */
import { MarketError } from '../../market/errors.ts'
import { putBounded } from '../../market/lru.ts'

export interface Allowance {
  /** At once; then one in each `everyMs`. */
  readonly burst: number
  readonly everyMs: number
  /** For people: too many of these. */
  readonly what: string
}

/** Each is written to two disks for good. Of one contract. */
export const payments: Allowance = { burst: 32, everyMs: 1000, what: 'payments of this contract' }
/** What is looked up, written or broadcast again for whoever asks to begin or to end. Of one contract. */
export const asks: Allowance = { burst: 16, everyMs: 5000, what: 'requests for this contract' }
/** Openings of one address, renewals of one contract, that come to nothing: coins are looked up for each, scripts are run. */
export const failures: Allowance = { burst: 32, everyMs: 10_000, what: 'contracts that come to nothing' }

/** Whose pace is remembered, each about 100 bytes. */
const remembered = 10_000

export class Pace {
  readonly #allowance: Allowance
  /** When each has all of it again. */
  readonly #rested = new Map<string, number>()

  constructor(allowance: Allowance) {
    this.#allowance = allowance
  }

  /** Takes one. @throws ERR_LIMIT with `retryAfterMs` */
  check(who: string, now: number): void {
    const { burst, everyMs, what } = this.#allowance
    const from = Math.max(now, this.#rested.get(who) ?? 0)
    const retryAfterMs = from + everyMs - (now + burst * everyMs)
    if (retryAfterMs > 0) throw new MarketError('ERR_LIMIT', `too many ${what}`, { extras: { retryAfterMs } })
    putBounded(this.#rested, who, from + everyMs, remembered)
  }

  /** Takes one, and gives it back when `act` comes to something. @throws ERR_LIMIT, whatever `act` throws */
  async failing<T>(who: string, now: number, act: () => Promise<T>): Promise<T> {
    this.check(who, now)
    const done = await act()
    const until = this.#rested.get(who)
    if (until !== undefined) this.#rested.set(who, until - this.#allowance.everyMs)
    return done
  }
}
