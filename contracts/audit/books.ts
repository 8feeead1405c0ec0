/**
 * What an audit holds a relay's usage reports against (docs/protocol.md §4.10): the books of one owner on one relay. They
 * are filled once, record by record, and serve the audits of all purses; a million records fit into memory.
 */
import { samePrices } from '../../market/price.ts'
import type { Hash, Key, Prices } from '../../market/units.ts'
import type { Bearings } from '../escrow/bearing.ts'
import { arrivalToleranceMs } from '../receipt.ts'
import type { UsagePull, UsageReport } from '../usage.ts'
import { Acks } from './acks.ts'
import { Life, recordIdOf } from './life.ts'

/** A pull that a former audit listed in the report of `purse`, and did not find forged. */
export type Seen = Omit<UsagePull, 'path'> & { readonly purse: string }

/**
 * One life of a record on this relay, by the relay's own receipt: from `at` until it is deleted or no longer paid for. What
 * is stored again after its end, or got another receipt because the relay lost it, has another life: keep all receipts.
 */
export interface BookedRecord {
  readonly path: string
  readonly at: number
  readonly bytes: number
  readonly paidUntil: number
  readonly maxPulls: number
  /** Of the receipt's `charge`. */
  readonly purse: string
  readonly prices: Prices
  readonly tag: string
  readonly bilateralPulls?: number
  /** By the relay's deletion receipt; absent while there is none: then it may be billed to its end. */
  readonly deletedAt?: number
  /** `prove` requests that were sent, answered or not: the relay may have billed so many. */
  readonly proofs?: number
  /** Set after a proof has failed: when the last good one was made, or `at`. Storage is not paid from there on. */
  readonly heldUntil?: number
  /** Other purses it was moved to. */
  readonly movedTo?: readonly string[]
  readonly seen?: readonly Seen[]
}

/** A record that was sent, and whose receipt never came: it may be there or not, in any purse. It accuses nobody. */
export interface UnsettledRecord {
  readonly path: string
  readonly bytes: number
  /** On the relay's clock as it is known. */
  readonly firstSent: number
  readonly expires: number
  readonly maxPulls: number
  readonly proofs?: number
  /** What was quoted for it; without, what a purse owes cannot be judged before no receipt can come any more (totals.ts). */
  readonly prices?: Prices
}

/** A proof that failed (proof.ts), with the signed texts that show it. */
export interface FailedProof {
  readonly path: string
  /** `at` of the receipt. */
  readonly at: number
  readonly sentence: string
  readonly texts: readonly string[]
}

/** Of one price schedule: billed bytes times milliseconds, billed bytes. Decimal strings, since they go into JSON. */
export interface ScheduleSums {
  readonly prices: Prices
  readonly byteMs: string
  /** Supported pulls and proofs. */
  readonly egress: string
  readonly ingress: string
  /** Pulls that nobody ever acknowledged. */
  readonly unproven: string
}

/** What one audit of a purse leaves for the next. Without one, an audit begins at the first pull. */
export interface Standing {
  /** The last pull that was listed, and the chain there. */
  readonly seq: number
  readonly chain: Hash
  /** `at` of the report. */
  readonly at: number
  /** The signed page that ended there: of two pages that contradict each other, one is this. */
  readonly page?: string
  /** Billed bytes of all pulls ever listed, good or not; their acknowledged part. */
  readonly listed: string
  readonly acknowledged: string
  /** What forged pulls came to, in units: they stay in what the relay says is owed. */
  readonly forged: string
  /** Whether pulls were missing from the relay's log, or other ones stood there before: then its egress cannot be compared. */
  readonly hasGap: boolean
  /** Of records whose life is over, which the books need not name any more (settle.ts). */
  readonly settledBefore: readonly ScheduleSums[]
  readonly proofsBefore: number
  readonly unprovenPullsBefore: number
}

/** A page as the relay signed it. Its signature, sender and addressee were checked by who received it. */
export interface ReportPage {
  readonly report: UsageReport
  /** Beside the report in the reply. */
  readonly more: boolean
  /** The reply's envelope. */
  readonly text: string
  /** Our signed request, where kept: shows that evidence was asked for, and no end was set. */
  readonly asked?: string
}

/** Places run ahead of the clock in a burst, by far less than this: a pull may be stamped so much after the end. */
export const lifetimeToleranceMs = 1000

export class Books {
  readonly relay: Key
  readonly owner: Key
  /** Whether every record of this owner is here. If not (a new device, a second one), nothing is unknown or too much. */
  readonly isWhole: boolean
  readonly acks: Acks
  readonly failedProofs: readonly FailedProof[]
  readonly lives: Life[] = []
  unsettled = 0
  /** Receipts of contracts whose prices are not those of the terms: by these they are judged. */
  mispriced = 0
  readonly #bearings: Bearings
  readonly #byId = new Map<string, Life | Life[]>()

  constructor(of: {
    relay: Key
    owner: Key
    acks?: Acks
    isWhole?: boolean
    failedProofs?: readonly FailedProof[]
    bearings?: Bearings
  }) {
    this.relay = of.relay
    this.owner = of.owner
    this.acks = of.acks ?? new Acks()
    this.isWhole = of.isWhole ?? true
    this.failedProofs = of.failedProofs ?? []
    this.#bearings = of.bearings ?? new Map()
  }

  /** The same life twice counts once. */
  add(record: BookedRecord): void {
    if (this.life(record) !== undefined) return
    const prices = this.pricesOf(record.purse) ?? record.prices
    if (!samePrices(prices, record.prices)) this.mispriced++
    this.#put(new Life({ ...record, prices }))
  }
  /** Of a contract that is known: nothing in its purse costs anything else. */
  pricesOf(purse: string): Prices | undefined {
    return this.#bearings.get(purse)?.prices
  }
  /** That of the receipt of this moment. */
  life({ path, at }: Pick<BookedRecord, 'path' | 'at'>): Life | undefined {
    const found = this.#byId.get(recordIdOf(path))
    const isIt = (life: Life) => life.path === path && life.at === at && life.purse !== undefined
    return found && [found].flat().find(isIt)
  }

  addUnsettled({ firstSent, expires, ...record }: UnsettledRecord): void {
    const at = firstSent - arrivalToleranceMs
    const known = { ...record, at, paidUntil: expires, purse: undefined, prices: record.prices, tag: '' }
    this.#put(new Life(known))
    this.unsettled++
  }

  /** Whose pull it is: the latest life it can fall into, or else the latest that began before it. */
  find({ path, at }: UsagePull): Life | undefined {
    const found = this.#byId.get(recordIdOf(path))
    if (found === undefined) return undefined
    if (!Array.isArray(found)) return found.path === path ? found : undefined
    const all = found.filter((life) => life.path === path)
    const around = all.filter((life) => at >= life.at && at <= life.end + lifetimeToleranceMs)
    const roomy = around.filter((life) => life.pullCount < life.record.maxPulls)
    // Records without receipt come last: nothing can be said of them.
    const byAge = (a: Life, b: Life) =>
      Number(a.purse === undefined) - Number(b.purse === undefined) || b.at - a.at
    return [roomy, around, all.filter((life) => at >= life.at), all]
      .find(({ length }) => length > 0)
      ?.sort(byAge)[0]
  }

  #put(life: Life): void {
    const id = recordIdOf(life.path)
    const found = this.#byId.get(id)
    if (found === undefined) this.#byId.set(id, life)
    else if (Array.isArray(found)) found.push(life)
    else this.#byId.set(id, [found, life])
    this.lives.push(life)
  }
}
