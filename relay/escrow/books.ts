/** The purse of a contract: what is owed out of it, and what was paid. */
import { type Books, booksAfter } from '../../contracts/escrow/amounts.ts'
import type { Server } from '../../contracts/escrow/server-state.ts'
import { serviceEnd, type Terms } from '../../contracts/escrow/terms.ts'
import type { Hash, Key } from '../../market/units.ts'
import { purseIn } from '../ledger/statements.ts'
import type { Batch } from '../store/batch.ts'
import { findContract, type Kept } from '../store/contracts.ts'
import { bookReceived, findPurse } from '../store/ledger.ts'
import { timeOf } from '../store/place.ts'
import type { Reader } from '../store/postings.ts'
import { committed, floorOwed } from '../store/purses.ts'
import type { Store } from '../store/store.ts'

export interface Owed {
  readonly owed: number
  readonly reserved: number
}

/** The purse of the contract, with all that it may ever pay. */
export function bookBudget(batch: Batch, owner: Key, { id, terms }: { id: Hash; terms: Terms }): void {
  if (findPurse(batch, owner, id) !== undefined) return
  const facts = { note: `contract ${id}`, serviceEnd: serviceEnd(terms) * 1000 }
  bookReceived(batch, { owner, purse: id, satoshi: terms.budget, ...facts })
}

/**
 * At this moment, exactly: of the contract's purse, and of the one before what its rollover has not paid. Nothing where there is
 * no purse yet.
 */
export async function owedOf(
  store: Store,
  now: number,
  { owner, id }: { owner: Key; id: Hash },
): Promise<Owed> {
  const purse = findPurse(store, owner, id)
  if (purse === undefined) return { owed: 0, reserved: 0 }
  const snapshot = store.snapshot()
  try {
    const at = Math.max(now, timeOf(store.head()))
    const own = await purseIn(snapshot, { owner, purse: id, at })
    const owed = Number(own.owed)
    const reserved = purse.records === 0 ? 0 : Number(own.reserved) // without records it is what rounding leaves
    const renews = findContract(store, id)?.facts.renews
    if (renews == null) return { owed, reserved }
    const left = booksAfter(await owedOf(store, now, { owner, id: renews.id }), renews.paid)
    return { owed: owed + left.owed, reserved: reserved + left.reserved }
  } finally {
    await snapshot.close()
  }
}

/** The same for a batch: records that have ended and are not booked yet count as live ones. */
export function booksOf(from: Reader, { id, kept }: { id: Hash; kept: Kept }, now: number): Required<Books> {
  const { owner, facts } = kept
  const purse = findPurse(from, owner, id)
  if (purse === undefined) return { owed: 0, reserved: 0, moved: 0 }
  const all = committed(purse)
  const owed = Math.min(all, floorOwed(purse, now))
  const before = facts.renews === null ? undefined : findContract(from, facts.renews.id)
  if (facts.renews === null || before === undefined) return { owed, reserved: all - owed, moved: 0 }
  const left = booksAfter(booksOf(from, { id: facts.renews.id, kept: before }, now), facts.renews.paid)
  const moved = left.owed + left.reserved
  return { owed: owed + left.owed, reserved: all - owed + left.reserved, moved }
}

/** What the end of a contract has paid. */
export function paidBy(state: Server): number {
  if (state.state !== 'closed') return 0
  const { end } = state.spend
  if (end.kind === 'settled' || end.kind === 'progress') return end.paid
  return end.kind === 'rollover' ? (state.was.renewal?.paid ?? 0) : 0
}
