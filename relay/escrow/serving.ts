/** Whether what a contract has come to, and what is asked for now, is paid for by the end that it has, or may have. */
import { fundedOf } from '../../contracts/escrow/server-state.ts'
import type { CreditPolicy } from '../../contracts/escrow/amounts.ts'
import { mostServed } from '../../contracts/escrow/server-served.ts'
import { contractIdOf } from '../../contracts/escrow/terms.ts'
import { ceilSatoshi, egressUnits } from '../../market/price.ts'
import type { Key } from '../../market/units.ts'
import { findContract } from '../store/contracts.ts'
import type { Reader } from '../store/postings.ts'
import type { StoredHead } from '../store/rows.ts'
import { booksOf } from './books.ts'

export interface Pull {
  readonly owner: Key
  readonly head: StoredHead
  /** Milliseconds. */
  readonly now: number
}

/** Of a read, in its batch; true for what another purse bears. A contract that was renewed is as good as the next. */
export function isCovered(from: Reader, { owner, head, now }: Pull, policy: CreditPolicy): boolean {
  const cost = ceilSatoshi(egressUnits(head.bytes, head))
  let id = head.purse // of another kind there is no contract of that name
  for (let kept = findContract(from, id); kept !== undefined; kept = findContract(from, id)) {
    const most = kept.owner === owner ? mostServed(kept.state, policy) : 0
    if (most !== Number.POSITIVE_INFINITY && booksOf(from, { id, kept }, now).owed + cost > most) return false
    const renewal = fundedOf(kept.state)?.renewal
    if (renewal == null || renewal.isGivenUp) return true
    id = contractIdOf(renewal.terms)
  }
  return true
}
