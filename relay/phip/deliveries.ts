/**
 * Brings messages to the hosts where their recipients live, for as long as it takes (docs/protocol.md §14.4). What is on disk
 * says what is to be done: a call may be repeated, and whatever came of it is one commit. A host that does not answer costs
 * one try per rest, however many messages wait for it.
 */
import { setImmediate, setTimeout as pause } from 'node:timers/promises'
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import type { Outcome } from '../boxes/departing.ts'
import { allDepartures, findDeparture } from '../store/departures.ts'
import { Asking, Askings } from './asking.ts'
import { Courier, type CourierOptions } from './courier.ts'
import { Lanes } from './lanes.ts'
import { markTold } from './outcomes.ts'

const deliveryLimits = {
  /** Messages on their way, and what their senders signed. */
  departures: 10_000,
  bytes: 256 << 20,
  /** Calls under way, of all hosts, … */
  calls: 16,
  /** … and of those that did not answer when they were last asked, if they ever were: who hangs holds up no others. */
  doubtfulCalls: 8,
  /** That a sender waits to hear more than that his message is on its way. */
  waitMs: 4000,
  /** How soon the end of a rest, and of a life, is noticed. */
  lookEveryMs: 1000,
  expireEveryMs: 60_000,
} as const

/** What one sender may have of that. */
const senderPart = 0.2

export interface DeliveriesOptions extends CourierOptions {
  /** At least 0, below 1. */
  readonly random: () => number
  readonly limits?: Partial<Record<keyof typeof deliveryLimits, number>>
}

export class Deliveries {
  readonly #options: DeliveriesOptions
  readonly #limits: Record<keyof typeof deliveryLimits, number>
  readonly #lanes: Lanes
  readonly #askings = new Askings()
  readonly #courier: Courier
  readonly #calls = new Set<Promise<void>>()
  #doubtful = 0
  readonly #begun = new Set<Promise<unknown>>()
  readonly #over = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #expiring: Promise<void> | undefined
  #expireAt = Number.NEGATIVE_INFINITY

  /** Takes up what was on its way before. */
  static async open(options: DeliveriesOptions): Promise<Deliveries> {
    const deliveries = new Deliveries(options)
    for await (const departure of allDepartures(options.store)) deliveries.#lanes.add(departure)
    deliveries.#start()
    return deliveries
  }

  private constructor(options: DeliveriesOptions) {
    this.#options = options
    this.#limits = { ...deliveryLimits, ...options.limits }
    this.#lanes = new Lanes(options.random)
    this.#courier = new Courier(options, { lanes: this.#lanes, askings: this.#askings })
  }

  /** `waiting`: for how many hosts, of all messages; the others since the start. `retries`: calls that have to be made again. */
  get counts() {
    return { waiting: this.#lanes.waiting, ...this.#courier.counts }
  }

  /** @throws ERR_BUSY where so many messages more of this sender, of so many bytes, do not fit */
  checkRoom(sender: Key, count: number, bytes: number): void {
    const { departures, bytes: mostBytes } = this.#limits
    const fits = (load: { count: number; bytes: number }, part: number) =>
      load.count + count <= departures * part && load.bytes + bytes <= mostBytes * part
    if (fits(this.#lanes.load, 1) && fits(this.#lanes.loadOf(sender), senderPart)) return
    const why = 'too many messages are on their way to other hosts'
    throw new MarketError('ERR_BUSY', why, { extras: { retryAfterMs: 60_000 } })
  }

  /**
   * Begins departures that are durable, and tells what became of each host of each. That is known, or its sender is told more
   * later: by a message into his box `delivery_reports`. Waits for what may be known soon, but no longer than `waitMs`.
   * @throws ERR_BUSY, ERR_INTERNAL where that cannot be written
   */
  begin(places: readonly number[], waitMs: number = this.#limits.waitMs): Promise<Outcome[]> {
    const begun = this.#begin(places, waitMs).finally(() => this.#begun.delete(begun))
    this.#begun.add(begun)
    return begun
  }

  /** Goes on with what has rested long enough, and gives up what was tried for too long. A timer does that, too. */
  look(): void {
    const { log, monotonic, store } = this.#options
    const now = monotonic()
    if (this.#over.signal.aborted || store.state !== 'ready') return
    this.#lanes.look(now)
    this.#go()
    if (now < this.#expireAt || this.#expiring !== undefined) return
    this.#expireAt = now + this.#limits.expireEveryMs
    this.#expiring = this.#courier
      .expire(this.#over.signal)
      .catch((err: unknown) => log.error({ err }, 'what was tried for too long could not be given up'))
      .finally(() => {
        this.#expiring = undefined
      })
  }

  /** Ends what is under way. Nothing is lost: what was not told before is told after the next start. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#over.abort()
    this.#askings.stop()
    await Promise.allSettled([...this.#calls, ...this.#begun, this.#expiring])
  }

  #start(): void {
    this.#timer = setInterval(() => this.look(), this.#limits.lookEveryMs).unref()
    this.look()
  }

  async #begin(places: readonly number[], waitMs: number): Promise<Outcome[]> {
    const askings: Asking[] = []
    const enough = new AbortController()
    const late = pause(waitMs, undefined, { signal: enough.signal, ref: false }).catch(() => undefined)
    try {
      for (const place of places) askings.push(...this.#ask(place))
      this.#go()
      await Promise.race([late, Promise.all(askings.map(({ heard }) => heard))])
      await Promise.all(askings.filter(({ isWaiting }) => isWaiting).map((asking) => this.#leave(asking)))
      return askings.flatMap(({ outcomes }) => outcomes)
    } finally {
      enough.abort()
      for (const asking of askings) this.#askings.remove(asking)
    }
  }

  #go(): void {
    const { monotonic, store } = this.#options
    while (this.#calls.size < this.#limits.calls) {
      if (this.#over.signal.aborted || store.state !== 'ready') return
      const next = this.#lanes.next(monotonic(), this.#doubtful < this.#limits.doubtfulCalls)
      if (next === undefined) return
      const doubt = next.lane.answers ? 0 : 1
      this.#doubtful += doubt
      const call = this.#courier.carry(next.lane, next.place, this.#over.signal).finally(() => {
        this.#calls.delete(call)
        this.#doubtful -= doubt
        this.#lanes.wake(next.lane)
        this.#go()
      })
      this.#calls.add(call)
    }
  }

  #ask(place: number): Asking[] {
    const { store, monotonic } = this.#options
    const departure = findDeparture(store, place)
    if (departure === undefined) return []
    this.#lanes.add(departure)
    const asking = new Asking(departure)
    this.#askings.add(asking)
    for (const host of departure.hosts)
      if (this.#lanes.laneOf(host).isLater(place, monotonic())) asking.hear(host, { status: 'waiting' })
    return [asking]
  }

  /** Its sender is told that it is on its way: what comes later is reported. */
  async #leave(asking: Asking): Promise<void> {
    const { place } = asking
    const hosts = await this.#options.store.commit((batch) => markTold(batch, place))
    // What is not among them any more has just become durable, and is heard of in this turn of the event loop.
    await setImmediate()
    asking.leave(hosts)
  }
}
