/**
 * The adverts of many relays, merged from channels that nobody trusts (docs/protocol.md §12.3): one advert a relay, the one
 * with the highest `seq`, in bounded memory. What a full book drops is what cost least work, then what is oldest.
 */
import {
  type AdvertPolicy,
  checkAdvert,
  decodeAdvert,
  forgottenAt,
  isRevocation,
  type SealedAdvert,
} from './advert.ts'
import { MarketError } from './errors.ts'
import type { Key } from './units.ts'

export interface AdvertBookOptions {
  /** Most relays that are remembered, the revoked ones included. */
  readonly most: number
  /** Least time between an advert and the one that replaces it, milliseconds; a revocation need not wait. */
  readonly paceMs?: number | undefined
}

/** What became of an advert that was offered: only `added` and `replaced` changed the book. */
export type Offered = 'added' | 'replaced' | 'known' | 'older'

export class AdvertBook {
  readonly #byRelay = new Map<Key, SealedAdvert>()
  readonly #most: number
  readonly #paceMs: number
  /** The least that is worth having, while the book is full; found again when it may have changed. */
  #least: SealedAdvert | undefined

  constructor({ most, paceMs = 0 }: AdvertBookOptions) {
    this.#most = most
    this.#paceMs = paceMs
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
    const seen = decodeAdvert(text)
    const { serverPubKey, seq } = seen.advert
    const held = this.#byRelay.get(serverPubKey)
    if (held !== undefined) {
      if (held.hash === seen.hash) return 'known'
      if (seq <= held.advert.seq) return 'older'
      this.#pace(held, seen, policy.now)
    } else if (this.#isFull(policy.now) && !isBetter(seen, this.#weakest()))
      throw new MarketError('ERR_BUSY', 'there is no room: other adverts have more work, or are newer')
    checkAdvert(seen, policy)
    if (held === undefined && this.#byRelay.size >= this.#most) this.#drop(this.#weakest())
    this.#byRelay.set(serverPubKey, seen)
    this.#least = undefined
    return held === undefined ? 'added' : 'replaced'
  }

  /** What a relay offers at `now`; undefined when nothing is known, or it was revoked or has expired. */
  get(relay: Key, now: number): SealedAdvert | undefined {
    const held = this.#byRelay.get(relay)
    return held !== undefined && isLive(held, now) ? held : undefined
  }

  /** All that holds at `now`, in no order. */
  *live(now: number): Generator<SealedAdvert> {
    for (const held of this.#byRelay.values()) if (isLive(held, now)) yield held
  }

  /** All that must be remembered at `now`: what holds, and what revokes. */
  *kept(now: number): Generator<SealedAdvert> {
    for (const held of this.#byRelay.values()) if (forgottenAt(held.advert) > now) yield held
  }

  #pace(held: SealedAdvert, seen: SealedAdvert, now: number): void {
    const retryAfterMs = held.advert.timestamp + this.#paceMs - Math.min(now, seen.advert.timestamp)
    if (this.#paceMs === 0 || retryAfterMs <= 0 || isRevocation(seen.advert)) return
    throw new MarketError('ERR_LIMIT', 'this relay’s advert was replaced a short while ago', {
      extras: { retryAfterMs },
    })
  }

  #isFull(now: number): boolean {
    if (this.#byRelay.size < this.#most) return false
    if (this.#least !== undefined && forgottenAt(this.#least.advert) > now) return true
    for (const held of this.#byRelay.values()) if (forgottenAt(held.advert) <= now) this.#drop(held)
    return this.#byRelay.size >= this.#most
  }

  #weakest(): SealedAdvert {
    if (this.#least === undefined)
      for (const held of this.#byRelay.values())
        if (this.#least === undefined || isBetter(this.#least, held)) this.#least = held
    return this.#least! // only asked of a full book
  }

  #drop({ advert }: SealedAdvert): void {
    this.#byRelay.delete(advert.serverPubKey)
    this.#least = undefined
  }
}

const isLive = ({ advert }: SealedAdvert, now: number): boolean => advert.expires > now
/** More work, or as much and newer. */
const isBetter = (one: SealedAdvert, other: SealedAdvert): boolean =>
  one.bits === other.bits ? one.advert.timestamp > other.advert.timestamp : one.bits > other.bits
