/** What an honest user's client does, as client/escrow/ does it: pays by audits, little ahead of them, answers, renews. */
import { aheadLimit, creditLimit, isPaymentDue, leastRollover } from '../../contracts/escrow/amounts.ts'
import { isLive } from '../../contracts/escrow/client-machine.ts'
import { tendTimes } from '../../client/escrow/tend.ts'
import { policy } from './beginnings.ts'
import { attempt, type Pair } from './pair.ts'
import type { Stored, Wish } from './purse.ts'

/** Payments for one write. */
const mostPayments = 2

/** One pass of the agent. */
export function tend(pair: Pair): void {
  const { client, terms, books, asked, now } = pair
  if (!isLive(client)) return
  if (asked !== undefined) answerRequest(pair, asked)
  if (client.state !== 'active' || pair.ending !== undefined) return
  const credit = creditLimit(terms, policy, client.settled)
  if (isPaymentDue(books.owed, client.paid, credit, now - pair.heardAt))
    audit(pair, { reserved: books.reserved })
  if (client.renewal !== null || now < terms.expiry - tendTimes.renewalMargins * terms.closeMargin) return
  const { audited } = pair
  const paid = Math.max(audited, leastRollover(terms, policy, books))
  if (paid <= audited + aheadLimit(terms)) attempt(() => pair.renew(paid))
}

/** Where a write is refused for want of a payment it is paid for, and written again. */
export function write(pair: Pair, wish: Wish): Stored | undefined {
  for (let left = mostPayments; ; left--) {
    const answer = pair.ask(wish)
    if ('stored' in answer) return answer.stored
    const needed = answer.missing?.paidNeeded
    if (left === 0 || needed === undefined) return undefined
    const cost = needed - pair.audited
    if (cost > aheadLimit(pair.terms) || needed > pair.terms.budget) return undefined
    audit(pair, { cost: Math.max(0, cost), isWanted: true })
  }
}

function audit(pair: Pair, { reserved = 0, cost = 0, isWanted = false }): void {
  pair.heardAt = pair.now
  const { audited, prepaid, books, at } = pair
  // What a write needs is asked for whole.
  const unproven = isWanted ? 0 : Math.max(0, books.owed - audited)
  pair.tellClient({ on: 'audited', audited, unproven, reserved, cost, prepaid, isWanted, at })
}

function answerRequest(pair: Pair, asked: number): void {
  pair.asked = undefined
  const { audited, at } = pair
  attempt(() => pair.tellClient({ on: 'request-payment', paid: asked, sig: `s${asked}`, audited, at }))
}
