/** Everything signed that shows what a relay is accused of, as a file for others (contracts/audit/evidence.ts). */
import type { ReportPage } from '../../contracts/audit/books.ts'
import { makeEvidence } from '../../contracts/audit/evidence.ts'
import type { Finding } from '../../contracts/audit/findings.ts'
import type { Audit } from '../../contracts/audit/verdict.ts'
import { verifyEvidence } from '../../contracts/audit/verify.ts'
import type { Context } from '../context.ts'
import { codeOf } from '../errors.ts'
import { journalOf, type Kept } from '../home/journal.ts'
import { keptOf, type Whose } from '../home/kept.ts'
import { entries, recordOf } from '../home/outbox.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { extensionsIn } from './audit-extensions.ts'
import { usagePages } from './audit-pages.ts'
import type { Spool } from './audit-spool.ts'

/** Moments of disputed pulls that a relay is asked for again. */
const mostMoments = 200
/** Of the texts of one file, half of what may stand in one: what does not fit is not proven by it. */
const mostTexts = 5000
const mostCharacters = 100_000_000

export interface EvidenceOptions extends Whose, CallOptions {
  readonly audit: Pick<Audit, 'purse' | 'findings'>
  /** The report of the purse, where there is one. */
  readonly spool?: Spool | undefined
  /** Only pages without other pulls than the disputed ones. */
  readonly isRestricted?: boolean | undefined
}

/** The text of an evidence file. It claims as provable only what it was checked to prove. */
export async function evidenceOf(
  ctx: Context,
  connection: Connection,
  options: EvidenceOptions,
): Promise<string> {
  const { audit, relay, owner, isRestricted = false } = options
  const { findings, purse } = audit
  const texts = fitting([...(await ownTexts(ctx, options)), ...(await pageTexts(connection, options))])
  const parts = { relay, owner, account: purse, made: ctx.now(), texts, isRestricted }
  const text = makeEvidence({ ...parts, findings })
  const checked = verifyEvidence(text).findings
  const honest = findings.map((finding, index): Finding => {
    const isProvable = finding.isProvable && checked[index]?.outcome === 'proven'
    return { ...finding, isProvable }
  })
  return makeEvidence({ ...parts, findings: honest })
}

function fitting(texts: readonly string[]): string[] {
  let left = mostCharacters
  return texts.slice(0, mostTexts).filter(({ length }) => {
    left -= length
    return left > 0
  })
}

/** Pages that have the disputed pulls, and what they answer. */
async function pageTexts(connection: Connection, options: EvidenceOptions): Promise<string[]> {
  const { audit, spool, isRestricted, signal } = options
  const missing = new Map<number, number>()
  for (const { seqs, times } of audit.findings)
    seqs.forEach((seq, index) => {
      missing.set(seq, times[index]!) // one for each
    })
  // A finding names only the first of very many pulls: all pages with one of its record show them.
  const whole = new Set(audit.findings.flatMap(({ count, path }) => (count === undefined ? [] : [path])))
  const isWhole = ({ report: { pulls } }: ReportPage) =>
    audit.findings.length === 0 || (whole.size > 0 && pulls.some(({ path }) => whole.has(path)))
  const texts: string[] = []
  let left = mostCharacters
  const take = (page: ReportPage) => {
    const its = textsOf(page)
    left -= its.join('').length
    if (left > 0 && texts.length < mostTexts) texts.push(...its)
  }
  if (!isRestricted && spool !== undefined)
    for await (const page of spool.pages()) if (has(page, missing) || isWhole(page)) take(page)
  // Asked for one by one, so that a page has nothing else; pulls of former audits are not in this one's pages either.
  for (const at of [...new Set(missing.values())].slice(0, mostMoments)) {
    try {
      const between = [Math.max(0, at - 1), at] as const
      for await (const page of usagePages(connection, audit.purse, { between, signal }))
        if (has(page, missing)) take(page)
    } catch (error) {
      signal?.throwIfAborted()
      if (codeOf(error) === undefined) throw error
    }
  }
  return texts
}

const textsOf = ({ text, asked }: ReportPage): string[] => (asked === undefined ? [text] : [text, asked])

/** Whether a page has any of these pulls, which then are not looked for any more. */
function has({ report: { pulls } }: ReportPage, missing: Map<number, number>): boolean {
  const found = pulls.filter(({ seq }) => missing.has(seq))
  for (const { seq } of found) missing.delete(seq)
  return found.length > 0
}

/** The relay's receipts for the records of the findings, what it extended, and the records where they still are. */
async function ownTexts(ctx: Context, { audit, relay, owner }: EvidenceOptions): Promise<string[]> {
  const paths = new Set(audit.findings.flatMap(({ path }) => (path === undefined ? [] : [path])))
  if (paths.size === 0) return []
  const texts: string[] = []
  const take = ({ path, receipt, gone }: Kept) => {
    if (paths.has(path)) texts.push(...[receipt, gone].filter((text) => text !== null))
  }
  for (const entry of (await entries(ctx.home)).values()) {
    const kept = await keptOf(ctx.home, entry, { relay, owner })
    if (kept === undefined || !paths.has(kept.path)) continue
    take(kept)
    const record = await recordOf(ctx.home, entry).catch(() => undefined) // damaged: it shows nothing
    if (record !== undefined && needsRecord(audit.findings, kept.path)) texts.push(record.text)
  }
  for await (const { line } of journalOf(ctx.home, relay)) {
    if ('path' in line) take(line)
    else if ('extended' in line && extensionsIn(line.extended).some(({ path }) => paths.has(path)))
      texts.push(line.extended)
  }
  return texts
}

/** Only its owner's own words show how many pulls through the view he pays for. */
const needsRecord = (findings: readonly Finding[], of: string): boolean =>
  findings.some(({ kind, path }) => kind === 'above-bilateral-pulls' && path === of)
