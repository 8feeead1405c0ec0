/** How far a server may go on serving what it has accepted. */
import { type CreditPolicy, creditLimit } from './amounts.ts'
import { isDeep, type Spend } from './machine.ts'
import { earnedBy } from './server-payments.ts'
import type { Server } from './server-state.ts'

/**
 * What may come to be owed at most: all that was accepted, until we sign an end, which the client may publish until something
 * else is deep: then little more than that pays; and no more at all once an end is chosen. Who serves more gives it away.
 */
export function mostServed(state: Server, policy: CreditPolicy): number {
  const live = state.state === 'held' || state.state === 'closed' ? state.was : state
  if (!('joint' in live)) return 0
  const { lowestSigned, terms } = live
  const isFinal = state.state === 'closed' && isDeep(state.spend.depth)
  const signed =
    lowestSigned === null || isFinal
      ? Number.POSITIVE_INFINITY
      : lowestSigned + creditLimit(terms, policy, earnedBy(live))
  if (state.state === 'closed') return Math.min(signed, paidBy(state.spend.end))
  if (live.state !== 'closing' || live.publish === null) return signed
  return live.publish === 'wait' ? 0 : Math.min(signed, live.publish.paid)
}

/** After a rollover, the next contract says. */
const paidBy = (end: Spend['end']): number =>
  end.kind === 'rollover' ? Number.POSITIVE_INFINITY : 'paid' in end ? end.paid : 0
