/** What one owner's records have come to at a relay, and may still come to: exact, as the relay's own books are. */
import { toleratedBytes, toleratedPart } from '../../contracts/audit/verdict.ts'
import {
  billedBytes,
  ceilSatoshi,
  egressUnits,
  floorSatoshi,
  ingressUnits,
  storageUnits,
  worstUnits,
} from '../../market/price.ts'
import { dayMs, type Prices } from '../../market/units.ts'

export interface Wish {
  readonly bytes: number
  /** Seconds. */
  readonly ttl: number
  readonly maxPulls: number
}

export interface Stored extends Wish {
  /** Unix seconds: when its time is over, and until when it is paid for. */
  readonly expires: number
  paidUntil: number
  pullsLeft: number
}

/** Reads without ack count for so long as if one were on its way; then as an audit tolerates them. */
const recentSeconds = 7 * (dayMs / 1000)

export class Purse {
  readonly prices: Prices
  /** In units of price.ts. */
  #spent = 0n
  #held = 0n
  #live: Stored[] = []
  #liveBytes = 0
  /** Reads beyond the first of a record that nobody acknowledged; bytes as they are billed. */
  #unproven: { readonly bytes: number; readonly at: number }[] = []
  #acknowledged = 0

  constructor(prices: Prices) {
    this.prices = prices
  }

  get owed(): number {
    return floorSatoshi(this.#spent)
  }
  get committed(): number {
    return ceilSatoshi(this.#spent + this.#held)
  }
  get live(): readonly Stored[] {
    return this.#live
  }

  /** Satoshi that a record would commit beyond what is. */
  costOf(wish: Wish, now: number, paidUntil: number): number {
    return ceilSatoshi(this.#spent + this.#held + this.#worst(wish, now, paidUntil)) - this.committed
  }

  write(wish: Wish, now: number, serviceEnd: number): Stored {
    const expires = now + wish.ttl
    const paidUntil = Math.min(expires, serviceEnd)
    const ingress = ingressUnits(wish.bytes, this.prices)
    this.#spent += ingress
    this.#held += this.#worst(wish, now, paidUntil) - ingress
    const stored = { ...wish, expires, paidUntil, pullsLeft: wish.maxPulls }
    this.#live.push(stored)
    this.#liveBytes += billedBytes(wish.bytes)
    return stored
  }

  /** False where it is over, or was pulled as often as it may be. */
  pull(stored: Stored, now: number, isAcknowledged: boolean): boolean {
    if (stored.pullsLeft === 0 || now >= stored.paidUntil) return false
    const units = egressUnits(stored.bytes, this.prices)
    const bytes = billedBytes(stored.bytes)
    const isFirst = stored.pullsLeft === stored.maxPulls
    stored.pullsLeft--
    this.#spent += units
    this.#held -= units
    if (isAcknowledged) this.#acknowledged += bytes
    else if (!isFirst) this.#unproven.push({ bytes, at: now })
    return true
  }

  /** Time passes up to `now`; every time in here is a multiple of the step. */
  pass(seconds: number, now: number): void {
    const units = BigInt(this.#liveBytes) * BigInt(seconds * 1000) * BigInt(this.prices.storageGBDay)
    this.#spent += units
    this.#held -= units
    this.#live = this.#live.filter((stored) => {
      if (now < stored.paidUntil) return true
      this.#held -= BigInt(stored.pullsLeft) * egressUnits(stored.bytes, this.prices)
      this.#liveBytes -= billedBytes(stored.bytes)
      return false
    })
  }

  /** A renewal pays for live records further on. */
  extend(serviceEnd: number): void {
    for (const stored of this.#live) {
      const until = Math.max(stored.paidUntil, Math.min(stored.expires, serviceEnd))
      this.#held += storageUnits(stored.bytes, (until - stored.paidUntil) * 1000, this.prices)
      stored.paidUntil = until
    }
  }

  /** What an audit supports or tolerates of what is owed, in satoshi. */
  audited(now: number): number {
    const old = this.#unproven.filter(({ at }) => now - at > recentSeconds)
    const bytes = old.reduce((sum, { bytes: one }) => sum + one, 0)
    const beyond = Math.max(
      0,
      bytes - Math.floor(this.#acknowledged / Number(toleratedPart)) - Number(toleratedBytes),
    )
    const units = BigInt(beyond) * BigInt(this.prices.egressGB) * BigInt(dayMs)
    return floorSatoshi(this.#spent - units)
  }

  #worst({ bytes, maxPulls }: Wish, now: number, paidUntil: number): bigint {
    return worstUnits({ bytes, at: now * 1000, paidUntil: paidUntil * 1000, maxPulls, prices: this.prices })
  }
}
