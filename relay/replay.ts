/** Which requests were accepted while they are still fresh (docs/protocol.md §3.3). */
import { MarketError } from '../market/errors.ts'
import { ANYONE_KEY } from '../market/identity.ts'
import { protocolLimits } from '../market/units.ts'

/** No identity may fill more than this part of the cache: the others must still be served. */
const identityShare = 1 / 16

interface Accepted<A> {
  readonly holder: string
  /** What the request was, or will be, answered with; its repeat is decided by it. */
  answer: Promise<A> | undefined
}

/**
 * Remembers every accepted request until it is no longer fresh. Entries are never evicted early:
 * a full cache refuses new requests (`ERR_BUSY`) rather than forget one that could be replayed.
 */
export class ReplayCache<A> {
  readonly #capacity: number
  readonly #entries = new Map<string, Accepted<A>>()
  readonly #bySecond = new Map<number, string[]>()
  readonly #held = new Map<string, number>()
  #purgedSecond = 0

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  get size(): number {
    return this.#entries.size
  }

  /** The answer of the earlier acceptance of this very message, or undefined if there was none. */
  seen(hash: string): { answer: Promise<A> | undefined } | undefined {
    return this.#entries.get(hash)
  }

  /**
   * Accepts a message not seen before. Key 1 belongs to everybody, so its share counts per network address.
   * @throws ERR_BUSY when the cache, or the sender's share of it, is full
   */
  accept(
    message: { hash: string; from: string; timestamp: number },
    { address, now, isKnown }: { address: string; now: number; isKnown: () => boolean },
  ): void {
    this.#purge(now)
    const second = Math.ceil((message.timestamp + protocolLimits.freshPastMs) / 1000)
    // Only after the clock was set back: what was forgotten as stale must not become fresh again.
    if (second < this.#purgedSecond)
      throw new MarketError('ERR_STALE', 'signed too long ago', { extras: { time: now } })
    // Once it is half full, keys that nobody here knows count together: making new ones costs a stranger nothing.
    const crowded = this.#entries.size > this.#capacity / 2
    const shared = message.from === ANYONE_KEY || (crowded && !isKnown())
    const holder = shared ? address : message.from
    const held = this.#held.get(holder) ?? 0
    if (this.#entries.size >= this.#capacity || held >= Math.max(1, this.#capacity * identityShare)) {
      throw new MarketError('ERR_BUSY', 'too many requests are still fresh', {
        extras: { retryAfterMs: 1000 },
      })
    }
    this.#entries.set(message.hash, { holder, answer: undefined })
    this.#held.set(holder, held + 1)
    const bucket = this.#bySecond.get(second)
    if (bucket === undefined) this.#bySecond.set(second, [message.hash])
    else bucket.push(message.hash)
  }

  answer(hash: string, answer: Promise<A>): void {
    const entry = this.#entries.get(hash)
    if (entry !== undefined) entry.answer = answer
  }

  /** Forgets a message that was refused without effect, so that the same message may be sent again. */
  release(hash: string): void {
    const entry = this.#entries.get(hash)
    if (entry === undefined) return
    this.#entries.delete(hash)
    const held = (this.#held.get(entry.holder) ?? 1) - 1
    if (held === 0) this.#held.delete(entry.holder)
    else this.#held.set(entry.holder, held)
  }

  /** Forgets what can no longer be fresh. Buckets are at most 131 seconds apart, so each call does little. */
  #purge(now: number): void {
    const second = Math.floor(now / 1000)
    if (second <= this.#purgedSecond) return
    this.#purgedSecond = second
    for (const [bucket, hashes] of this.#bySecond) {
      if (bucket >= second) continue
      for (const hash of hashes) this.release(hash)
      this.#bySecond.delete(bucket)
    }
  }
}
