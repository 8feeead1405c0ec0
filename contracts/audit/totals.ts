/** What a purse has come to by our own books, exactly (docs/protocol.md §4.10). */
import {
  billedBytes,
  egressUnits,
  freePrices,
  proofBytes,
  samePrices,
  worstUnits,
} from '../../market/price.ts'
import { dayMs, type Prices, protocolLimits } from '../../market/units.ts'
import type { UsageReport } from '../usage.ts'
import type { Standing } from './books.ts'
import { isIn, type Life } from './life.ts'
import { Sum } from './sum.ts'
import type { Support } from './support.ts'

/** What was used at one price schedule: billed bytes, and billed bytes times milliseconds. */
export class Schedule {
  readonly prices: Prices
  /** At most, by the receipts. */
  readonly byteMs = new Sum()
  /** Of that, what is not paid because a proof failed. */
  readonly lost = new Sum()
  readonly ingress = new Sum()
  readonly proofs = new Sum()
  /** Pulls, by what supports them. */
  readonly supported = new Sum()
  readonly recent = new Sum()
  readonly old = new Sum()

  constructor(prices: Prices) {
    this.prices = prices
  }

  /** Storage, ingress, proofs, and pulls that somebody or something supports. */
  get supportedUnits(): bigint {
    const egress = this.supported.value + this.proofs.value
    return this.units({ byteMs: this.byteMs.value - this.lost.value, ingress: this.ingress.value, egress })
  }

  units({ byteMs = 0n, egress = 0n, ingress = 0n }: Partial<Quantities>): bigint {
    return quantityUnits({ byteMs, egress, ingress }, this.prices)
  }
}

export interface Quantities {
  readonly byteMs: bigint
  readonly egress: bigint
  readonly ingress: bigint
}

/** What the relay says was used. */
export const usedIn = ({ byteMs, egress, ingress }: UsageReport): Quantities => ({
  byteMs: BigInt(byteMs),
  egress: BigInt(egress),
  ingress: BigInt(ingress),
})

/** What quantities of billed bytes cost at one schedule. */
export const quantityUnits = ({ byteMs, egress, ingress }: Quantities, prices: Prices): bigint =>
  byteMs * BigInt(prices.storageGBDay) +
  BigInt(dayMs) * (egress * BigInt(prices.egressGB) + ingress * BigInt(prices.ingressGB))

/** An unproven pull is tolerated as long as its ack may still be on its way. */
export const recentMs = 7 * dayMs

export interface Totalled {
  readonly lives: readonly Life[]
  readonly purse: string
  /** Of the report: storage is owed up to then. */
  readonly at: number
  readonly since: Standing | undefined
  /** Where nothing in this purse can have cost anything else. */
  readonly prices?: Prices | undefined
}

export class Totals {
  readonly schedules: Schedule[] = []
  readonly acknowledged = new Sum()
  unprovenPulls = 0
  /**
   * Units that records without receipt may have cost, and the highest prices of any; undefined where one may be without
   * limit: nobody knows its prices, and its receipt may still come. Once it cannot, the highest of any receipt are taken.
   */
  allowance: { readonly units: bigint; readonly prices: Prices } | undefined = {
    units: 0n,
    prices: freePrices,
  }
  /** Whether prices were taken that nobody told us: what is beyond the allowance is then unproven, and accuses nobody. */
  isAssumed = false
  readonly #at: number
  readonly #prices: Prices | undefined
  #loose = { byteMs: 0n, ingress: 0n }
  #proofs = 0

  constructor({ lives, purse, at, since, prices }: Totalled) {
    this.#at = at
    this.#prices = prices
    for (const sums of since?.settledBefore ?? []) {
      const schedule = this.of(sums.prices)
      schedule.byteMs.addBig(BigInt(sums.byteMs))
      schedule.ingress.addBig(BigInt(sums.ingress))
      schedule.supported.addBig(BigInt(sums.egress))
      schedule.old.addBig(BigInt(sums.unproven))
    }
    this.unprovenPulls = since?.unprovenPullsBefore ?? 0
    this.acknowledged.addBig(BigInt(since?.acknowledged ?? '0'))
    this.#proofs = since?.proofsBefore ?? 0
    const loose: Life[] = []
    for (const life of lives) {
      if (life.at > at) continue
      if (life.purse === undefined) loose.push(life)
      else if (isIn(life, purse)) this.#add(life)
    }
    if (loose.length === 0) return
    const limit = highestOf([...this.schedules, ...lives.map(({ record }) => record)])
    for (const life of loose) this.#addLoose(life, limit)
  }

  /** Counts a pull that is not forged. */
  readonly count = (life: Life, pull: { at: number }, support: Support): void => {
    const bytes = billedBytes(life.record.bytes)
    if (support === 'acknowledged') this.acknowledged.add(bytes)
    if (support === 'unproven') this.unprovenPulls++
    const { prices, purse } = life.record
    if (prices === undefined || purse === undefined) return // within the allowance
    const schedule = this.of(prices)
    if (support !== 'unproven') schedule.supported.add(bytes)
    else if (pull.at >= this.#at - recentMs) schedule.recent.add(bytes)
    else schedule.old.add(bytes)
  }

  of(prices: Prices): Schedule {
    const last = this.schedules.at(-1)
    if (last !== undefined && samePrices(last.prices, prices)) return last
    const found = this.schedules.findIndex((schedule) => samePrices(schedule.prices, prices))
    const schedule = found < 0 ? new Schedule(prices) : this.schedules.splice(found, 1)[0]!
    this.schedules.push(schedule) // the last used is the first that is looked at
    return schedule
  }

  /** The most that each quantity can be, but for pulls. */
  get most(): { readonly byteMs: bigint; readonly ingress: bigint; readonly proofs: bigint } {
    const sum = (name: 'byteMs' | 'ingress') =>
      this.schedules.reduce((all, schedule) => all + schedule[name].value, this.#loose[name])
    return {
      byteMs: sum('byteMs'),
      ingress: sum('ingress'),
      proofs: BigInt(this.#proofs) * BigInt(billedBytes(proofBytes)),
    }
  }

  #add(life: Life): void {
    const { end } = life
    const { bytes, at, heldUntil, prices, proofs = 0 } = life.record
    const billed = billedBytes(bytes)
    const schedule = this.of(prices!) // a life with a purse has prices
    const until = Math.min(end, this.#at)
    if (until > at) schedule.byteMs.addProduct(billed, until - at)
    if (heldUntil !== undefined && until > heldUntil) schedule.lost.addProduct(billed, until - heldUntil)
    schedule.ingress.add(billed)
    if (proofs === 0) return
    schedule.proofs.addProduct(proofs, billedBytes(proofBytes))
    this.#proofs += proofs
  }

  #addLoose({ end, record }: Life, limit: Prices | undefined): void {
    const { bytes, at, maxPulls, proofs = 0 } = record
    this.#proofs += proofs
    const billed = BigInt(billedBytes(bytes))
    const ms = Math.max(0, Math.min(end, this.#at) - at)
    this.#loose = {
      byteMs: this.#loose.byteMs + billed * BigInt(ms),
      ingress: this.#loose.ingress + billed,
    }
    const quoted = this.#prices ?? record.prices
    const prices = quoted ?? (this.#at > end + protocolLimits.graceMs ? limit : undefined)
    if (prices === undefined || this.allowance === undefined) {
      this.allowance = undefined
      return
    }
    if (quoted === undefined) this.isAssumed = true
    const worst = worstUnits({ bytes, at, paidUntil: end, maxPulls, prices })
    this.allowance = {
      units: this.allowance.units + worst + BigInt(proofs) * egressUnits(proofBytes, prices),
      prices: highestOf([this.allowance, { prices }])!, // of two that have prices
    }
  }
}

/** Of each price the highest; undefined where none are known. */
export function highestOf(all: readonly { readonly prices: Prices | undefined }[]): Prices | undefined {
  let highest: Prices | undefined
  for (const { prices } of all)
    if (highest === undefined) highest = prices
    else if (prices !== undefined && !isWithin(prices, highest))
      highest = {
        storageGBDay: Math.max(prices.storageGBDay, highest.storageGBDay),
        egressGB: Math.max(prices.egressGB, highest.egressGB),
        ingressGB: Math.max(prices.ingressGB, highest.ingressGB),
      }
  return highest
}

/** Whether nothing is dearer at the first prices than at the second. */
export const isWithin = (a: Prices, b: Prices): boolean =>
  a.storageGBDay <= b.storageGBDay && a.egressGB <= b.egressGB && a.ingressGB <= b.ingressGB
