/**
 * The portable file of an audit: what a relay is accused of, and the signed texts that show it, so that somebody else can
 * check it without asking anybody (docs/protocol.md §4.10). Checking is in verify.ts; nothing in the file is believed.
 */
import { z } from 'zod'
import { decode, firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { Path } from '../../market/record.ts'
import { Hash, Key, Milliseconds, mostSatoshi, SignatureHex } from '../../market/units.ts'
import { PurseName } from '../account.ts'
import { UsageReport } from '../usage.ts'
import { type Finding, findingLimits, kinds, printable } from './findings.ts'

export const evidenceLimits = {
  fileCharacters: 256 * 1024 * 1024,
  findings: 1000,
  texts: 10_000,
  /** Texts that one finding names. */
  named: 8,
} as const

const evidenceWarning =
  'this file shows when receivers read: whoever has it sees who pulled which record at what time'

const Claim = z.strictObject({
  kind: z.enum(kinds),
  sentence: z.string().max(findingLimits.sentence),
  satoshis: z.int().min(0),
  /** Of pulls; the last one is that which is disputed. */
  seqs: z.array(z.int().min(1)).max(100_000),
  /** Of these pulls, where `seqs` has only the first of them, and the disputed one. */
  count: z.int().min(1).optional(),
  isProvable: z.boolean(),
  path: Path.optional(),
  receiptAt: Milliseconds.optional(),
  /** Names of texts, where pulls and receipt alone do not show it. */
  texts: z.array(Hash).max(evidenceLimits.named).optional(),
})
export type Claim = z.infer<typeof Claim>

export const Evidence = z.strictObject({
  type: z.literal('relay-audit'),
  v: z.literal(1),
  relay: Key,
  owner: Key,
  /** The purse that was audited; empty where what is shown is of no purse: a record that was free of charge. */
  account: PurseName.or(z.literal('')),
  /** By its maker's clock. */
  made: Milliseconds,
  warning: z.string().max(1000),
  findings: z.array(Claim).max(evidenceLimits.findings),
  /** Envelopes, each under its hash. */
  texts: z.record(Hash, z.string()),
})
export type Evidence = z.infer<typeof Evidence>

export interface EvidenceParts extends Pick<Evidence, 'relay' | 'owner' | 'account' | 'made'> {
  readonly findings: readonly Finding[]
  /**
   * Everything signed that may show it: pages of reports, receipts and deletions (replies), own records, requests. What
   * shows nothing of these findings may be among it, and stays in the file.
   */
  readonly texts: readonly string[]
  /** Leaves out pages that hold other pulls than disputed ones, but for those that contradict each other. */
  readonly isRestricted?: boolean
}

/**
 * The text of an evidence file. Check it with `verifyEvidence` before it is shown to anybody.
 * @throws ERR_TOO_LARGE for too many texts, ERR_MALFORMED for what no evidence is made of
 */
export function makeEvidence({ findings, texts, isRestricted = false, ...head }: EvidenceParts): string {
  const kept = findings.slice(0, evidenceLimits.findings)
  const disputed = new Set(kept.flatMap(({ seqs }) => seqs))
  const named = new Set(kept.flatMap((finding) => finding.texts ?? []))
  const all = new Map<string, string>()
  for (const text of [...named, ...texts]) {
    if (isRestricted && !named.has(text) && showsOthers(text, disputed)) continue
    all.set(nameOf(text), text)
  }
  if (all.size > evidenceLimits.texts)
    throw new MarketError('ERR_TOO_LARGE', `more than ${evidenceLimits.texts} signed texts for one file`)
  const claims: Claim[] = kept.map(({ times: _, texts: its, seqs, ...claim }) => ({
    ...claim,
    seqs: [...seqs],
    sentence: printable(claim.sentence),
    satoshis: Math.min(claim.satoshis, mostSatoshi),
    ...(its === undefined ? {} : { texts: its.map(nameOf) }),
  }))
  const file: Evidence = {
    type: 'relay-audit',
    v: 1,
    ...head,
    warning: evidenceWarning,
    findings: claims,
    texts: Object.fromEntries(all),
  }
  const made = Evidence.safeParse(file)
  if (!made.success)
    throw new MarketError('ERR_MALFORMED', `this makes no evidence file: ${firstIssue(made.error)}`)
  return `${JSON.stringify(made.data, undefined, 1)}\n`
}

const AnyEnvelope = z.object({
  msg: z.looseObject({
    from: Key,
    to: Key,
    timestamp: Milliseconds,
    sig: SignatureHex,
    request: z.looseObject({}),
  }),
})

const opened = (text: string) => decode<Record<string, unknown>>(text, AnyEnvelope)

/** The hash that names an envelope of whatever kind. @throws ERR_MALFORMED */
export const nameOf = (text: string): Hash => opened(text).hash

function showsOthers(text: string, disputed: ReadonlySet<number>): boolean {
  const report = UsageReport.safeParse(opened(text).msg.request.result)
  return report.success && report.data.pulls.some(({ seq }) => !disputed.has(seq))
}
