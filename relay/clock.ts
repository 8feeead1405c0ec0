/** The relay's wall clock, held against one that nobody sets: a wrong time in receipts and places cannot be taken back. */
import { MarketError } from '../market/errors.ts'
import { clockJumpMs } from './store/sweeper.ts'

export interface ClockOptions {
  /** Milliseconds since 1970. */
  now(): number
  /** Milliseconds that no setting of the clock changes. */
  monotonic(): number
  /** When the last record arrived, or expired ones were swept, by the clock of then; 0 for never. */
  lastStamp: number
}

export class Clock {
  readonly #options: ClockOptions
  #start: { now: number; monotonic: number }
  #lastStamp: number

  constructor(options: ClockOptions) {
    this.#options = options
    this.#start = { now: options.now(), monotonic: options.monotonic() }
    this.#lastStamp = options.lastStamp
  }

  /** Why the time is not to be trusted, until a person confirms it. */
  get trouble(): string | undefined {
    const now = this.#options.now()
    const drift = now - this.#start.now - (this.#options.monotonic() - this.#start.monotonic)
    if (Math.abs(drift) > clockJumpMs) return `the clock jumped by ${Math.round(drift / 60_000)} minutes`
    if (this.#lastStamp - now > clockJumpMs)
      return 'the clock is far behind the last record, or the last sweep'
    return undefined
  }

  /** @throws ERR_BUSY while the time is not to be trusted */
  check(): void {
    const { trouble } = this
    if (trouble !== undefined)
      throw new MarketError('ERR_BUSY', trouble, { extras: { retryAfterMs: 60_000 } })
  }

  /** A person has checked the clock. */
  confirm(): void {
    this.#start = { now: this.#options.now(), monotonic: this.#options.monotonic() }
    this.#lastStamp = 0
  }
}
