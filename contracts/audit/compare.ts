/** The totals that a relay signs, against the most that our own books come to. */
import { floorSatoshi } from '../../market/price.ts'
import { dayMs } from '../../market/units.ts'
import type { UsageReport } from '../usage.ts'
import type { Books } from './books.ts'
import { type Findings, moment } from './findings.ts'
import { type Quantities, quantityUnits, type Totals } from './totals.ts'

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
}

/** Accuses the relay of what its totals have beyond our books. Less is never a fault, and so is what books lack. */
export function compare(compared: Compared): void {
  const { report, totals, findings, listed, books, bought } = compared
  if (!books.isWhole) return
  const { most } = totals
  const dearest = {
    storageGBDay: Math.max(0, ...totals.schedules.map(({ prices }) => prices.storageGBDay)),
    egressGB: Math.max(0, ...totals.schedules.map(({ prices }) => prices.egressGB)),
    ingressGB: Math.max(0, ...totals.schedules.map(({ prices }) => prices.ingressGB)),
  }
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
  if (byteMs > 0n)
    accuse(
      'wrong-storage',
      `${until} the relay has billed ${report.byteMs} byte-milliseconds of storage, ${byteMs} more than your receipts and deletions come to`,
      { byteMs },
    )
  const ingress = BigInt(report.ingress) - most.ingress
  if (ingress > 0n)
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
  comparePrice(compared, forgedPulls + excess)
}

/** Whether what is owed follows from what was used. */
function comparePrice(compared: Compared, beyond: bigint): void {
  const { report, page, totals, findings, listed, bought, books } = compared
  const [schedule] = totals.schedules
  const isPlain = totals.schedules.length === 1 && books.unsettled === 0 && bought === 0
  const used = {
    byteMs: BigInt(report.byteMs),
    egress: BigInt(report.egress),
    ingress: BigInt(report.ingress),
  }
  if (schedule !== undefined && isPlain) {
    accuseOfPrice(quantityUnits(used, schedule.prices), 'what it says was used comes to')
    return
  }
  if (totals.allowance === undefined || listed === undefined) return
  const mine = totals.schedules.reduce(
    (sum, one) =>
      sum +
      one.supportedUnits +
      one.units({ byteMs: one.lost.value, egress: one.recent.value + one.old.value }),
    totals.allowance + beyond,
  )
  accuseOfPrice(mine + boughtUnits(bought), 'your books come to')

  function accuseOfPrice(units: bigint, words: string): void {
    const most = floorSatoshi(units)
    const owed = BigInt(report.owed)
    if (owed <= BigInt(most)) return
    const example = books.lives.find((life) => life.purse === report.account)
    const sentence = `the relay says the purse ${report.account} owes ${owed} satoshi, and at the prices of your receipts ${words} ${most}`
    findings.add({
      kind: 'wrong-price',
      sentence,
      units: (owed - BigInt(most)) * unitsOfSatoshi,
      texts: [page],
      isProvable: isPlain && example !== undefined,
      ...(example === undefined ? {} : { path: example.path, receiptAt: example.at }),
    })
  }
}

const unitsOfSatoshi = BigInt(dayMs) * 1_000_000_000n
/** Rounded once on the relay's side, at a moment that we do not know. */
export const boughtUnits = (satoshis: number): bigint =>
  satoshis === 0 ? 0n : BigInt(satoshis + 1) * unitsOfSatoshi
