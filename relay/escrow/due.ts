/** What the owner of a contract is told unasked, and when; nothing ends by it. */
import { earnedBy, highest } from '../../contracts/escrow/server-payments.ts'
import { type CreditPolicy, creditLimit } from '../../contracts/escrow/amounts.ts'
import type { LiveServer, Server } from '../../contracts/escrow/server-state.ts'
import { serviceEnd } from '../../contracts/escrow/terms.ts'
import type { Hash } from '../../market/units.ts'
import type { Notice } from './notices.ts'

/** A payment is asked for no more often, whatever the terms say; seconds. */
const leastPeriod = 3600
/** How long before service ends its owner is told, seconds. */
const endings = [7 * 86_400, 86_400] as const

/** Each has a name by which it is said once. @param now unix seconds */
export function noticesOf(
  id: Hash,
  state: Server,
  { owed, now, policy }: { readonly owed: number; readonly now: number; readonly policy: CreditPolicy },
): Notice[] {
  const part = id.slice(0, 32)
  if (state.state === 'closed') {
    const { txid } = state.spend
    const message = { type: 'ContractClosed', contract: id, txid }
    return [{ name: `closed-${part}-${txid.slice(0, 16)}`, message }]
  }
  if (state.state !== 'active') return []
  const { terms } = state
  const notices: Notice[] = []
  if (isDue(state, owed, policy)) {
    const number = Math.floor(now / Math.max(leastPeriod, terms.period))
    notices.push({
      name: `due-${part}-${number}`,
      message: { type: 'ContractPaymentDue', contract: id, owed },
    })
  }
  const end = serviceEnd(terms)
  const [last] = endings.filter((before) => now >= end - before && end - before > terms.created).slice(-1)
  if (last !== undefined) {
    const message = { type: 'ContractEnding', contract: id, serviceEnd: end * 1000 }
    notices.push({ name: `ending-${part}-${last}`, message })
  }
  return notices
}

/** Half of the credit is used. */
function isDue(live: LiveServer, owed: number, policy: CreditPolicy): boolean {
  const credit = creditLimit(live.terms, policy, earnedBy(live))
  const paid = highest(live)
  return owed > paid && 2 * (owed - paid) >= credit
}
