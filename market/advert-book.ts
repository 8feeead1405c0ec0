/**
 * The adverts of many relays, merged from channels that nobody trusts (docs/protocol.md §12.3): one advert a relay, the one
 * with the highest `seq`, in bounded memory. What a full book drops is what cost least work, then what is oldest.
 */
import {
  type AdvertPolicy,
  checkAdvert,
  decodeAdvert,
  forgottenAt,
  type Glimpse,
  glance,
  isRevocation,
  type SealedAdvert,
} from './advert.ts'
import { MarketError } from './errors.ts'
import { Heap } from './heap.ts'
import type { Key } from './units.ts'

export interface AdvertBookOptions {
  /** Most relays that are remembered, the revoked ones included. */
  readonly most: number
  /** Least time between an advert and the one that replaces it, milliseconds; a revocation need not wait. */
  readonly paceMs?: number | undefined
  /** A relay whose advert is never dropped for others. */
  readonly pinned?: Key | undefined
  /** Told of a relay whose advert made room, or was forgotten. */
  readonly dropped?: ((relay: Key) => void) | undefined
}

/** What became of an advert that was offered: only `added` and `replaced` changed the book. */
export type Offered = 'added' | 'replaced' | 'known' | 'older'

interface Held {
  readonly sealed: SealedAdvert
  /** Until then it is remembered: as long as it holds, and as long as anything that it replaced would. */
  readonly until: number
}

export class AdvertBook {
  readonly #byRelay = new Map<Key, Held>()
  readonly #options: AdvertBookOptions
  // Both also have what the book does not hold any more, which is passed over when it comes up.
  readonly #byWorth = new Heap<Held>((one, other) => isBetter(glimpseOf(other.sealed), glimpseOf(one.sealed)))
  readonly #byEnd = new Heap<Held>((one, other) => one.until < other.until)

  constructor(options: AdvertBookOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#byRelay.size
  }

  /**
   * Takes the text of an advert, whoever handed it over. What cannot change the book costs no verification.
   * @throws as `decodeAdvert` and `checkAdvert`; ERR_LIMIT with `retryAfterMs` for one that comes too soon; ERR_BUSY when the book
   * is full of better ones
   */
  offer(text: string, policy: AdvertPolicy): Offered {
    this.forget(policy.now)
    const seen = glance(text)
    const held = seen && this.#byRelay.get(seen.relay)
    if (held?.sealed.text === text) return 'known'
    if (seen !== undefined && held === undefined && !this.#hasRoomFor(seen)) throw full()
    return this.take(decodeAdvert(text), policy)
  }

  /** `offer` of an advert that was decoded. */
  take(seen: SealedAdvert, policy: AdvertPolicy): Offered {
    this.forget(policy.now)
    const { serverPubKey, seq } = seen.advert
    const held = this.#byRelay.get(serverPubKey)
    if (held !== undefined) {
      if (held.sealed.hash === seen.hash) return 'known'
      if (seq <= held.sealed.advert.seq) return 'older'
      this.#pace(held.sealed, seen, policy.now)
    } else if (!this.#hasRoomFor(glimpseOf(seen))) throw full()
    checkAdvert(seen, policy)
    this.#hold(seen, held)
    return held === undefined ? 'added' : 'replaced'
  }

  /** Takes back an advert that was checked when it was first taken: one that was kept on disk meanwhile. */
  restore(seen: SealedAdvert, now: number): void {
    const held = this.#byRelay.get(seen.advert.serverPubKey)
    if (forgottenAt(seen.advert) <= now || (held?.sealed.advert.seq ?? -1) >= seen.advert.seq) return
    if (held !== undefined || this.#hasRoomFor(glimpseOf(seen))) this.#hold(seen, held)
  }

  /** Whether anything of a relay is remembered. */
  has(relay: Key): boolean {
    return this.#byRelay.has(relay)
  }

  /** Whether it is this advert that is remembered of its relay. */
  holds({ advert, hash }: SealedAdvert): boolean {
    return this.#byRelay.get(advert.serverPubKey)?.sealed.hash === hash
  }

  /** What a relay offers at `now`; undefined when nothing is known, or it was revoked or has expired. */
  get(relay: Key, now: number): SealedAdvert | undefined {
    const held = this.#byRelay.get(relay)?.sealed
    return held !== undefined && isLive(held, now) ? held : undefined
  }

  /** All that holds at `now`, in no order. */
  *live(now: number): Generator<SealedAdvert> {
    for (const { sealed } of this.#byRelay.values()) if (isLive(sealed, now)) yield sealed
  }

  /** All that must be remembered at `now`: what holds, and what revokes. */
  *kept(now: number): Generator<SealedAdvert> {
    for (const { sealed } of this.#byRelay.values()) if (forgottenAt(sealed.advert) > now) yield sealed
  }

  /** Forgets what need not be remembered at `now`. */
  forget(now: number): void {
    for (let next = this.#byEnd.least; next !== undefined && next.until <= now; next = this.#byEnd.least) {
      this.#byEnd.pop()
      if (this.#isHeld(next)) this.#drop(next)
    }
  }

  #hold(sealed: SealedAdvert, before: Held | undefined): void {
    const { serverPubKey } = sealed.advert
    const held = { sealed, until: Math.max(forgottenAt(sealed.advert), before?.until ?? 0) }
    if (before === undefined && this.#byRelay.size >= this.#options.most) this.#dropWeakest()
    this.#byRelay.set(serverPubKey, held)
    this.#byEnd.push(held)
    if (serverPubKey !== this.#options.pinned) this.#byWorth.push(held)
    for (const heap of [this.#byEnd, this.#byWorth])
      if (heap.size > 2 * this.#options.most) heap.keep((item) => this.#isHeld(item))
  }

  #pace(held: SealedAdvert, seen: SealedAdvert, now: number): void {
    const { paceMs = 0 } = this.#options
    const retryAfterMs = held.advert.timestamp + paceMs - Math.min(now, seen.advert.timestamp)
    if (paceMs === 0 || retryAfterMs <= 0 || isRevocation(seen.advert)) return
    throw new MarketError('ERR_LIMIT', 'this relay’s advert was replaced a short while ago', {
      extras: { retryAfterMs },
    })
  }

  #hasRoomFor(seen: Glimpse): boolean {
    const { most, pinned } = this.#options
    if (this.#byRelay.size < most || seen.relay === pinned) return true
    const weakest = this.#weakest()
    return weakest !== undefined && isBetter(seen, glimpseOf(weakest.sealed))
  }

  #weakest(): Held | undefined {
    let weakest = this.#byWorth.least
    for (; weakest !== undefined && !this.#isHeld(weakest); weakest = this.#byWorth.least) this.#byWorth.pop()
    return weakest
  }

  #dropWeakest(): void {
    const weakest = this.#weakest()
    if (weakest !== undefined) this.#drop(weakest)
  }

  #drop({ sealed: { advert } }: Held): void {
    this.#byRelay.delete(advert.serverPubKey)
    this.#options.dropped?.(advert.serverPubKey)
  }

  #isHeld(held: Held): boolean {
    return this.#byRelay.get(held.sealed.advert.serverPubKey) === held
  }
}

const isLive = ({ advert }: SealedAdvert, now: number): boolean => advert.expires > now
/** More work, or as much and newer. */
const isBetter = (one: Glimpse, other: Glimpse): boolean =>
  one.bits === other.bits ? one.timestamp > other.timestamp : one.bits > other.bits
const glimpseOf = ({ advert, bits }: SealedAdvert): Glimpse => ({
  relay: advert.serverPubKey,
  timestamp: advert.timestamp,
  bits,
})
const full = () => new MarketError('ERR_BUSY', 'there is no room: other adverts have more work, or are newer')
