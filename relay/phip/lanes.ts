/** All that is on its way to other hosts, and whose turn it is: hosts take turns, and so do the messages of each. In memory. */
import type { Key } from '../../market/units.ts'
import type { Departure } from '../store/departures.ts'
import { type Host, nameOf } from '../../contracts/overlay/host.ts'
import { Lane } from './lane.ts'

interface OnItsWay {
  readonly sender: Key
  readonly until: number
  readonly bytes: number
  readonly lanes: Set<Lane>
}

/** Messages, and about what their rows hold. */
interface Load {
  count: number
  bytes: number
}

/** Above so many, hosts that nothing waits for are forgotten, though they answered. */
const mostLanes = 1000

export class Lanes {
  readonly #random: () => number
  readonly #lanes = new Map<string, Lane>()
  /** Those that may have something to do, in the order of their turns. */
  readonly #awake = new Set<Lane>()
  readonly #onTheirWay = new Map<number, OnItsWay>()
  readonly #bySender = new Map<Key, Load>()
  readonly #all: Load = { count: 0, bytes: 0 }

  constructor(random: () => number) {
    this.#random = random
  }

  get load(): Readonly<Load> {
    return this.#all
  }

  loadOf(sender: Key): Readonly<Load> {
    return this.#bySender.get(sender) ?? { count: 0, bytes: 0 }
  }

  /** Hosts that messages wait for, each as often as messages do. */
  get waiting(): number {
    let waiting = 0
    for (const lane of this.#lanes.values()) waiting += lane.size
    return waiting
  }

  /** Begins it, unless it has begun. */
  add({ place, sender, until, hosts, message }: Departure): void {
    if (this.#onTheirWay.has(place)) return
    const lanes = new Set(hosts.map((host) => this.laneOf(host)))
    const bytes = message.signed.length
    this.#onTheirWay.set(place, { sender, until, bytes, lanes })
    this.#count(sender, 1, bytes)
    for (const lane of lanes) {
      lane.add(place)
      this.#awake.add(lane)
    }
  }

  laneOf(host: Host): Lane {
    const name = nameOf(host)
    const known = this.#lanes.get(name)
    if (known !== undefined) return known
    const lane = new Lane(host, this.#random)
    this.#lanes.set(name, lane)
    return lane
  }

  /**
   * Under way from now on, until its lane is told what came of it, and is woken.
   * @param isForAll or for those alone that answered when they were last asked
   */
  next(now: number, isForAll: boolean): { readonly lane: Lane; readonly place: number } | undefined {
    for (const lane of this.#awake) {
      if (!isForAll && !lane.answers) continue
      this.#awake.delete(lane)
      const place = lane.next(now)
      if (place === undefined) continue
      this.#awake.add(lane) // at the end: the others come first
      return { lane, place }
    }
    return undefined
  }

  wake(lane: Lane): void {
    this.#awake.add(lane)
  }

  /** Time has passed: those that have rested may go on, those that are of no more use are forgotten. */
  look(now: number): void {
    for (const [name, lane] of this.#lanes) {
      if (lane.rests(now)) continue
      if (lane.size > 0) this.#awake.add(lane)
      else if (!lane.answers || this.#lanes.size > mostLanes) this.#lanes.delete(name)
    }
  }

  /** This host needs it no more. */
  leave(lane: Lane, place: number): void {
    lane.drop(place)
    const on = this.#onTheirWay.get(place)
    if (on?.lanes.delete(lane) && on.lanes.size === 0) this.#forget(place, on)
  }

  /** It is over; what is under way of it is told so when it comes back. */
  end(place: number): void {
    const on = this.#onTheirWay.get(place)
    if (on === undefined) return
    for (const lane of on.lanes) if (!lane.isUnderWay(place)) lane.drop(place)
    this.#forget(place, on)
  }

  /** Whose time is over at `now`, and of which nothing is under way. */
  expired(now: number): number[] {
    return [...this.#onTheirWay]
      .filter(
        ([place, { until, lanes }]) => until <= now && ![...lanes].some((lane) => lane.isUnderWay(place)),
      )
      .map(([place]) => place)
  }

  #forget(place: number, { sender, bytes }: OnItsWay): void {
    this.#onTheirWay.delete(place)
    this.#count(sender, -1, -bytes)
  }

  #count(sender: Key, count: number, bytes: number): void {
    const own = this.#bySender.get(sender) ?? { count: 0, bytes: 0 }
    for (const load of [own, this.#all]) {
      load.count += count
      load.bytes += bytes
    }
    if (own.count === 0) this.#bySender.delete(sender)
    else this.#bySender.set(sender, own)
  }
}
