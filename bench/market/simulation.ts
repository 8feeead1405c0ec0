/**
 * A market in memory, on the rules that relays and clients use (market/pricing-rule.ts, market/score.ts): relays price by their
 * load, users choose by what they see and have lived through. What is made up is costs, habits, purses and manners (world.ts).
 */
import { decidePrices, movingPrices } from '../../market/pricing-rule.ts'
import { Choosing } from './choosing.ts'
import { type Day, Observer } from './observer.ts'
import { chanceOf } from './random.ts'
import {
  advertOf,
  dailyBytes,
  gigabyte,
  keptBytes,
  makeRelays,
  makeUsers,
  type SimRelay,
  tickMs,
  ticksPerDay,
} from './world.ts'

/** What everybody can see is looked at once in so many days. */
const viewDays = 2
/** Margins count from this day on. */
export const settledDay = 60

interface Setting {
  readonly seed: number
  readonly relays: number
  readonly users: number
  readonly days: number
}

/** Runs it, a day at a time. @throws Error where a relay has sold more than it has */
export function simulate(setting: Setting, onDay: (day: Day) => void = () => {}): Simulation {
  const simulation = new Simulation(setting)
  for (let day = 0; day < setting.days; day++) onDay(simulation.day())
  return simulation
}

export class Simulation {
  readonly observer: Observer
  readonly #relays: readonly SimRelay[]
  readonly #choosing: Choosing
  #tick = 0

  constructor({ seed, relays, users: count }: Setting) {
    const chance = chanceOf(seed)
    const users = makeUsers(count, chance)
    const sum = (bytes: readonly number[]) => users.habit.reduce((all, habit) => all + bytes[habit]!, 0)
    const demand = { kept: sum(keptBytes), daily: sum(dailyBytes) }
    this.#relays = makeRelays(relays, demand, chance)
    this.observer = new Observer(this.#relays, users)
    this.#choosing = new Choosing({ relays: this.#relays, users, chance })
  }

  day(): Day {
    if (this.#tick % (viewDays * ticksPerDay) === 0) this.#choosing.look(this.#tick)
    for (let tick = 0; tick < ticksPerDay; tick++) {
      this.#choosing.come(this.#tick)
      this.#charge()
      for (const [index, relay] of this.#relays.entries()) this.#decide(relay, index)
      this.#tick++
    }
    return this.observer.day()
  }

  #charge(): void {
    if (this.#tick < settledDay * ticksPerDay) return
    for (const relay of this.#relays) {
      const { prices, parameters, storedBytes, servedBytes } = relay
      const [kept, served] = [storedBytes / gigabyte, servedBytes / gigabyte]
      relay.revenue += (kept * prices.storageGBDay + served * prices.egressGB) / ticksPerDay
      const monthly = parameters.diskCost + parameters.fixedCost
      relay.cost += (monthly / 30 + served * parameters.trafficCost) / ticksPerDay
    }
  }

  #decide(relay: SimRelay, index: number): void {
    const { manner, storedBytes, capacityBytes, servedBytes, parameters, prices, drifts } = relay
    if (manner === 'greedy') return
    const load = { storedBytes, capacityBytes, servedBytes, connections: 0, connectionLimit: 1 }
    const made = decidePrices(load, parameters, prices, drifts)
    let moved = 0
    for (const price of movingPrices) {
      moved += Math.abs(made[price].after / prices[price] - 1)
      prices[price] = made[price].after
      drifts[price] = made[price].drift
    }
    this.observer.moved(relay, moved / movingPrices.length)
    relay.sealed = advertOf(relay.key, index, prices, this.#tick * tickMs)
  }
}
