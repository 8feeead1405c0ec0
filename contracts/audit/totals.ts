/** What a purse has come to by our own books, exactly (docs/protocol.md §4.10). */
import { billedBytes, egressUnits, proofBytes, worstUnits } from '../../market/price.ts'
import { dayMs, type Prices } from '../../market/units.ts'
import type { Life, Standing } from './books.ts'
import type { Support } from './pulls.ts'
import { Sum } from './sum.ts'

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

/** What quantities of billed bytes cost at one schedule. */
export const quantityUnits = ({ byteMs, egress, ingress }: Quantities, prices: Prices): bigint =>
  byteMs * BigInt(prices.storageGBDay) +
  BigInt(dayMs) * (egress * BigInt(prices.egressGB) + ingress * BigInt(prices.ingressGB))

/** An unproven pull is tolerated as long as its ack may still be on its way. */
export const recentMs = 7 * dayMs

export class Totals {
  readonly schedules: Schedule[] = []
  readonly acknowledged = new Sum()
  unprovenPulls = 0
  /** Units that records without receipt may have cost; undefined where nobody knows their prices. */
  allowance: bigint | undefined = 0n
  readonly #at: number
  #loose = { byteMs: 0n, ingress: 0n }
  #proofs = 0

  /** @param at of the report: storage is owed up to then */
  constructor(lives: readonly Life[], purse: string, at: number, since: Standing | undefined) {
    this.#at = at
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
    for (const life of lives) {
      if (life.at > at) continue
      if (life.purse === undefined) this.#addLoose(life)
      else if (isIn(life, purse)) this.#add(life)
    }
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

  #addLoose({ end, record: { bytes, at, maxPulls, prices, proofs = 0 } }: Life): void {
    this.#proofs += proofs
    const billed = BigInt(billedBytes(bytes))
    const ms = Math.max(0, Math.min(end, this.#at) - at)
    this.#loose = {
      byteMs: this.#loose.byteMs + billed * BigInt(ms),
      ingress: this.#loose.ingress + billed,
    }
    if (prices === undefined) this.allowance = undefined
    else if (this.allowance !== undefined)
      this.allowance +=
        worstUnits({ bytes, at, paidUntil: end, maxPulls, prices }) +
        BigInt(proofs) * egressUnits(proofBytes, prices)
  }
}

export const isIn = (life: Life, purse: string): boolean =>
  life.purse === purse || life.record.movedTo?.includes(purse) === true

const samePrices = (a: Prices, b: Prices): boolean =>
  a.storageGBDay === b.storageGBDay && a.egressGB === b.egressGB && a.ingressGB === b.ingressGB
