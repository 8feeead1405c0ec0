/** What pays for a record ends earlier than its receipt says, or goes on: with the contract that pays, or with the next. */
import { ceilSatoshi, worstUnits } from '../../market/price.ts'
import * as keys from './keys.ts'
import { bookEnd, bookExtension } from './ledger.ts'
import { timeOf } from './place.ts'
import type { Reader } from './postings.ts'
import * as purses from './purses.ts'
import { endOf, headOf, type Id, putHead, type RecordBatch } from './records.ts'
import { isBilled, type Purse, type StoredHead } from './rows.ts'

/** What pays for it has ended at `until`; it is kept for the time of grace from then on. */
export function stopPaying(batch: RecordBatch, id: Id, until: number): void {
  const head = headOf(batch, id)
  if (head === undefined || head.state !== 'stored' || !isBilled(head)) return
  const stopped = Math.min(until, head.paidUntil)
  bookEnd(batch, { ...id, head }, { what: 'unpaid', until: stopped })
  batch.del(keys.expiryKey(endOf(head), head.place))
  // Its receipt is the same for ever.
  putHead(batch, id, { ...head, state: 'unpaid', stopped })
}

/**
 * The record, where it can be paid for beyond its `paidUntil`: as long as somebody pays for it now, and not up to its end
 * already. What is in its time of grace is not taken up again.
 */
export function extendable(
  from: Reader,
  id: Id,
  { now, until }: { now: number; until: number },
): StoredHead | undefined {
  const head = headOf(from, id)
  if (head === undefined || head.state === 'deleted' || !isBilled(head)) return undefined
  return head.paidUntil > now && head.paidUntil < Math.min(until, head.expires) ? head : undefined
}

/** Satoshi that its purse has to set aside for it, at most, when it is paid for until `until` or its end. */
export function extensionCost(purse: Purse, head: StoredHead, until: number): number {
  const units = purses.extensionUnits({
    ...head,
    paidUntil: Math.min(until, head.expires),
    until: head.paidUntil,
  })
  return ceilSatoshi(purse.spent + purse.held + units) - purses.committed(purse)
}

/** It is paid for until `until` or its end, and its receipt says so from now on. Its purse has room for what that costs. */
export function extendPaid(
  batch: RecordBatch,
  id: Id,
  { head, until }: { head: StoredHead; until: number },
): void {
  const { place, bytes, maxPulls } = head
  const paidUntil = Math.min(until, head.expires)
  const reserved = String(
    ceilSatoshi(worstUnits({ bytes, at: timeOf(place), paidUntil, maxPulls, prices: head })),
  )
  const extended = { ...head, paidUntil, reserved }
  bookExtension(batch, { ...id, head: extended }, head.paidUntil)
  batch.del(keys.expiryKey(endOf(head), place))
  putHead(batch, id, extended)
}
