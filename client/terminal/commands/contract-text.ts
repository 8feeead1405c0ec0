/** Contracts in words: every number before anything is paid, and who gets what at which time ever after. */
import { deepBlocks } from '../../../contracts/escrow/amounts.ts'
import type { Plan, View } from '../../contracts.ts'
import { oneLine } from '../show.ts'
import { amount } from './wallet-text.ts'

const when = (seconds: number): string => new Date(seconds * 1000).toISOString().replace('.000Z', 'Z')

export function planLines(plan: Plan, relay: string): string {
  const { network, prices, stake, stakeFee, budget, deposit, relayDeposit, fundingFee, closeFee, expiry } =
    plan
  const back =
    expiry === null
      ? 'NEVER by itself: this contract has no expiry, and without the relay all of it is held for ever'
      : `at ${when(expiry)} (by the time of the chain), whatever the relay does`
  return [
    `a contract with ${oneLine(relay)}:`,
    `  leaves your wallet  ${amount(stake, network)}, and about ${stakeFee} for the fee of the network`,
    `  of that to be used  ${budget}`,
    `  prices              ${prices.storageGBDay} for 1 GB and day, ${prices.egressGB} for 1 GB read, ${prices.ingressGB} for 1 GB written`,
    `  your deposit        ${deposit}, yours again at a good end; the relay puts in ${relayDeposit}`,
    `  fees                ${fundingFee} to open, ${closeFee} to close`,
    `  back if unused      ${plan.unused}, at once when it is closed`,
    `  lost at most        ${plan.mostLost} beyond what you used, whatever the relay does: your deposit, ${plan.ahead} signed ahead, fees`,
    `  takes writes        a few at once, all when it is ${deepBlocks} blocks deep`,
    `  service ends        ${when(plan.serviceEnd)}`,
    `  comes back          ${back}`,
  ].join('\n')
}

const orNone = (value: number | null): string => (value === null ? '-' : String(value))

export function viewLines(view: View): string {
  const { contract, relay, server, network, state, txid, depth, budget, paid, settled, audited } = view
  const lines = [
    `contract ${contract}`,
    `  with      ${oneLine(relay ?? server)}`,
    `  is        ${state}: ${view.next}`,
    `  budget    ${amount(budget, network)}`,
    `  signed    ${orNone(paid)} at most, ${orNone(settled)} settled, ${orNone(audited)} audited`,
    `  relay     owed ${orNone(view.owed)}, reserved ${orNone(view.reserved)}, not acknowledged ${orNone(view.unproven)}${view.verdict === null ? '' : ` (${view.verdict})`}`,
  ]
  if (txid !== null) lines.push(`  funding   ${txid}, ${depth} blocks deep`)
  for (const { how, from, client, relay: theirs, burned } of view.endings) {
    const time = from === null ? 'at any time' : `from ${when(from)}`
    const lost = burned > 0 ? `, ${burned} are burned` : ''
    lines.push(`  ${endings[how].padEnd(9)} ${time}: you get ${client}, the relay ${theirs}${lost}`)
  }
  if (view.endings.length > 0) lines.push(`  service   ends ${when(view.serviceEnd)}`)
  if (view.deadline !== null) lines.push(`  deadline  ${when(view.deadline)}`)
  return lines.join('\n')
}

const endings = {
  agreed: 'agreed',
  'relay alone': 'alone',
  'at worst': 'at worst',
  expiry: 'expiry',
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
