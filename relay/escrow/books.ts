/** The purse of a contract: what is owed out of it, and how it is closed. */
import type { Books } from '../../contracts/escrow/amounts.ts'
import type { Server } from '../../contracts/escrow/server-state.ts'
import { contractIdOf, serviceEnd, type Terms } from '../../contracts/escrow/terms.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import { purseIn } from '../ledger/statements.ts'
import {
  endContract,
  findContract,
  freeStake,
  type Kept,
  putContract,
  putEscrows,
  escrowsOf,
} from '../store/contracts.ts'
import * as keys from '../store/keys.ts'
import { bookReceived, bookReturned, bookReversed, findPurse } from '../store/ledger.ts'
import { timeOf } from '../store/place.ts'
import type { Reader } from '../store/postings.ts'
import { available, committed, floorOwed } from '../store/purses.ts'
import { stopPaying } from '../store/records.ts'
import { decodeHead, isBilled, reversedNote } from '../store/rows.ts'
import type { Store } from '../store/store.ts'

/** Records whose end is booked in one commit, and heads that are looked through at a time. */
const [endsAtOnce, headsAtOnce] = [64, 512]

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
  if (findPurse(store, owner, id) === undefined) return { owed: 0, reserved: 0 }
  const snapshot = store.snapshot()
  try {
    const at = Math.max(now, timeOf(store.head()))
    const own = await purseIn(snapshot, { owner, purse: id, at })
    const { owed, reserved } = { owed: Number(own.owed), reserved: Number(own.reserved) }
    const renews = findContract(store, id)?.facts.renews
    if (renews == null) return { owed, reserved }
    const left = beyond(await owedOf(store, now, { owner, id: renews.id }), renews.paid)
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
  const left = beyond(booksOf(from, { id: facts.renews.id, kept: before }, now), facts.renews.paid)
  const moved = left.owed + left.reserved
  return { owed: owed + left.owed, reserved: all - owed + left.reserved, moved }
}

const beyond = ({ owed, reserved }: Owed, paid: number): Owed => ({
  owed: Math.max(0, owed - paid),
  reserved: Math.max(0, reserved - Math.max(0, paid - owed)),
})

/** What the end of a contract has paid. */
export function paidBy(state: Server): number {
  if (state.state !== 'closed') return 0
  const { end } = state.spend
  if (end.kind === 'settled' || end.kind === 'progress') return end.paid
  return end.kind === 'rollover' ? (state.was.renewal?.paid ?? 0) : 0
}

/**
 * Closes the purse of a contract that is over for good: what was not paid goes back. What its live records may still cost is
 * paid as far as the end has paid for it, oldest first; the others are paid for no longer. Of a contract that was renewed
 * the next one pays for them. May be repeated.
 */
export async function closeBooks(store: Store, id: Hash, now: number): Promise<void> {
  const kept = findContract(store, id)
  if (kept === undefined || kept.facts.isBooked) return
  const { owner, facts, state } = kept
  // What is moved into the purse of the one before must be known.
  if (facts.renews !== null && state.state === 'closed') await closeBooks(store, facts.renews.id, now)
  const paid = paidBy(state)
  const until = facts.closedAt ?? now
  const isRenewed = state.state === 'closed' && state.spend.end.kind === 'rollover'
  if (!isRenewed) {
    const moved = findContract(store, id)?.facts.moved ?? 0
    await endUnpaid(store, { id, owner, paid: paid - moved, until })
    const own = findPurse(store, owner, id)
    const rest = Math.max(0, paid - (own === undefined ? 0 : committed(own)))
    if (facts.renews !== null && state.state === 'closed')
      await endUnpaid(store, { id: facts.renews.id, owner, paid: facts.renews.paid + rest, until })
  }
  await store.commit((batch) => {
    const kept = findContract(batch, id)
    if (kept === undefined || kept.facts.isBooked) return
    if (isRenewed) moveRest(batch, id, kept)
    else giveBack(batch, { owner, id, left: paid - kept.facts.moved + unused(batch, kept) })
    const { renews } = kept.facts
    if (escrowsOf(batch, owner).current === id)
      putEscrows(batch, owner, { current: state.state === 'failed' ? renews?.id : undefined })
    for (const stake of stakesOf(kept)) freeStake(batch, stake)
    const after = findContract(batch, id) ?? kept
    putContract(batch, id, { ...after, facts: { ...after.facts, isBooked: true } })
    endContract(batch, id)
  })
}

/** So much stays in the purse: the rest goes back to where it came from. */
function giveBack(batch: Batch, { owner, id, left }: { owner: Key; id: Hash; left: number }): void {
  const purse = findPurse(batch, owner, id)
  const back = purse === undefined ? 0 : purse.received - purse.returned - left
  if (purse === undefined || back <= 0) return
  const booking = { owner, purse: id, satoshi: back }
  if (available(purse) >= back) bookReturned(batch, { ...booking, note: `contract ${id}` })
  else bookReversed(batch, { ...booking, note: `${reversedNote}contract ${id}` })
}

/** What live records may come to stays in their purse, and leaves that of the next contract for it. */
function moveRest(batch: Batch, id: Hash, { owner, state }: Kept): void {
  const purse = findPurse(batch, owner, id)
  if (purse === undefined || state.state !== 'closed' || state.was.renewal === null) return
  const { terms, paid } = state.was.renewal
  const moved = Math.max(0, committed(purse) - paid)
  giveBack(batch, { owner, id, left: paid + moved })
  const nextId = contractIdOf(terms)
  const next = findContract(batch, nextId)
  if (next === undefined || moved === 0) return
  bookReversed(batch, { owner, purse: nextId, satoshi: moved, note: `${reversedNote}contract ${id}` })
  putContract(batch, nextId, { ...next, facts: { ...next.facts, moved } })
}

/** What was moved into the purse before and not needed there goes back, too. */
function unused(batch: Batch, { owner, facts: { renews, moved } }: Kept): number {
  const purse = renews === null ? undefined : findPurse(batch, owner, renews.id)
  if (renews === null || purse === undefined) return 0
  const rest = Math.max(0, Math.min(moved, available(purse)))
  if (rest > 0) bookReturned(batch, { owner, purse: renews.id, satoshi: rest, note: `contract ${renews.id}` })
  return rest
}

const stakesOf = ({ facts: { funding, ours } }: Kept) => [
  ...funding.stakes,
  ...(ours === null ? [] : [ours.stake]),
]

/** Newest first, until the rest is paid for. */
async function endUnpaid(
  store: Store,
  { id, owner, paid, until }: { id: Hash; owner: Key; paid: number; until: number },
): Promise<void> {
  const isPaid = (from: Parameters<typeof findPurse>[0]) => {
    const purse = findPurse(from, owner, id)
    return purse === undefined || purse.records === 0 || committed(purse) <= paid
  }
  if (isPaid(store)) return
  const records = await recordsOf(store, owner, id)
  for (let at = 0; at < records.length && !isPaid(store); at += endsAtOnce) {
    const some = records.slice(at, at + endsAtOnce)
    await store.commit((batch) => {
      for (const { recordId } of some) if (!isPaid(batch)) stopPaying(batch, { owner, recordId }, until)
    })
  }
}

/** Newest first. */
async function recordsOf(store: Store, owner: Key, id: Hash): Promise<{ recordId: string; place: number }[]> {
  const records: { recordId: string; place: number }[] = []
  const heads = store.scan(keys.rowsOf('h', owner))
  try {
    for (;;) {
      const rows = await heads.next(headsAtOnce)
      if (rows.length === 0) break
      for (const [key, value] of rows) {
        const head = decodeHead(value)
        if (head.state !== 'deleted' && isBilled(head) && head.purse === id)
          records.push({ recordId: keys.nameOfKey(key), place: head.place })
      }
    }
  } finally {
    await heads.close()
  }
  return records.sort((a, b) => b.place - a.place)
}
