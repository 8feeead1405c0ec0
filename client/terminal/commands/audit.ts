import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Finding } from '../../../contracts/audit/findings.ts'
import { type CheckedEvidence, verifyEvidence } from '../../../contracts/audit/verify.ts'
import { formatAddress, type RelayAddress } from '../../../market/address.ts'
import { egressUnits, formatUnits, isFree, proofBytes } from '../../../market/price.ts'
import { Hash } from '../../../market/units.ts'
import type { AuditedAt, PurseAudit } from '../../audit.ts'
import type { Client } from '../../client.ts'
import { codeOf, messageOf } from '../../errors.ts'
import { named, writeDurably } from '../../home/durable.ts'
import { auditLimits } from '../../money/audit.ts'
import { command, exitCodes, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import { oneLine } from '../show.ts'

export const auditCommand = command({
  name: 'audit',
  usage: '[RELAY] [--prove N] [--evidence FILE] [--only-disputed] [--shared] | verify FILE',
  summary: 'hold your relays, or one, to what receivers signed; check the evidence of others',
  help: [
    'verify FILE      whether an evidence file proves what it says: needs no relay and no home',
    `--prove N        have each relay prove that it holds N of your live records; ${auditLimits.proofs} unless said, 0 for none.`,
    '                 Where reads cost, each is billed as a pull of 1024 bytes: mostly far below a satoshi',
    '--evidence FILE  where the evidence goes, also if nothing is forged; else into your home, if something is',
    '--only-disputed  evidence that shows no read times but those of disputed pulls',
    '--shared         other devices write with your key too: what this one does not know accuses nobody',
    'Claimed: what a relay says you owe. Supported: what your receipts, signed reads and acks come to. Unproven: reads',
    'nobody acknowledged; they accuse no relay. Forged: what a relay cannot have billed honestly; do not pay for it.',
    'Verdict: explained, if all that is claimed is supported; unproven, if some reads are not acknowledged; or forged.',
    'To pay: of a contract, what to settle. Credit is paid beforehand, and nothing is to be paid for it.',
    'Exit code 3: some relay was not reached, and the others are all right. Exit code 7: something is forged; of verify: not everything is proven that the file says is.',
  ],
  options: {
    prove: { type: 'string' },
    evidence: { type: 'string' },
    'only-disputed': { type: 'boolean' },
    shared: { type: 'boolean' },
  },
  positionals: [0, 2],
  async run(session, values, [first, file]) {
    if (first === 'verify') {
      if (file === undefined) throw usageError('audit verify takes a FILE')
      return verifyFile(session, file)
    }
    if (file !== undefined) throw usageError('audit takes one RELAY')
    const { evidence, shared: isShared, 'only-disputed': isRestricted } = values
    const prove = values.prove === undefined ? undefined : countOf(values.prove)
    const client = await session.client()
    const { signal } = session
    const options = { signal, prove, isShared, isRestricted, evidence: evidence !== undefined }
    const all = await client.audit(first, options)
    if (all.length === 0) session.say('no relays yet: add one with relays add')
    const errors = all.flatMap((one) => ('error' in one ? [{ relay: one.relay.url, error: one.error }] : []))
    if (errors.length === all.length) session.hold(errors[0])
    const writer = new EvidenceWriter(session, evidence)
    for (const one of all) await showRelay({ session, client, writer }, one)
    session.warn(errors)
    if (all.some(isForged)) return exitCodes.forged
    if (errors.length > 0 && errors.length === all.length) throw errors[0]!.error
    return errors.length > 0 ? exitCodes.unreachable : exitCodes.ok
  },
})

function countOf(text: string): number {
  if (!/^[0-9]{1,4}$/.test(text) || Number(text) > auditLimits.mostProofs)
    throw usageError(`--prove takes a number from 0 to ${auditLimits.mostProofs}`)
  return Number(text)
}

const isForged = (one: AuditedAt): boolean =>
  'purses' in one && (one.failedProofs.length > 0 || one.purses.some(({ verdict }) => verdict === 'forged'))

async function showRelay(
  { session, client, writer }: { session: Session; client: Client; writer: EvidenceWriter },
  one: AuditedAt,
): Promise<void> {
  const relay = formatAddress(one.relay)
  if ('error' in one) {
    if (session.isJson)
      session.print({ event: 'failed', relay, code: codeOf(one.error), error: messageOf(one.error) }, '')
    return
  }
  const { purses, proofs, failedProofs, unbilled } = one
  const rows = purses.map((purse) => ({ event: 'purse', relay, ...rowOf(purse) }))
  if (!session.isJson) session.print({}, relay)
  session.list(
    rows.map((row) =>
      session.isJson
        ? row
        : {
            ...row,
            'to pay': isContract(row.purse) ? row.toPay : '-',
            unproven: row.unproven.satoshis,
            forged: row.forged.satoshis,
          },
    ),
    purses.some(({ purse }) => isContract(purse)) ? [...columns, 'to pay'] : columns,
    'no credit was ever given here: there is nothing to audit',
  )
  session.print(
    { event: 'proofs', relay, answered: proofs, failed: failedProofs.length },
    proofsText({ answered: proofs, failed: failedProofs.length }, await proofCost(client, one)),
  )
  for (const purse of purses) await showPurse(session, { relay: one.relay, purse, writer })
  if (unbilled === undefined) return
  for (const finding of unbilled.findings) showFinding(session, { relay, purse: '' }, finding)
  await writer.write(one.relay, '', unbilled.evidence)
}

const columns = ['purse', 'verdict', 'claimed', 'supported', 'unproven', 'forged'] as const

/** Everything else is credit, which is paid before anything is done for it. */
const isContract = (purse: string): boolean => Hash.safeParse(purse).success

function proofsText({ answered, failed }: { answered: number; failed: number }, cost: string): string {
  return `${countText(answered, 'proof')} of storage${cost}: ${failed === 0 ? 'all good' : `${failed} ever failed`}`
}

const countText = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`

/** What these proofs cost at the prices of now: the prices of each record, for which it is asked, may be others. */
async function proofCost(
  client: Client,
  { relay, purses, proofs }: Exclude<AuditedAt, { error: Error }>,
): Promise<string> {
  if (proofs === 0 || purses.length === 0) return ''
  const [quote] = (await client.quote({ bytes: 1 }, { relay: formatAddress(relay) })).relays
  if (quote === undefined || 'error' in quote || isFree(quote.prices)) return ''
  const units = BigInt(proofs) * egressUnits(proofBytes, quote.prices)
  return `, billed as ${countText(proofs, 'pull')} of ${proofBytes} bytes, about ${formatUnits(units)} satoshi`
}

/** What is said of a purse, in this order. */
const shown = [...columns, 'toPay', 'boxed', 'pulls', 'at'] as const

const rowOf = (audit: PurseAudit) =>
  Object.fromEntries(shown.map((name) => [name, audit[name]])) as Pick<PurseAudit, (typeof shown)[number]> // it has them all

async function showPurse(
  session: Session,
  { relay, purse, writer }: { relay: RelayAddress; purse: PurseAudit; writer: EvidenceWriter },
): Promise<void> {
  const { findings, forged, unproven, gaps, boxed, foreign } = purse
  const about = { relay: formatAddress(relay), purse: purse.purse }
  for (const finding of findings) showFinding(session, about, finding)
  if (forged.count > findings.length) session.say(`and ${forged.count - findings.length} more like these`)
  if (unproven.beyond > 0)
    session.say(
      `${unproven.pulls} pulls of the purse ${purse.purse} were never acknowledged, ${unproven.beyond} satoshi more than is tolerated. ` +
        'That accuses nobody: acks get lost. Fewer --max-pulls for who never sends any keeps it small',
    )
  if (unproven.unpriced > 0)
    session.say(
      `${unproven.unpriced} satoshi of the purse ${purse.purse} are more than all your receipts come to, and of some records ` +
        'none ever came: nobody knows their prices. That accuses nobody, and is not to be paid before it is shown',
    )
  if (boxed.satoshis > 0)
    session.say(
      `${boxed.satoshis} satoshi of the purse ${purse.purse} are for messages in boxes, as the relay says: whoever sends such gets no ` +
        'receipts, so nothing proves them. That accuses nobody, if you use message boxes with this key',
    )
  for (const { from, to } of gaps)
    session.say(`the relay keeps no log of the pulls ${from} to ${to} any more: nothing can be said of them`)
  if (foreign > 0) session.say(`${foreign} pulls are of records that this home did not write`)
  if (purse.evidence !== undefined) await writer.write(relay, purse.purse, purse.evidence)
}

function showFinding(session: Session, about: { relay: string; purse: string }, finding: Finding): void {
  const { kind, sentence, satoshis, seqs, isProvable, path } = finding
  session.print(
    { event: 'finding', ...about, kind, sentence, satoshis, seqs, isProvable, path },
    findingText(finding),
  )
}

function findingText({ kind, sentence, satoshis, isProvable }: Finding): string {
  const proof = isProvable ? '' : '; only you can know this'
  return oneLine(`${kind}: ${sentence} (${satoshis} satoshi${proof})`)
}

/** Puts evidence into the file that was named, into one file more for each further purse; else into the home. */
class EvidenceWriter {
  readonly #session: Session
  readonly #named: string | undefined
  #count = 0

  constructor(session: Session, name: string | undefined) {
    this.#session = session
    this.#named = name
  }

  async write({ key }: RelayAddress, purse: string, text: string): Promise<void> {
    this.#count += 1
    const more = this.#count > 1 ? `.${this.#count}` : ''
    const inHome = () =>
      join(this.#session.directory, 'audits', `${key}.${this.#count}.${Date.now()}.evidence.json`)
    const file = this.#named === undefined ? inHome() : `${resolve(this.#named)}${more}`
    await writeDurably(file, text)
    const { warning } = JSON.parse(text) as { warning: string } // of contracts/audit/evidence.ts
    this.#session.print(
      { event: 'evidence', purse, file, warning },
      oneLine(`evidence for others is in ${file}: relay audit verify checks it. Note: ${warning}`),
    )
  }
}

async function verifyFile(session: Session, file: string): Promise<number> {
  const checked = verifyEvidence(await named(file, readFile(file, 'utf8')))
  const { relay, owner, account, made, findings, isProven } = checked
  session.print(
    { event: 'file', relay, owner, account, made, isProven },
    `against the relay ${relay}, by ${owner}, ${account === '' ? 'of no purse' : `of the purse ${account}`}`,
  )
  for (const finding of findings) session.print({ event: 'claim', ...finding }, oneLine(claimText(finding)))
  for (const [name, why] of checked.faults) session.say(`the text ${name} was left aside: ${why}`)
  if (findings.length === 0) session.say('this file accuses the relay of nothing')
  return isProven || findings.length === 0 ? exitCodes.ok : exitCodes.forged
}

function claimText({
  kind,
  outcome,
  why,
  sentence,
  unless,
  isClaimed,
}: CheckedEvidence['findings'][number]): string {
  if (outcome === 'proven') return `proven: ${kind}: ${why}${unless === undefined ? '' : ` (${unless})`}`
  return `not proven${isClaimed ? '' : ', and not said to be'}: ${kind}: ${why}. The file says: ${sentence}`
}
