/** How far a server may go on serving what it has accepted, and when it has served all there is. */
import { type Books, type CreditPolicy, creditLimit } from './amounts.ts'
import { isDeep, type Spend } from './machine.ts'
import { earnedBy } from './server-payments.ts'
import { fundedOf, type Server } from './server-state.ts'

/**
 * What may come to be owed at most: all that was accepted, until we sign an end, which the client may publish until something
 * else is deep: then little more than that pays; and no more at all once an end is chosen. Who serves more gives it away.
 */
export function mostServed(state: Server, policy: CreditPolicy): number {
  const live = fundedOf(state)
  if (live === undefined) return 0
  const { lowestSigned, terms } = live
  const isFinal = state.state === 'closed' && isDeep(state.spend.depth)
  const signed =
    lowestSigned === null || isFinal
      ? Number.POSITIVE_INFINITY
      : lowestSigned + creditLimit(terms, policy, earnedBy(live))
  if (state.state === 'closed') return Math.min(signed, mostPaid(state.spend.end))
  if (live.state !== 'closing' || live.publish === null) return signed
  return live.publish === 'wait' ? 0 : Math.min(signed, live.publish.paid)
}

/** Of a budget: with so little left it is used up, for hardly anything fits into the rest. */
const leftShare = 0.01

/** Its budget is used, and every record was served as it was promised: the client is asked for the end. */
export const isUsedUp = (state: Server, { owed, reserved }: Pick<Books, 'owed' | 'reserved'>): boolean =>
  state.state === 'active' &&
  state.renewal === null &&
  reserved === 0 &&
  owed >= state.terms.budget - Math.floor(state.terms.budget * leftShare)

/** After a rollover, the next contract says. */
const mostPaid = (end: Spend['end']): number =>
  end.kind === 'rollover' ? Number.POSITIVE_INFINITY : 'paid' in end ? end.paid : 0
