/** What is seen of the simulated market, day by day. */
import { percentile } from '../figures.ts'
import { type Manner, manners, type SimRelay, type Users } from './world.ts'

export interface Spread {
  readonly low: number
  readonly middle: number
  readonly high: number
}

export interface Day {
  /** Satoshi per GB and day, of fair relays; of greedy ones the middle. */
  readonly price: Spread
  readonly greedyPrice: number
  /** Used disk of fair relays, of 1; and the deviation of that, by its mean. */
  readonly load: Spread
  readonly unevenness: number
  /** By how much fair relays changed their prices on this day, of 1. */
  readonly moved: number
  /** Users that are there, of those that have come; and where they are, of 1. */
  readonly seated: number
  readonly share: Readonly<Record<Manner, number>>
}

const spreadOf = (values: readonly number[]): Spread => ({
  low: percentile(values, 0.1),
  middle: percentile(values, 0.5),
  high: percentile(values, 0.9),
})

export class Observer {
  readonly #relays: readonly SimRelay[]
  readonly #users: Users
  #moved = 0

  constructor(relays: readonly SimRelay[], users: Users) {
    this.#relays = relays
    this.#users = users
  }

  moved({ manner }: SimRelay, by: number): void {
    if (manner === 'fair') this.#moved += by
  }

  day(): Day {
    const of = (manner: Manner) => this.#relays.filter((relay) => relay.manner === manner)
    const fair = of('fair')
    const loads = fair.map(({ storedBytes, capacityBytes }) => storedBytes / capacityBytes)
    const mean = loads.reduce((sum, load) => sum + load, 0) / loads.length
    const variance = loads.reduce((sum, load) => sum + (load - mean) ** 2, 0) / loads.length
    const usersOf = ({ users }: SimRelay): number => users.reduce((sum, count) => sum + count, 0)
    const counts = manners.map((manner) => of(manner).reduce((sum, relay) => sum + usersOf(relay), 0))
    const all = Math.max(
      1,
      counts.reduce((sum, count) => sum + count, 0),
    )
    const day: Day = {
      price: spreadOf(fair.map(({ prices }) => prices.storageGBDay)),
      greedyPrice: spreadOf(of('greedy').map(({ prices }) => prices.storageGBDay)).middle,
      load: spreadOf(loads),
      unevenness: Math.sqrt(variance) / mean,
      moved: this.#moved / fair.length,
      seated: this.#users.at.reduce((sum, at) => sum + (at < 0 ? 0 : 1), 0),
      share: Object.fromEntries(
        manners.map((manner, index) => [manner, counts[index]! / all]),
      ) as Day['share'],
    }
    this.#moved = 0
    return day
  }

  /** What fair relays earned beyond their costs since that counts, of their costs. */
  margins(manner: Manner): Spread {
    const earning = this.#relays.filter((relay) => relay.manner === manner && relay.cost > 0)
    return spreadOf(earning.map(({ revenue, cost }) => revenue / cost - 1))
  }
}
