/** What the operator adds to messages that go to other hosts: so much for each, and no more than so many times a day. */
import { dayMs, type Key } from '../../market/units.ts'

/** Times that it is given in a day (UTC): in all, and to one sender. Counted since the start. */
const timesADay = { all: 1000, sender: 100 } as const

export class DailyBudget {
  readonly #satoshis: number
  readonly #now: () => number
  readonly #given = new Map<Key, number>()
  #all = 0
  #day = 0

  /** @param satoshis for one message @param now milliseconds since 1970 */
  constructor(satoshis: number, now: () => number) {
    this.#satoshis = satoshis
    this.#now = now
  }

  /** Satoshi for one more message of this sender; 0 when the day has no more. */
  readonly take = (sender: Key): number => {
    if (this.#satoshis === 0) return 0
    const today = Math.floor(this.#now() / dayMs)
    if (today !== this.#day) {
      this.#given.clear()
      this.#all = 0
    }
    this.#day = today
    const given = this.#given.get(sender) ?? 0
    if (this.#all >= timesADay.all || given >= timesADay.sender) return 0
    this.#all++
    this.#given.set(sender, given + 1)
    return this.#satoshis
  }
}
