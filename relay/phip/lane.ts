/**
 * The messages that wait for one host, in the order of their turns. Where the host is the reason that one is not brought, all
 * of them rest, and then one is tried; where it is that message, the others go on. Times are milliseconds that no setting of
 * a clock changes.
 */
import type { Host } from '../../contracts/overlay/host.ts'

const laneLimits = {
  /** Calls under way of a host that answers; one of another. */
  calls: 2,
  /** Between two tries, twice as long each time. */
  leastRestMs: 30_000,
  mostRestMs: 3_600_000,
} as const

/** Of a rest: so much longer it is at most, so that not all hosts are tried at once. */
const jitter = 0.25

export class Lane {
  readonly host: Host
  readonly #random: () => number
  readonly #ready = new Set<number>()
  readonly #underWay = new Set<number>()
  /** Those that rest by themselves, and how long. */
  readonly #later = new Map<number, { readonly until: number; readonly restMs: number }>()
  /** How long those did whose turn it is again. */
  readonly #rested = new Map<number, number>()
  #answers = false
  #restMs = 0
  #restsUntil = Number.NEGATIVE_INFINITY

  /** @param random at least 0, below 1 */
  constructor(host: Host, random: () => number) {
    this.host = host
    this.#random = random
  }

  get size(): number {
    return this.#ready.size + this.#underWay.size + this.#later.size
  }

  isUnderWay(place: number): boolean {
    return this.#underWay.has(place)
  }

  /** Whether the host did when it was last asked, and quickly. */
  get answers(): boolean {
    return this.#answers
  }

  rests(now: number): boolean {
    return now < this.#restsUntil
  }

  /** Whether this one is not tried before some time has passed. */
  isLater(place: number, now: number): boolean {
    return !this.isUnderWay(place) && (this.rests(now) || this.#later.has(place))
  }

  add(place: number): void {
    if (!this.isUnderWay(place) && !this.#later.has(place)) this.#ready.add(place)
  }

  /** Whose turn it is; under way from now on. */
  next(now: number): number | undefined {
    if (this.rests(now) || this.#underWay.size >= (this.#answers ? laneLimits.calls : 1)) return undefined
    for (const [place, { until, restMs }] of this.#later) {
      if (now < until) continue
      this.#later.delete(place)
      this.#rested.set(place, restMs)
      this.#ready.add(place)
    }
    const [place] = this.#ready
    if (place === undefined) return undefined
    this.#ready.delete(place)
    this.#underWay.add(place)
    return place
  }

  /** The host is there: nothing waits because of it. */
  answered(isQuick: boolean): void {
    this.#answers = isQuick
    this.#restMs = 0
    this.#restsUntil = Number.NEGATIVE_INFINITY
  }

  /** This one is tried again in its turn. */
  again(place: number): void {
    this.#underWay.delete(place)
    this.#ready.add(place)
  }

  /** … or after its own rest. */
  defer(place: number, now: number): void {
    this.#underWay.delete(place)
    const restMs = longer(this.#rested.get(place) ?? 0)
    this.#rested.delete(place)
    this.#later.set(place, { until: this.#endOf(restMs, now), restMs })
  }

  /** The host does not answer, or fails: the next one is tried when it has rested. Whether that is new. */
  rest(now: number): boolean {
    this.#answers = false
    // What was under way beside it fails as well, for the same reason.
    if (this.rests(now)) return false
    const isNew = this.#restMs === 0
    this.#restMs = longer(this.#restMs)
    this.#restsUntil = this.#endOf(this.#restMs, now)
    return isNew
  }

  /** Nothing more is done for this one. */
  drop(place: number): void {
    this.#ready.delete(place)
    this.#underWay.delete(place)
    this.#later.delete(place)
    this.#rested.delete(place)
  }

  #endOf(restMs: number, now: number): number {
    return now + restMs * (1 + jitter * this.#random())
  }
}

const longer = (restMs: number): number =>
  Math.min(Math.max(2 * restMs, laneLimits.leastRestMs), laneLimits.mostRestMs)
