/**
 * The audit of one purse: the relay's report held against receipts and acks, with two verdicts that are never mixed
 * (docs/protocol.md §4.10). What is forged is shown, and not paid; what is unproven accuses nobody.
 */
import { MarketError } from '../../market/errors.ts'
import { floorSatoshi, storageUnits } from '../../market/price.ts'
import { mostSatoshi } from '../../market/units.ts'
import type { Books, ReportPage, Standing } from './books.ts'
import { isIn, type Life } from './life.ts'
import { type Break, History } from './chain.ts'
import { compare } from './compare.ts'
import { type Finding, findingLimits, Findings, moment, satoshisOf } from './findings.ts'
import { PullBook } from './pulls.ts'
import { Totals } from './totals.ts'

export interface AuditOrder {
  readonly books: Books
  readonly purse: string
  /** The pages of the report, oldest first, from where the last audit ended or from earlier; they may be asked for twice. */
  readonly pages: () => Iterable<ReportPage> | AsyncIterable<ReportPage>
  /** Whether the read of this pull is to be verified. Once one is bad, all are. */
  readonly sample: (seq: number) => boolean
  readonly since?: Standing
  /** Satoshi that this account's statement says were spent on reads we bought: in what is owed, and in no report. */
  readonly bought?: number
  /** Satoshi that by these statements were reserved for messages in boxes, at most: no receipt tells of them. */
  readonly boxed?: number
  /** Until when a report may be, milliseconds since 1970 on the relay's clock: what bills the future is not looked at. */
  readonly latest?: number
}

export interface Audit {
  readonly purse: string
  /** When the relay drew this up, by its clock. */
  readonly at: number
  readonly verdict: 'explained' | 'unproven' | 'forged'
  /** Satoshi: what the relay says is owed since the purse was opened. */
  readonly claimed: number
  /** What our books support of it, and what of that and of the tolerated is to be paid. */
  readonly supported: number
  readonly toPay: number
  /**
   * Pulls by signed reads that nobody acknowledged: satoshi of all, and of those that are not tolerated. `unpriced`, not
   * among these: what is owed beyond all we know of while records have no receipt, so that nobody knows their prices.
   */
  readonly unproven: {
    readonly pulls: number
    readonly satoshis: number
    readonly beyond: number
    readonly unpriced: number
  }
  readonly forged: { readonly count: number; readonly satoshis: number }
  /** At most a thousand of them; `forged` counts all. */
  readonly findings: readonly Finding[]
  /** Pulls that the relay keeps no log of any more: nothing is said about them. */
  readonly gaps: readonly { readonly from: number; readonly to: number }[]
  /** Pulls of records that this client did not write, and whose books it does not have. */
  readonly foreign: number
  /** Listings of messages in boxes, and the satoshi that are claimed for such and nothing proves: within `unproven`. */
  readonly boxed: { readonly pulls: number; readonly satoshis: number }
  readonly pulls: number
  readonly signatures: number
  /** False while the report goes on: then its totals were not compared. */
  readonly isComplete: boolean
  /** For `settle`. */
  readonly rest: Rest
}

export interface Rest {
  readonly history: History
  readonly totals: Totals
  readonly listed: bigint
  readonly forgedUnits: bigint
  /** Places of pulls that are not paid. */
  readonly forged: ReadonlySet<number>
  readonly hasGap: boolean
}

/** Reads are tolerated without ack up to this part of what is acknowledged, and so much more. */
export const toleratedPart = 20n
export const toleratedBytes = 1_000_000n

/** @throws ERR_MALFORMED for a report of another purse, of none, or of a time that cannot be */
export async function audit(order: AuditOrder): Promise<Audit> {
  const { result, isDoubtful } = await pass(order, order.sample)
  return isDoubtful ? (await pass(order, () => true)).result : result
}

interface Pass {
  readonly result: Audit
  /** A read was bad, and maybe not all were looked at. */
  readonly isDoubtful: boolean
}

async function pass(order: AuditOrder, sample: AuditOrder['sample']): Promise<Pass> {
  const { books, purse, bought = 0, boxed = 0, since } = order
  const findings = new Findings()
  const history = new History(purse, since)
  const pulls = new PullBook(books, purse, findings)
  const breaks: Break[] = []
  let last: ReportPage | undefined
  let isGood = true
  let count = 0
  for await (const page of order.pages()) {
    checkPage(page, order)
    const { fresh, broken } = history.take(page)
    if (broken !== undefined) breaks.push(breaks.length < findingLimits.pages ? broken : furtherBreak)
    isGood = pulls.take(page, fresh, sample) && isGood
    count += fresh.length
    last = page
  }
  if (last === undefined) throw new MarketError('ERR_MALFORMED', 'an audit needs a report')
  const { report, text, more } = last
  for (const found of breaks) findings.add({ kind: 'broken-chain', ...found })
  const totals = new Totals({
    lives: books.lives,
    purse,
    at: report.at,
    since,
    prices: books.pricesOf(purse),
  })
  const rewrittenAt = breaks.length > 0 ? since?.seq : undefined
  pulls.judge(totals.count, rewrittenAt)
  const forgedPulls = findings.units
  const hasGap = since?.hasGap === true || history.gaps.length > 0 || rewrittenAt !== undefined
  const listed = BigInt(since?.listed ?? '0') + pulls.listedBytes
  const forgedBefore = BigInt(since?.forged ?? '0')
  const isTold = !hasGap && pulls.foreign === 0
  const compared = { report, page: text, books, totals, findings, forgedBefore, bought, boxed }
  const unpriced = more ? 0n : compare({ ...compared, listed: isTold ? listed : undefined })
  accuseOfLoss({ books, purse, at: report.at, findings })
  const { signatures, foreign } = pulls
  const rest = {
    history,
    totals,
    listed,
    forgedUnits: forgedBefore + forgedPulls,
    forged: pulls.forged,
    hasGap,
  }
  const facts = { count, signatures, foreign, isComplete: !more, rest, purse, at: report.at }
  const claimed = Math.min(Number(report.owed), mostSatoshi)
  const result = verdictOf({
    ...{ totals, findings, claimed, bought, unpriced, facts },
    boxed: { pulls: pulls.boxed, satoshis: boxed },
  })
  return { result, isDoubtful: !isGood }
}

/** One of very many: each of the first has its own words and pages. */
const furtherBreak: Break = {
  sentence: 'another page does not follow from what the relay signed before',
  texts: [],
  isProvable: false,
}

function checkPage(
  { report }: ReportPage,
  { purse, since, latest = Number.POSITIVE_INFINITY }: AuditOrder,
): void {
  if (report.account !== purse)
    throw new MarketError('ERR_MALFORMED', `this is a report of the purse ${report.account}`)
  if (report.at > latest || report.at < (since?.at ?? 0))
    throw new MarketError(
      'ERR_MALFORMED',
      `this report is of ${moment(report.at)}, when no relay can have made it`,
    )
}

function verdictOf(from: {
  totals: Totals
  findings: Findings
  claimed: number
  bought: number
  /** As it can be at most. */
  boxed: Audit['boxed']
  unpriced: bigint
  facts: Pick<Audit, 'purse' | 'at' | 'signatures' | 'foreign' | 'isComplete' | 'rest'> & { count: number }
}): Audit {
  const { totals, findings, claimed, bought, unpriced, facts } = from
  const { count, ...rest } = facts
  const supported = totals.schedules.reduce((sum, schedule) => sum + schedule.supportedUnits, 0n)
  const { tolerated, beyond } = tolerance(totals)
  const isForged = findings.count > 0
  const supportedSatoshi = floorSatoshi(supported)
  const known = floorSatoshi(supported + tolerated + beyond) + bought + satoshisOf(findings.units)
  const boxed = { ...from.boxed, satoshis: Math.min(from.boxed.satoshis, Math.max(0, claimed - known)) }
  return {
    ...rest,
    verdict: isForged ? 'forged' : beyond + unpriced > 0n || boxed.satoshis > 0 ? 'unproven' : 'explained',
    claimed,
    supported: supportedSatoshi,
    toPay: Math.min(claimed, floorSatoshi(supported + tolerated)),
    unproven: {
      pulls: totals.unprovenPulls,
      satoshis: satoshisOf(tolerated + beyond) + bought + boxed.satoshis,
      beyond: satoshisOf(beyond),
      unpriced: satoshisOf(unpriced),
    },
    forged: { count: findings.count, satoshis: satoshisOf(findings.units) },
    findings: findings.kept,
    gaps: facts.rest.history.gaps,
    boxed,
    pulls: count,
  }
}

/** Splits the units of unproven pulls. The allowance in bytes goes to the dearest first. */
function tolerance({ schedules, acknowledged }: Totals): { tolerated: bigint; beyond: bigint } {
  let left = acknowledged.value / toleratedPart + toleratedBytes
  let tolerated = 0n
  let beyond = 0n
  for (const schedule of [...schedules].sort((a, b) => b.prices.egressGB - a.prices.egressGB)) {
    const old = schedule.old.value
    const good = old < left ? old : left
    left -= good
    tolerated += schedule.units({ egress: schedule.recent.value + good })
    beyond += schedule.units({ egress: old - good })
  }
  return { tolerated, beyond }
}

/** What is billed for records of which a proof failed. */
function accuseOfLoss(of: { books: Books; purse: string; at: number; findings: Findings }): void {
  const { books, purse, at, findings } = of
  for (const failed of books.failedProofs) {
    const life = books.life(failed)
    if (life !== undefined && isIn(life, purse)) findings.addLoss(failed, lostUnits(life, at))
  }
}

function lostUnits({ end, record }: Life, at: number): bigint {
  const { bytes, prices, at: receiptAt, heldUntil = receiptAt } = record
  return prices === undefined ? 0n : storageUnits(bytes, Math.min(end, at) - heldUntil, prices)
}
