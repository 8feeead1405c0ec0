/** Checking an evidence file offline: what its signed texts prove, whatever its sentences say (docs/protocol.md §4.10). */
import { MarketError } from '../../market/errors.ts'
import { firstIssue } from '../../market/envelope.ts'
import { checkChain, checkFailedProof, checkPrice } from './check-texts.ts'
import { type Checked, checkPulls, unproven } from './check-pulls.ts'
import { type Claim, Evidence, evidenceLimits } from './evidence.ts'
import { type Kind, printable, unprovable } from './findings.ts'
import { OpenedTexts, type ShownPull } from './opened.ts'

export interface CheckedClaim {
  readonly kind: Kind
  readonly outcome: 'proven' | 'not proven'
  /** What the signed texts show, or why they do not: made here, not taken from the file. */
  readonly why: string
  /** With what the relay could rebut it. */
  readonly unless?: string
  /** What the file says, and whether it says that it is proven. */
  readonly sentence: string
  readonly isClaimed: boolean
}

export interface CheckedEvidence extends Pick<Evidence, 'relay' | 'owner' | 'account' | 'made' | 'warning'> {
  readonly findings: readonly CheckedClaim[]
  /** Texts that are not what they are said to be, and were left aside: their names and why. */
  readonly faults: ReadonlyMap<string, string>
  /** There is something, and everything that the file says is provable is proven. */
  readonly isProven: boolean
}

/** @throws ERR_MALFORMED, ERR_TOO_LARGE when `text` is no evidence file */
export function verifyEvidence(text: string): CheckedEvidence {
  const file = parse(text)
  const opened = new OpenedTexts(file)
  const findings = file.findings.map((claim): CheckedClaim => {
    const { kind, sentence, isProvable } = claim
    const found = check(claim, opened, file)
    const { why, unless } = found
    const outcome = found.isProven ? 'proven' : 'not proven'
    return {
      kind,
      outcome,
      why: printable(why),
      sentence: printable(sentence),
      isClaimed: isProvable,
      ...(unless === undefined ? {} : { unless }),
    }
  })
  const claimed = findings.filter(({ isClaimed }) => isClaimed)
  const { relay, owner, account, made, warning } = file
  const isProven = claimed.length > 0 && claimed.every(({ outcome }) => outcome === 'proven')
  return { relay, owner, account, made, warning, findings, faults: opened.faults, isProven }
}

function parse(text: string): Evidence {
  if (text.length > evidenceLimits.fileCharacters)
    throw new MarketError('ERR_TOO_LARGE', 'this file is larger than any evidence')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'this is no evidence file: not JSON', { cause })
  }
  const parsed = Evidence.safeParse(value)
  if (!parsed.success)
    throw new MarketError('ERR_MALFORMED', `this is no evidence file: ${firstIssue(parsed.error)}`)
  if (Object.keys(parsed.data.texts).length > evidenceLimits.texts)
    throw new MarketError('ERR_TOO_LARGE', 'this file has too many texts')
  return parsed.data
}

function check(claim: Claim, opened: OpenedTexts, { relay, owner, account }: Evidence): Checked {
  if (unprovable.includes(claim.kind)) return unproven('only the owner’s own books can show this')
  if (claim.kind === 'broken-chain') return checkChain(claim, opened)
  if (claim.kind === 'failed-proof') return checkFailedProof(claim, opened, { relay, owner })
  if (claim.kind === 'wrong-price') return checkPrice(claim, opened, account)
  const shown = [...new Set(claim.seqs)].map(opened.pull)
  const last = shown.at(-1)
  if (last === undefined || shown.includes(undefined))
    return unproven('the file has no page, signed by the relay, with these pulls')
  return checkPulls(claim.kind, { last, shown: shown as ShownPull[], opened, claim, relay, account }) // none is undefined
}
