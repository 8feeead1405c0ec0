/** Contracts in words: every number before anything is paid, and who gets what at which time ever after. */
import { deepBlocks } from '../../../contracts/escrow/amounts.ts'
import { protocolLimits } from '../../../market/units.ts'
import type { Leaving, Plan, View } from '../../contracts.ts'
import { oneLine } from '../show.ts'
import { amount } from './wallet-text.ts'

const when = (seconds: number): string => new Date(seconds * 1000).toISOString().replace('.000Z', 'Z')

export function planLines(plan: Plan, relay: string): string {
  const { network, prices, stake, stakeFee, budget, deposit, relayDeposit, fundingFee, closeFee, expiry } =
    plan
  const back =
    expiry === null
      ? 'NEVER by itself: DANGER, without the relay all of it is held for ever'
      : `at ${when(expiry)} (by the time of the chain) at the latest, whatever the relay does`
  const lost =
    expiry === null
      ? `${plan.mostLost}, all of it: a relay that vanishes takes it with it, and one that refuses can demand a share`
      : `${plan.mostLost} beyond what you used, whatever the relay does: your deposit, ${plan.ahead} signed ahead, fees`
  const over =
    plan.carried === null ? [] : [`  comes over          ${plan.carried} from the contract before it`]
  const wait = plan.isReady
    ? []
    : ['  opens               LATER: the relay has no coins of its own ready, and may refuse for now']
  return [
    `a contract with ${oneLine(relay)}:`,
    `  leaves your wallet  ${amount(stake, network)} as your stake, and about ${stakeFee} as the fee of making it`,
    ...over,
    ...wait,
    `  to be used          ${budget} of ${plan.carried === null ? 'that' : 'both'}`,
    `  prices              ${prices.storageGBDay} for 1 GB and day, ${prices.egressGB} for 1 GB read, ${prices.ingressGB} for 1 GB written`,
    `  your deposit        ${deposit}, yours again when it ends well; the relay puts in ${relayDeposit}`,
    `  fees                ${fundingFee} to open, ${closeFee} to close`,
    `  back if unused      ${plan.unused}, at once when it is closed`,
    `  lost at most        ${lost}`,
    `  takes writes        a few at once, all when it is ${deepBlocks} blocks deep`,
    `  begins              until ${when(plan.openBy)}, or your stake comes back`,
    `  service ends        ${when(plan.serviceEnd)}`,
    `  comes back          ${back}`,
  ].join('\n')
}

const orNone = (value: number | string | null): string => (value === null ? '-' : String(value))

export function viewLines(view: View): string {
  const { contract, relay, server, network, state, txid, depth, budget, paid, settled, audited } = view
  // An end that is signed may be above all that was signed before.
  const signed = paid === null || settled === null ? paid : Math.max(paid, settled)
  const lines = [
    `contract ${contract}`,
    `  with      ${oneLine(relay ?? server)}`,
    `  is        ${state}: ${view.next}`,
    `  budget    ${amount(budget, network)}`,
    `  signed    ${orNone(signed)} at most, ${orNone(settled)} settled, ${orNone(audited)} audited`,
    `  relay     ${heardText(view)}`,
  ]
  if (txid !== null) lines.push(`  funding   ${txid}, ${depth} ${depth === 1 ? 'block' : 'blocks'} deep`)
  const isOver = state === 'closed' || state === 'refunded'
  for (const { how, from, client, relay: theirs, burned } of view.endings) {
    const time = from === null ? 'at any time' : `from ${when(from)}`
    const lost = burned > 0 ? `, ${burned} are burned` : ''
    lines.push(
      isOver
        ? `  ended     ${endings[how]}: you got ${client}, the relay ${theirs}${lost}`
        : `  ends      ${endings[how]}, ${time}: you get ${client}, the relay ${theirs}${lost}`,
    )
  }
  if (isOver && view.endings.length === 0 && view.renewal !== null)
    lines.push(`  ended     by going over into the contract ${view.renewal}`)
  if (txid === null && view.inside > 0)
    lines.push(`  set aside ${view.inside} satoshi of yours, as its stake`)
  if (view.endings.length > 0 && !isOver) lines.push(`  service   ends ${when(view.serviceEnd)}`)
  if (view.maxSpend !== null && !isOver)
    lines.push(
      `  allowed   ${view.maxSpend} to be signed over (--max-spend${view.renews === null ? '' : ', less what went to the relay before it came over'})`,
    )
  if (view.deadline !== null) lines.push(`  deadline  ${when(view.deadline)}: ${deadlineText(view)}`)
  return lines.join('\n')
}

const heardText = ({ owed, reserved, unproven, verdict }: View): string =>
  owed === null
    ? 'nothing was heard of what is owed yet'
    : `owed ${owed}, reserved ${orNone(reserved)}, ${verdict === null ? 'not audited yet' : `not acknowledged ${orNone(unproven)} (${verdict})`}`

/** What happens then, if nothing was done before. */
function deadlineText({ state, deadline, serviceEnd, expiry, renewal }: View): string {
  if (deadline === serviceEnd) return 'service ends; renew it (relay agent does) or close it before'
  if (deadline === expiry)
    return 'what was not settled comes back to you (relay agent or contract refund sees to it)'
  return renewal === null || state !== 'active'
    ? 'without a funding the stake comes back'
    : 'without it, the renewal is taken back'
}

const endings = {
  agreed: 'agreed',
  'relay alone': 'by the relay alone',
  'at worst': 'at worst',
  expiry: 'by time',
} as const

export const rowOf = (view: View) => ({
  ...view,
  'paid/settled': view.paid === null ? null : `${view.paid}/${view.settled}`,
  ends: when(view.serviceEnd),
})
export const listColumns = [
  'contract',
  'state',
  'budget',
  'paid/settled',
  'audited',
  'ends',
  'relay',
] as const

/** What ends with a contract, in a question or a remark; undefined where nothing does. */
export function leavingText({ records, satoshis }: Leaving): string | undefined {
  if (records === 0) return undefined
  const many = records === 1 ? 'one live record' : `${records} live records`
  const grace = protocolLimits.graceMs / 86_400_000
  return `${many} of yours worth up to ${satoshis} satoshi stop being paid for, and go ${grace} days later; --keep ${satoshis} keeps them`
}

/** Beside a balance: what is in contracts and in no wallet. */
export function insideText(views: readonly View[]): string | undefined {
  const inside = views.reduce((sum, view) => sum + view.inside, 0)
  if (inside === 0) return undefined
  const opening = views.filter(({ txid }) => txid === null).reduce((sum, view) => sum + view.inside, 0)
  const waits = opening === 0 ? '' : `, ${opening} of that as stakes of what is not open yet`
  return `  besides, ${inside} of yours in contracts${waits} (relay contract list)`
}
