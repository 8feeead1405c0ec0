import { formatAddress } from '../../../market/address.ts'
import type { Checked, Health } from '../../relays/check.ts'
import type { Repaired } from '../../relays/repair.ts'
import type { CopyCost } from '../../relays/copy.ts'
import { checkLimits } from '../../relays/check.ts'
import { auditLimits } from '../../money/audit.ts'
import { codeOf, isAboutMoney, messageOf } from '../../errors.ts'
import { command, exitCodes, satoshis, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import { bytesText, oneLine } from '../show.ts'

export const checkCommand = command({
  name: 'check',
  usage: '[RELAY] [--prove N]',
  summary: 'whether your relays, or one, still have what they signed for',
  help: [
    `--prove N  of what each lists, so many records must be proven to be there; ${checkLimits.proofs} unless said, 0 for none.`,
    '           Where reads cost, each is billed as a pull of 1024 bytes: mostly far below a satoshi',
    'whole: all is there. incomplete, emptied: some, or all, is missing: relay repair puts it back. lying: what it lists it',
    'cannot prove, or it contradicts itself: relay audit makes evidence of it, relay migrate leaves it. silent: not reached.',
    'QUEUED waits to go there, which is no loss: any pull brings it, or relay outbox --flush.',
    'Exit code 0: all are whole. 1: something is missing. 3: some are silent, the others whole. 7: one lies.',
  ],
  options: { prove: { type: 'string' } },
  positionals: [0, 1],
  async run(session, { prove }, [reference]) {
    const client = await session.client()
    const count = prove === undefined ? undefined : countOf(prove)
    const all = await client.redundancy.check(reference, { signal: session.signal, prove: count })
    // Keys of relays are for programs: a table of them is wider than any terminal.
    const rows = all.map((one) => ({ ...rowOf(one), ...(!session.isJson && { relay: one.relay.url }) }))
    session.list(rows, columns, 'no relays yet: add one with relays add')
    advise(session, all)
    warn(session, all)
    return exitOf(all.map(({ health }) => health))
  },
})

export const repairCommand = command({
  name: 'repair',
  usage: '[RELAY] [--max-cost SATOSHI]',
  summary: 'put back on your relays, or one, what they lost',
  help: [
    '--max-cost SATOSHI  the most that all of them together may reserve for it; what it costs is said before',
    'Records go up again as they are in your outbox. Those that another device sent are for that device to repair.',
  ],
  options: { 'max-cost': { type: 'string' } },
  positionals: [0, 1],
  async run(session, { 'max-cost': cost }, [reference]) {
    const client = await session.client()
    const maxCost = cost === undefined ? undefined : satoshis(cost, 'max-cost')
    const onCost = (what: CopyCost) => session.say(costText(what))
    const all = await client.redundancy.repair(reference, {
      ...{ signal: session.signal, maxCost, onCost },
      onProgress: session.onProgress,
    })
    for (const one of all) showRepaired(session, one)
    if (all.length === 0) session.say('no relays yet: add one with relays add')
    warn(session, all)
    const errors = all.flatMap(({ error }) => (error === undefined ? [] : [error]))
    if (errors.some(isAboutMoney) || all.some(({ unmoved }) => unmoved.some(isUnpaidFor)))
      return exitCodes.payment
    return exitOf(all.map(({ before, after }) => (after ?? before).health))
  },
})

const columns = ['relay', 'health', 'expected', 'missing', 'failed', 'queued'] as const

const rowOf = ({ relay, health, expected, missing, failed, proofs, queued, unknown, error }: Checked) => ({
  ...{ relay: formatAddress(relay), health, expected, missing: missing.length, failed: failed.length },
  ...{ proofs, queued, unknown, lost: missing.slice(0, listed), unproven: failed.slice(0, listed) },
  ...(error && { code: codeOf(error), error: messageOf(error) }),
})
/** Ids shown of one relay. */
const listed = 100

function showRepaired(
  session: Session,
  { relay, before, copied, unmoved, cost, after, error }: Repaired,
): void {
  const { health } = after ?? before
  const left = after === undefined ? before.missing.length : after.missing.length
  session.print(
    {
      ...{ relay: formatAddress(relay), health, before: before.health, missing: before.missing.length },
      ...{
        repaired: copied.length,
        left,
        unmoved: unmoved.slice(0, listed),
        satoshis: cost?.satoshis ?? null,
      },
      ...(error && { code: codeOf(error), error: messageOf(error) }),
    },
    health === 'silent'
      ? `${relay.url} ${health}: nobody knows what it has`
      : `${relay.url} ${health}: ${copied.length} put back, ${left} missing`,
  )
  for (const { id, error: why } of unmoved.slice(0, listed)) session.say(oneLine(`${id} stays away: ${why}`))
}

/** What is missing is for `repair`; what only waits is not, while its relay is there. */
function advise(session: Session, all: readonly Checked[]): void {
  if (all.some(({ missing }) => missing.length > 0)) session.say('relay repair puts back what is missing')
  const waiting = all.filter(({ health, queued }) => health !== 'silent' && queued > 0)
  if (waiting.length > 0) session.say('what is queued goes up with relay outbox --flush, or the next pull')
}

export const costText = ({ relay, records, bytes, satoshis: cost }: CopyCost): string =>
  `${records} records of ${bytesText(bytes)} to ${relay}: ${cost === null ? 'it does not say what they cost' : `at most ${cost} satoshi`}`

const isUnpaidFor = ({ code }: { readonly code: string }): boolean =>
  code === 'ERR_COST' || code === 'ERR_PAYMENT_REQUIRED'

function warn(session: Session, all: readonly { relay: { url: string }; error?: Error }[]): void {
  session.warn(all.flatMap(({ relay, error }) => (error === undefined ? [] : [{ relay: relay.url, error }])))
}

function exitOf(all: readonly Health[]): number {
  if (all.includes('lying')) return exitCodes.forged
  if (all.includes('emptied') || all.includes('incomplete')) return exitCodes.failed
  return all.includes('silent') ? exitCodes.unreachable : exitCodes.ok
}

function countOf(text: string): number {
  if (!/^[0-9]{1,4}$/.test(text) || Number(text) > auditLimits.mostProofs)
    throw usageError(`--prove takes a number from 0 to ${auditLimits.mostProofs}`)
  return Number(text)
}
