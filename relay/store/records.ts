/**
 * Writing, deleting and expiring records (docs/protocol.md §4), as operations on a batch. Signatures, freshness and
 * permissions were checked before. Reading and proving: pulls.ts.
 */
import type { DeleteReceipt, Receipt } from '../../contracts/receipt.ts'
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { merkleRoot } from '../../market/merkle.ts'
import { ceilSatoshi, worstUnits } from '../../market/price.ts'
import { isBoxId, type RecordPath, type SealedRecord } from '../../market/record.ts'
import { type Hash, type Key, type Prices, protocolLimits } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { dropBoxed } from './box-rows.ts'
import { encodeBody } from './body.ts'
import type { Database } from './database.ts'
import { count } from './counters.ts'
import * as keys from './keys.ts'
import { bookEnd, bookWrite } from './ledger.ts'
import { timeOf } from './place.ts'
import { deleteReceiptOf, receiptOf } from './receipts.ts'
import {
  Answer,
  decodeHead,
  encodeHead,
  Expiry,
  type Head,
  IndexRow,
  type RecordHead,
  type StoredHead,
} from './rows.ts'

/** A record that became readable. */
export interface Arrival extends RecordPath {
  readonly place: number
  readonly path: string
  readonly tag: string
}
export type RecordBatch = Batch<Arrival>

/** A record that is about to be written, as far as its price depends on it. */
export interface Offer {
  readonly owner: Key
  readonly bytes: number
  readonly at: number
  readonly expires: number
  readonly maxPulls: number
}
/** What a record is kept for; its receipt says so. The purse exists, unless the prices are zero. */
export interface Terms {
  readonly purse: string
  readonly prices: Prices
  readonly paidUntil: number
}
/** Decides on the terms in the record's own batch; what it throws refuses the record. */
export type Agree = (batch: RecordBatch, offer: Offer) => Terms

/** A record made ready for the store outside the batch, where nobody waits for it. */
export interface Prepared {
  readonly record: SealedRecord
  readonly root: Hash
  readonly body: Buffer
}
export const prepare = (record: SealedRecord): Prepared => ({
  record,
  root: toHex(merkleRoot(record.content)),
  body: encodeBody(record),
})

export type Id = Pick<RecordPath, 'owner' | 'recordId'>

export type Written =
  | { readonly outcome: 'stored' | 'duplicate'; readonly receipt: Receipt }
  /** The id means another record, or one that was deleted a short while ago. */
  | { readonly outcome: 'conflict' }
  | { readonly outcome: 'expired' }

/** @throws whatever `agree` throws */
export function writeRecord(batch: RecordBatch, prepared: Prepared, agree: Agree): Written {
  const { record } = prepared
  if (record.expires <= batch.now) return { outcome: 'expired' }
  const id = { owner: record.msg.from, recordId: record.msg.request.recordId }
  const previous = headOf(batch, id)
  if (previous !== undefined && previous.expires > batch.now) {
    const same = previous.state !== 'deleted' && previous.hash === record.hash
    return same ? { outcome: 'duplicate', receipt: receiptOf(id, previous) } : { outcome: 'conflict' }
  }
  if (previous !== undefined) expire(batch, id, previous)
  return { outcome: 'stored', receipt: receiptOf(id, put(batch, prepared, agree)) }
}

export type Deleted =
  | { readonly outcome: 'deleted'; readonly receipt: DeleteReceipt }
  | { readonly outcome: 'unknown' }

/** A signed request to delete. `until` = when it stops being fresh, which its signed bytes alone decide. */
export type SignedDelete = Id & { readonly hash: Hash; readonly until: number }

/**
 * While the tombstone lives, every deletion answers the same. The signed request itself does so as long as it is fresh:
 * it must not delete again what was written under this id after a short-lived tombstone.
 */
export function deleteRecord(batch: RecordBatch, request: SignedDelete): Deleted {
  const { owner, recordId, hash, until } = request
  const id = { owner, recordId }
  const answered = batch.get(keys.answeredKey(until, hash))
  if (answered !== undefined)
    return { outcome: 'deleted', receipt: deleteReceiptOf(id, Answer.delete.decode(answered)) }
  const head = headOf(batch, id)
  // What lies in a box is deleted by its recipient, who acknowledges it.
  if (head === undefined || head.expires <= batch.now || isBoxId(recordId)) return { outcome: 'unknown' }
  if (head.state === 'deleted') {
    // Remembered too: made again once the id means another record, this message must not delete that one.
    batch.put(keys.answeredKey(until, hash), Answer.delete.encode(head))
    return { outcome: 'deleted', receipt: deleteReceiptOf(id, head) }
  }
  const place = batch.nextPlace()
  bookEnd(batch, { owner, recordId, head }, { what: 'deleted', until: timeOf(place), place })
  remove(batch, id, head)
  const tombstone = {
    state: 'deleted' as const,
    place,
    receiver: head.receiver,
    expires: Math.min(head.expires, batch.now + protocolLimits.tombstoneMs),
  }
  putHead(batch, id, tombstone)
  batch.put(keys.answeredKey(until, hash), Answer.delete.encode(tombstone))
  return { outcome: 'deleted', receipt: deleteReceiptOf(id, tombstone) }
}

/**
 * Ends what an expiry row was made for, unless the head is another by now or had not ended at `cutoff`: a record is removed;
 * one that is paid for no longer, but has not expired, is kept for the time of grace (§4.9).
 */
export function expireRecord(
  batch: RecordBatch,
  expiry: { key: Buffer; value: Buffer },
  cutoff: number,
): void {
  const id = Expiry.decode(expiry.value)
  const head = headOf(batch, id)
  const current = head !== undefined && keys.expiryKey(endOf(head), head.place).equals(expiry.key)
  if (head === undefined || !current) batch.del(expiry.key)
  else if (endOf(head) > cutoff) return
  else if (head.state !== 'stored' || head.expires <= cutoff) expire(batch, id, head)
  else {
    bookEnd(batch, { ...id, head }, { what: 'unpaid', until: head.paidUntil })
    batch.del(expiry.key)
    putHead(batch, id, { ...head, state: 'unpaid' })
  }
}

/** Removes what has expired; its storage is owed to its end, however late this is noticed. */
function expire(batch: RecordBatch, id: Id, head: Head): void {
  if (head.state === 'stored') bookEnd(batch, { ...id, head }, { what: 'expired', until: head.paidUntil })
  remove(batch, id, head)
}

/** When something happens to a head by itself. */
export function endOf(head: Head): number {
  if (head.state === 'deleted') return head.expires
  const graceMs = head.state === 'unpaid' ? protocolLimits.graceMs : 0
  return Math.min(head.expires, (head.stopped ?? head.paidUntil) + graceMs)
}

/** The head of the record at exactly this path, if a reader may be told of it. */
export function liveHead(from: Pick<Database, 'get'>, path: RecordPath, now: number): StoredHead | undefined {
  // A message in a box has no text that its owner signed: it is served by its box alone.
  const head = isBoxId(path.recordId) ? undefined : headOf(from, path)
  if (head === undefined || head.state === 'deleted') return undefined
  return head.expires > now && head.receiver === path.receiver ? head : undefined
}

/** From `paidUntil` on nobody pays for the record, noticed or not. */
export const isPaid = ({ state, paidUntil }: StoredHead, now: number): boolean =>
  state === 'stored' && paidUntil > now

/** A record that was pulled for the last time is listed to its receiver no more. */
export function unlist(batch: RecordBatch, owner: string, { receiver, place }: RecordHead): void {
  batch.del(keys.placeKey(keys.inboxPrefix(receiver), place))
  batch.del(keys.placeKey(keys.inboxByOwnerPrefix(receiver, owner), place))
}

export function headOf(from: Pick<Database, 'get'>, id: Id): Head | undefined {
  const value = from.get(keys.headKey(id))
  return value === undefined ? undefined : decodeHead(value)
}

function put(batch: RecordBatch, { record, root, body }: Prepared, agree: Agree): StoredHead {
  const { from: owner, to: receiver, request } = record.msg
  const { recordId, tag } = request
  const bytes = record.content.length
  const { hash, expires, maxPulls, path } = record
  // Each is a pull too, so of more than all pulls nothing would come.
  const bilateralLeft = Math.min(request.bilateralPulls ?? 0, maxPulls)
  // Credit that is given for this record is booked before it, so the record's own place comes after.
  const { purse, prices, paidUntil } = agree(batch, { owner, bytes, at: batch.nextTime, expires, maxPulls })
  const place = batch.nextPlace()
  const at = timeOf(place)
  // A quote holds only as long as the clock does not go back between the check of the time and here.
  if (record.msg.timestamp > at + protocolLimits.freshFutureMs)
    throw new MarketError('ERR_STALE', 'the clock went back', { extras: { time: at } })
  const reserved = String(ceilSatoshi(worstUnits({ bytes, at, paidUntil, maxPulls, prices })))
  const left = { pullsLeft: maxPulls, bilateralLeft }
  const facts = { place, receiver, hash, root, bytes, expires, paidUntil, maxPulls, ...left, tag }
  const head = { state: 'stored' as const, ...facts, reserved, purse, ...prices }
  keep(batch, { owner, receiver, recordId, path }, { head, body })
  return head
}

/** Writes a new record, books it and tells of it. */
export function keep(
  batch: RecordBatch,
  { owner, receiver, recordId, path }: RecordPath & { readonly path: string },
  { head, body }: { readonly head: StoredHead; readonly body: Buffer },
): void {
  const { place, bytes, tag, expires } = head
  bookWrite(batch, { owner, recordId, head })
  putHead(batch, { owner, recordId }, head)
  batch.put(keys.bodyKey(place), body)
  const listed = IndexRow.encode({ other: owner, recordId, bytes, tag, expires })
  batch.put(keys.placeKey(keys.inboxPrefix(receiver), place), listed)
  batch.put(keys.placeKey(keys.inboxByOwnerPrefix(receiver, owner), place), listed)
  const owned = IndexRow.encode({ other: receiver, recordId, bytes, tag, expires })
  batch.put(keys.placeKey(keys.outboxPrefix(owner), place), owned)
  count(batch, owner, { records: 1, bytes, ingressBytes: bytes })
  batch.announce({ place, owner, receiver, recordId, path, tag })
}

export function putHead(batch: RecordBatch, { owner, recordId }: Id, head: Head): void {
  batch.put(keys.headKey({ owner, recordId }), encodeHead(head))
  batch.put(keys.expiryKey(endOf(head), head.place), Expiry.encode({ owner, recordId }))
}

/** All that was written for a head, except what it cost and moved. */
export function remove(batch: RecordBatch, id: Id, head: Head): void {
  batch.del(keys.headKey(id))
  batch.del(keys.expiryKey(endOf(head), head.place))
  if (head.state === 'deleted') return
  batch.del(keys.bodyKey(head.place))
  batch.del(keys.placeKey(keys.outboxPrefix(id.owner), head.place))
  unlist(batch, id.owner, head)
  if (isBoxId(id.recordId)) dropBoxed(batch, head)
  count(batch, id.owner, { records: -1, bytes: -head.bytes })
}
