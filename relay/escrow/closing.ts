/** How the purse of a contract is closed, and what becomes of the live records in it. */
import { booksAfter, type CreditPolicy } from '../../contracts/escrow/amounts.ts'
import { contractIdOf, type Terms } from '../../contracts/escrow/terms.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import {
  endContract,
  escrowsOf,
  findContract,
  freeStake,
  type Kept,
  putContract,
  putEscrows,
} from '../store/contracts.ts'
import * as keys from '../store/keys.ts'
import { bookReceived, bookReturned, bookReversed, findPurse } from '../store/ledger.ts'
import { stopPaying } from '../store/paid-until.ts'
import type { Reader } from '../store/postings.ts'
import { available, committed } from '../store/purses.ts'
import { decodeHead, isBilled, reversedNote } from '../store/rows.ts'
import type { Store } from '../store/store.ts'
import { booksOf, paidBy } from './books.ts'
import { extendRecords, nextOf, proofRoom } from './extending.ts'

/** Records whose end is booked in one commit, and heads that are looked through at a time. */
const [endsAtOnce, headsAtOnce] = [64, 512]

interface Closing {
  readonly now: number
  /** What the next contract lends. */
  readonly policy: CreditPolicy
}

/**
 * Closes the purse of a contract that is over for good: what was not paid goes back. What its live records may still cost is
 * paid as far as the end has paid for it, oldest first; the others are paid for no longer. Of a contract that was renewed
 * the next one pays for them, to its own end. May be repeated.
 */
export async function closeBooks(store: Store, id: Hash, { now, policy }: Closing): Promise<void> {
  const kept = findContract(store, id)
  if (kept === undefined || kept.facts.isBooked) return
  const { owner, facts, state } = kept
  // What is moved into the purse of the one before must be known.
  if (facts.renews !== null && state.state === 'closed')
    await closeBooks(store, facts.renews.id, { now, policy })
  const paid = paidBy(state)
  const until = facts.closedAt ?? now
  const isRenewed = state.state === 'closed' && state.spend.end.kind === 'rollover'
  const next = nextOf(state)
  if (next !== undefined) await extendRecords(store, { id, kept, terms: next, policy })
  // One that failed never took over the records of those before it.
  else if (state.state === 'failed') await endUnpaid(store, { id, owner, paid, until })
  else if (!isRenewed) await endBeyond(store, { id, owner, paid, until })
  await store.commit((batch) => {
    const kept = findContract(batch, id)
    if (kept === undefined || kept.facts.isBooked) return
    const room = next === undefined ? 0 : proofRoom(next)
    const older = returnUnused(batch, kept, room)
    const rest = next === undefined ? 0 : moveRest(batch, { id, kept, next, paid, room, stays: older.stays })
    const left = paid - kept.facts.moved + older.returned + rest
    if (!isRenewed || next !== undefined) keep(batch, { owner, id, left })
    const { renews } = kept.facts
    if (escrowsOf(batch, owner).current === id)
      putEscrows(batch, owner, { current: state.state === 'failed' ? renews?.id : undefined })
    for (const stake of stakesOf(kept)) freeStake(batch, stake)
    const after = findContract(batch, id) ?? kept
    putContract(batch, id, { ...after, facts: { ...after.facts, isBooked: true } })
    endContract(batch, id)
  })
}

/** So much stays in the purse: the rest goes back to where it came from, and what is missing has come from there. */
function keep(batch: Batch, { owner, id, left }: { owner: Key; id: Hash; left: number }): void {
  const purse = findPurse(batch, owner, id)
  if (purse === undefined) return
  const back = purse.received - purse.returned - left
  const booking = { owner, purse: id, satoshi: Math.abs(back), note: `contract ${id}` }
  if (back === 0) return
  if (back < 0) bookReceived(batch, booking)
  else if (available(purse) < back) bookReversed(batch, { ...booking, note: `${reversedNote}contract ${id}` })
  else bookReturned(batch, booking)
}

interface Rest {
  readonly id: Hash
  readonly kept: Kept
  readonly next: Terms
  readonly paid: number
  /** For proofs: of this contract, and what stays in the purses before it. */
  readonly room: number
  readonly stays: number
}

/**
 * What live records may come to beyond what the rollover pays, and room for proofs, leaves the purse of the next contract, and
 * stays with them. Returns how much that is.
 */
function moveRest(batch: Batch, { id, kept, next: terms, paid, room, stays }: Rest): number {
  const nextId = contractIdOf(terms)
  const next = findContract(batch, nextId)
  if (next === undefined) return 0
  const { owed, reserved } = booksOf(batch, { id, kept }, batch.now)
  const hasRecords = (findPurse(batch, kept.owner, id)?.records ?? 0) > 0
  const moved = Math.max(0, owed + reserved + (hasRecords ? room : 0) - paid) + stays
  if (moved === 0) return 0
  const { owner, facts } = next
  bookReversed(batch, { owner, purse: nextId, satoshi: moved, note: `${reversedNote}contract ${id}` })
  putContract(batch, nextId, { ...next, facts: { ...facts, moved } })
  return moved
}

/**
 * What was moved into the purses before and is not needed there any more goes back, too.
 * @param room stays where there are live records
 */
function returnUnused(
  batch: Batch,
  { owner, facts }: Kept,
  room: number,
): { returned: number; stays: number } {
  let [left, stays] = [facts.moved, 0]
  let { renews } = facts
  for (; renews !== null && left > stays; renews = findContract(batch, renews.id)?.facts.renews ?? null) {
    const purse = findPurse(batch, owner, renews.id)
    if (purse === undefined) continue
    const free = Math.max(0, Math.min(left - stays, available(purse)))
    const satoshi = purse.records > 0 ? Math.max(0, free - room) : free
    if (satoshi > 0) bookReturned(batch, { owner, purse: renews.id, satoshi, note: `contract ${renews.id}` })
    left -= satoshi
    stays += free - satoshi
  }
  return { returned: facts.moved - left, stays }
}

const stakesOf = ({ facts: { funding, ours } }: Kept) => [
  ...funding.stakes,
  ...(ours === null ? [] : [ours.stake]),
]

interface Ended {
  readonly id: Hash
  readonly owner: Key
  readonly paid: number
  readonly until: number
}

/** Of the contract that is over and of those before it: what its end has not paid for is paid for no longer. */
async function endBeyond(store: Store, { id, owner, paid, until }: Ended): Promise<void> {
  const renews = findContract(store, id)?.facts.renews
  const before = renews == null ? undefined : findContract(store, renews.id)
  if (renews == null || before === undefined) return endUnpaid(store, { id, owner, paid, until })
  const older = booksAfter(booksOf(store, { id: renews.id, kept: before }, until), renews.paid)
  await endUnpaid(store, { id, owner, paid: paid - older.owed - older.reserved, until })
  const own = findPurse(store, owner, id)
  const rest = Math.max(0, paid - (own === undefined ? 0 : committed(own)))
  await endBeyond(store, { id: renews.id, owner, paid: renews.paid + rest, until })
}

/** Newest first, until the rest is paid for. */
async function endUnpaid(store: Store, { id, owner, paid, until }: Ended): Promise<void> {
  const isPaid = (from: Reader) => {
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
