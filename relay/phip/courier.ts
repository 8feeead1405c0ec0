/** What is done when it is the turn of a message at a host: whatever is known of it then is written, and told to who waits. */
import type { Accounts } from '../accounts.ts'
import type { Quotas } from '../store/boxes.ts'
import { findDeparture } from '../store/departures.ts'
import type { Store } from '../store/store.ts'
import type { Askings, Word } from './asking.ts'
import { Bringing, type BringingOptions } from './bringing.ts'
import type { Lane } from './lane.ts'
import { isSame } from '../../contracts/overlay/host.ts'
import type { Lanes } from './lanes.ts'
import { type Ending, expiredCode, isKept, settle, settleExpired, settleReceived } from './outcomes.ts'

export interface CourierOptions extends BringingOptions {
  readonly store: Store
  readonly accounts: Pick<Accounts, 'checkRoom'>
  readonly quotas: Quotas
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Milliseconds that no setting of the clock changes. */
  readonly monotonic: () => number
  /** @throws while the time is not to be trusted: nothing is given up then */
  readonly checkClock?: () => void
  readonly log: Record<'debug' | 'warn' | 'error', (facts: object, message: string) => void>
}

/** A host that takes longer is called like one that did not answer: it must not hold up others. */
const quickMs = 2000

export class Courier {
  readonly counts = { delivered: 0, refused: 0, givenUp: 0, retries: 0 }
  readonly #options: CourierOptions
  readonly #lanes: Lanes
  readonly #askings: Askings
  readonly #bringing: Bringing
  readonly #ending: Ending

  constructor(options: CourierOptions, { lanes, askings }: { lanes: Lanes; askings: Askings }) {
    const { keys, quotas, accounts, log } = options
    this.#options = options
    this.#lanes = lanes
    this.#askings = askings
    this.#bringing = new Bringing(options)
    this.#ending = {
      reports: { keys, quotas, checkRoom: (bytes) => accounts.checkRoom(bytes) },
      isAwaited: (place) => askings.has(place),
      onDropped: (place, code) => log.debug({ place, code }, 'the report of a delivery was dropped'),
    }
  }

  /** Never rejects: what fails here is tried again. */
  async carry(lane: Lane, place: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#carry(lane, place, signal)
    } catch (err) {
      if (signal.aborted) return
      const { log, monotonic } = this.#options
      log.error({ err }, 'a message could not be brought to another host, and will be')
      lane.defer(place, monotonic())
      this.#askings.hear(place, lane.host, { status: 'waiting' })
    }
  }

  /** Gives up whatever was tried for too long. */
  async expire(signal: AbortSignal): Promise<void> {
    const { store, now } = this.#options
    for (const place of this.#lanes.expired(now())) {
      if (signal.aborted || !this.#isOver(0)) return
      this.counts.givenUp += await store.commit((batch) => settleExpired(batch, place, this.#ending))
      this.#lanes.end(place)
      this.#askings.close(place, { status: 'refused', code: expiredCode })
    }
  }

  async #carry(lane: Lane, place: number, signal: AbortSignal): Promise<void> {
    const { store, monotonic, log } = this.#options
    const { host } = lane
    const departure = findDeparture(store, place)
    if (!departure?.hosts.some((one) => isSame(one, host))) return this.#lanes.leave(lane, place)
    if (this.#isOver(departure.until))
      return this.#settle(lane, place, { status: 'refused', code: expiredCode })
    if (!isKept(store, departure)) return this.#received(lane, place)
    const start = monotonic()
    const said = await this.#bringing.bring(departure, host, signal)
    const isQuick = monotonic() - start < quickMs
    if (said.status !== 'waiting') {
      lane.answered(isQuick)
      return this.#settle(lane, place, said)
    }
    const { because, reason, ...word } = said
    const about = { host: host.domain, code: word.code, reason: reason ?? word.description }
    if (because === 'message') lane.answered(isQuick)
    else if (lane.rest(monotonic())) log.warn(about, 'messages wait for a host that does not answer')
    if (because === 'host') lane.again(place)
    else lane.defer(place, monotonic())
    this.counts.retries++
    log.debug(about, 'a message is brought later')
    this.#askings.hear(place, host, word)
    // Whoever waits for a host that rests hears no more of it soon.
    if (because !== 'message') this.#askings.hearAll(host, word, (other) => lane.isLater(other, monotonic()))
  }

  async #settle(lane: Lane, place: number, word: Word): Promise<void> {
    const fates = [{ host: lane.host, code: word.code }]
    const isNew = await this.#options.store.commit((batch) => settle(batch, place, fates, this.#ending))
    if (isNew && word.status === 'delivered') this.counts.delivered++
    else if (isNew) this.counts[word.code === expiredCode ? 'givenUp' : 'refused']++
    this.#lanes.leave(lane, place)
    this.#askings.hear(place, lane.host, word)
  }

  /** Here, by its recipient. */
  async #received(lane: Lane, place: number): Promise<void> {
    await this.#options.store.commit((batch) => settleReceived(batch, place, this.#ending))
    this.#lanes.end(place)
    this.#lanes.leave(lane, place)
    this.#askings.close(place, { status: 'delivered' })
  }

  #isOver(until: number): boolean {
    const { now, checkClock } = this.#options
    if (now() < until) return false
    try {
      checkClock?.()
      return true
    } catch {
      return false // it is only said to be so late
    }
  }
}
