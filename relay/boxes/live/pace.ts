/** How many packets one client may send. */
import { liveLimits } from './limits.ts'

export class Pace {
  #left: number = liveLimits.packetsAtOnce
  #at: number

  constructor(now: number) {
    this.#at = now
  }

  /** Whether one more may come. @param now milliseconds that no setting of the clock changes */
  takes(now: number): boolean {
    const { packetsPerSecond, packetsAtOnce } = liveLimits
    const gained = ((now - this.#at) / 1000) * packetsPerSecond
    this.#left = Math.min(packetsAtOnce, this.#left + gained) - 1
    this.#at = now
    return this.#left >= 0
  }
}
