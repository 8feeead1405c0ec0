/** Whether the contract of an owner pays for a record: decided inside the batch of its write. */
import { type CreditPolicy, missingFor, type Quote } from '../../contracts/escrow/amounts.ts'
import { standingOf } from '../../contracts/escrow/server-machine.ts'
import { ceilSatoshi, worstUnits } from '../../market/price.ts'
import type { Prices } from '../../market/units.ts'
import { escrowsOf, findContract } from '../store/contracts.ts'
import { findPurse } from '../store/ledger.ts'
import { committed } from '../store/purses.ts'
import { booksOf } from './books.ts'
import type { Reader } from '../store/postings.ts'
import type { Offer, Terms } from '../store/store.ts'

export interface ContractTerms {
  /** It pays. */
  readonly terms?: Terms
  /** It does not, and this is missing; `satoshis` is what the record costs at most. */
  readonly missing?: Quote & { readonly satoshis: number; readonly prices: Prices }
}

/** Undefined where the owner has no contract that writes may go to. @param now milliseconds */
export function contractTerms(
  from: Reader,
  offer: Pick<Offer, 'owner' | 'bytes' | 'at' | 'expires' | 'maxPulls'>,
  { now, policy }: { readonly now: number; readonly policy: CreditPolicy },
): ContractTerms | undefined {
  const { owner } = offer
  const { current } = escrowsOf(from, owner)
  const kept = current === undefined ? undefined : findContract(from, current)
  if (current === undefined || kept?.facts.isTaken !== true) return undefined
  const standing = standingOf(kept.state, { now: Math.floor(Math.max(now, offer.at) / 1000), medianTime: 0 })
  const purse = standing && findPurse(from, owner, current)
  if (standing === undefined || purse === undefined) return undefined
  const { prices } = standing.terms
  const paidUntil = Math.min(offer.expires, purse.serviceEnd)
  const units = worstUnits({ ...offer, paidUntil, prices })
  const before = committed(purse)
  // With what was begun before: the sum is what counts, and it is rounded once.
  const cost = ceilSatoshi(purse.spent + purse.held + units) - before
  const missing = missingFor(standing, booksOf(from, { id: current, kept }, now), cost, policy)
  if (missing === undefined) return { terms: { purse: current, prices, paidUntil } }
  return { missing: { ...missing, satoshis: ceilSatoshi(units), prices } }
}
