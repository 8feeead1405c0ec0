/** The totals that a relay signs, against the most that our own books come to. */
import { floorSatoshi, freePrices, unitsPerSatoshi } from '../../market/price.ts'
import type { UsageReport } from '../usage.ts'
import type { Books } from './books.ts'
import { type Findings, moment } from './findings.ts'
import { highestOf, isWithin, type Quantities, quantityUnits, type Totals, usedIn } from './totals.ts'

/** What is known of pulls, for `compare`. */
export interface Compared {
  readonly report: UsageReport
  readonly page: string
  readonly books: Books
  readonly totals: Totals
  readonly findings: Findings
  /** Billed bytes of all pulls ever listed; undefined where some were missing. */
  readonly listed: bigint | undefined
  /** Units of forged pulls of former audits. */
  readonly forgedBefore: bigint
  /** Satoshi of reads that the owner bought with this purse. */
  readonly bought: number
  /** Satoshi that messages in boxes can have cost at most: how many bytes these had nobody says. */
  readonly boxed: number
}

/**
 * Accuses the relay of what its totals have beyond our books. Less is never a fault, and so is what books lack. Returns the
 * units that are owed beyond all we know of while records have no receipt: they may have been as dear as that.
 */
export function compare(compared: Compared): bigint {
  const { report, totals, findings, listed, books, bought, boxed } = compared
  if (!books.isWhole) return 0n
  const { most } = totals
  const dearest = highestOf(totals.schedules) ?? freePrices
  const none = { byteMs: 0n, egress: 0n, ingress: 0n }
  const until = `up to ${moment(report.at)}`
  // What is dearer by another price is judged below, with what was too much here left out of it.
  const forgedPulls = findings.units + compared.forgedBefore
  let excess = 0n
  const accuse = (
    kind: 'wrong-storage' | 'wrong-ingress' | 'wrong-egress',
    sentence: string,
    too: Partial<Quantities>,
  ) => {
    const units = quantityUnits({ ...none, ...too }, dearest)
    excess += units
    findings.add({ kind, sentence, units })
  }
  const byteMs = BigInt(report.byteMs) - most.byteMs
  if (boxed === 0 && byteMs > 0n)
    accuse(
      'wrong-storage',
      `${until} the relay has billed ${report.byteMs} byte-milliseconds of storage, ${byteMs} more than your receipts and deletions come to`,
      { byteMs },
    )
  const ingress = BigInt(report.ingress) - most.ingress
  if (boxed === 0 && ingress > 0n)
    accuse(
      'wrong-ingress',
      `${until} the relay has billed ${report.ingress} bytes that came in, ${ingress} more than your receipts come to`,
      { ingress },
    )
  const egress = BigInt(report.egress) - (listed ?? 0n) - most.proofs
  if (listed !== undefined && bought === 0 && egress > 0n)
    accuse(
      'wrong-egress',
      `${until} the relay has billed ${report.egress} bytes that went out, ${egress} more than the pulls it lists and the proofs you asked for`,
      { egress },
    )
  return comparePrice(compared, forgedPulls + excess)
}

/** Whether what is owed follows from what was used. Returns as `compare`. */
function comparePrice(compared: Compared, beyond: bigint): bigint {
  const { report, page, totals, findings, listed, books } = compared
  const beside = compared.bought + compared.boxed
  const [schedule] = totals.schedules
  const { allowance } = totals
  if (allowance === undefined) return 0n
  const isOneSchedule = schedule !== undefined && totals.schedules.length === 1
  if (isOneSchedule && !totals.isAssumed && isWithin(allowance.prices, schedule.prices) && beside === 0) {
    accuseOfPrice(quantityUnits(usedIn(report), schedule.prices), 'what it says was used comes to')
    return 0n
  }
  if (listed === undefined) return 0n
  const mine = totals.schedules.reduce(
    (sum, one) =>
      sum +
      one.supportedUnits +
      one.units({ byteMs: one.lost.value, egress: one.recent.value + one.old.value }),
    allowance.units + beyond,
  )
  const most = mine + besideUnits(beside)
  if (totals.isAssumed) return beyondOf(most).units
  accuseOfPrice(most, 'your books come to')
  return 0n

  function beyondOf(units: bigint) {
    const most = floorSatoshi(units)
    const more = BigInt(report.owed) - BigInt(most)
    return { most, units: more > 0n ? more * unitsPerSatoshi : 0n }
  }
  function accuseOfPrice(units: bigint, words: string): void {
    const { most, units: more } = beyondOf(units)
    if (more === 0n) return
    const { unsettled, mispriced } = books
    const whose = books.pricesOf(report.account) === undefined ? 'your receipts' : 'its contract'
    const assumed =
      unsettled === 0 ? '' : `, the ${unsettled} records whose receipts never came taken at their quotes`
    const example = books.lives.find((life) => life.purse === report.account)
    const sentence = `the relay says the purse ${report.account} owes ${report.owed} satoshi, and at the prices of ${whose} ${words} ${most}${assumed}`
    findings.add({
      kind: 'wrong-price',
      sentence,
      units: more,
      texts: [page],
      isProvable: isOneSchedule && beside === 0 && unsettled + mispriced === 0 && example !== undefined,
      ...(example === undefined ? {} : { path: example.path, receiptAt: example.at }),
    })
  }
}

/** Rounded once on the relay's side, at a moment that we do not know. */
const besideUnits = (satoshis: number): bigint =>
  satoshis === 0 ? 0n : BigInt(satoshis + 1) * unitsPerSatoshi
