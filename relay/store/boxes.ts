/**
 * Message boxes (docs/protocol.md §13), as operations on a batch. A message is a record whose owner is whoever pays for it,
 * so that counters, purses and audits know it; but nobody signed a text of it that others could check by itself.
 */
import { ceilSatoshi, isFree, worstUnits } from '../../market/price.ts'
import { formatPath } from '../../market/record.ts'
import type { Hash, Key } from '../../market/units.ts'
import { BoxError } from '../boxes/codes.ts'
import { BoxRow, type BoxName, boxRecordId, carrierOf, listPrefix, putBoxed, quotaOf } from './box-rows.ts'
import { countersOf } from './counters.ts'
import * as keys from './keys.ts'
import { bookEnd } from './ledger.ts'
import { timeOf } from './place.ts'
import type { Reader } from './postings.ts'
import { type Covered, putPull } from './pulls.ts'
import { headOf, isPaid, keep, type Offer, type RecordBatch, remove, type Terms } from './records.ts'
import type { StoredHead } from './rows.ts'

/** Listings of a message that are paid for when it is sent; later ones are free. */
export const listedPulls = 4

export interface BoxMessage extends Omit<BoxName, 'box'> {
  readonly content: Buffer
  /** Of what it says: the same message sent again is one. */
  readonly hash: Hash
}

/** Who pays for a message, and so owns its record. */
export interface Bearer {
  readonly owner: Key
  readonly terms: Terms
}

export interface Quotas {
  readonly boxMessages: number
  readonly boxBytes: number
  readonly boxSent: number
  readonly boxSentBytes: number
}

export interface Sending {
  readonly sender: Key
  readonly box: string
  readonly ttlMs: number
  readonly messages: readonly BoxMessage[]
  readonly quotas: Quotas
  /** What it throws refuses all of them. */
  readonly agree: (batch: RecordBatch, recipient: Key, offer: Omit<Offer, 'owner'>) => Bearer
}

/** A message that lies in a box: the record that it is. */
export interface Boxed extends Found {
  readonly recipient: Key
  readonly messageId: string
  /** It was put there just now. */
  readonly isNew: boolean
}

/**
 * All of them or none.
 * @throws ERR_DUPLICATE_MESSAGE, ERR_INBOX_QUOTA_EXCEEDED, ERR_SENDER_QUOTA_EXCEEDED, and what `agree` throws
 */
export function sendToBoxes(batch: RecordBatch, sending: Sending): Boxed[] {
  const { sender, box, messages } = sending
  const boxed: Boxed[] = []
  for (const message of messages) {
    const { recipient, messageId, hash } = message
    const name = { recipient, box, messageId }
    const ids = { own: boxRecordId(name), others: boxRecordId(name, sender) }
    const before = messageOf(batch, { sender, recipient }, ids)
    if (before !== undefined && before.hash !== hash)
      throw new BoxError('ERR_DUPLICATE_MESSAGE', 'this message id is that of another message', {
        recipient,
        messageId,
      })
    boxed.push(
      before === undefined
        ? put(batch, { ...message, ids }, sending)
        : { ...before, recipient, messageId, isNew: false },
    )
  }
  return boxed
}

/** Of the record that a message is: where its sender pays for it, and where somebody else does. */
interface Ids {
  readonly own: string
  readonly others: string
}

/** The message of these ids, whoever pays for it. */
function messageOf(
  from: RecordBatch,
  { sender, recipient }: { sender: Key; recipient: Key },
  { own, others }: Ids,
): (Found & { readonly hash: Hash }) | undefined {
  const places = [{ owner: sender, recordId: own }]
  // Counters stay in memory, and most recipients have no records here that this could be one of.
  if (countersOf(from, recipient).records > 0) places.push({ owner: recipient, recordId: others })
  const carrier = carrierOf(from, recipient, others)
  if (carrier !== undefined) places.push({ owner: carrier, recordId: others })
  for (const id of places) {
    const head = headOf(from, id)
    if (head === undefined || head.state === 'deleted') continue
    if (head.expires > from.now) return { ...id, place: head.place, hash: head.hash }
    // Its end is due, and comes before its name is taken again.
    end(from, id, head, 'expired')
  }
  return undefined
}

function put(batch: RecordBatch, message: BoxMessage & { ids: Ids }, sending: Sending): Boxed {
  const { sender, box, ttlMs, agree } = sending
  const { recipient: receiver, messageId, content, hash, ids } = message
  const bytes = content.length
  checkQuotas(batch, { recipient: receiver, bytes }, sending)
  const maxPulls = listedPulls
  const offer = { bytes, at: batch.nextTime, expires: batch.nextTime + ttlMs, maxPulls }
  const { owner, terms } = agree(batch, receiver, offer)
  const { purse, prices, paidUntil } = terms
  const recordId = owner === sender ? ids.own : ids.others
  const place = batch.nextPlace()
  const worst = { bytes, at: timeOf(place), paidUntil, maxPulls, prices }
  const reserved = isFree(prices) ? '0' : String(ceilSatoshi(worstUnits(worst)))
  const left = { pullsLeft: maxPulls, bilateralLeft: maxPulls }
  const facts = { place, receiver, hash, root: hash, bytes, paidUntil, maxPulls, ...left, tag: box }
  const head = { state: 'stored' as const, ...facts, expires: offer.expires, reserved, purse, ...prices }
  const id = { owner, receiver, recordId }
  keep(batch, { ...id, path: formatPath(id) }, { head, body: encodeBoxBody(content) })
  putBoxed(batch, id, { head, sender, messageId, pulls: isFree(prices) ? 0 : maxPulls })
  return { ...id, recipient: receiver, messageId, place, isNew: true }
}

/** @throws ERR_INBOX_QUOTA_EXCEEDED, ERR_SENDER_QUOTA_EXCEEDED */
function checkQuotas(
  from: Reader,
  { recipient, bytes }: { recipient: Key; bytes: number },
  { sender, quotas }: Sending,
): void {
  const { messages, bytes: held } = quotaOf(from, recipient)
  const { sent, sentBytes } = quotaOf(from, sender)
  const refuse = (whose: 'INBOX' | 'SENDER', resource: 'messages' | 'bytes', limit: number) => {
    const what =
      whose === 'INBOX' ? 'the boxes of the recipient are full' : 'the sender has too much on its way'
    const more = whose === 'INBOX' ? { recipient } : {}
    return new BoxError(`ERR_${whose}_QUOTA_EXCEEDED`, what, { resource, limit, ...more })
  }
  if (messages + 1 > quotas.boxMessages) throw refuse('INBOX', 'messages', quotas.boxMessages)
  if (held + bytes > quotas.boxBytes) throw refuse('INBOX', 'bytes', quotas.boxBytes)
  if (sent + 1 > quotas.boxSent) throw refuse('SENDER', 'messages', quotas.boxSent)
  if (sentBytes + bytes > quotas.boxSentBytes) throw refuse('SENDER', 'bytes', quotas.boxSentBytes)
}

/** As bodies are kept (body.ts), of a record without a text. */
function encodeBoxBody(content: Buffer): Buffer {
  const body = Buffer.allocUnsafe(8 + content.length)
  body.fill(0, 0, 8)
  content.copy(body, 8)
  return body
}

/** Books that these messages of a box are listed, as far as that is paid for; the others are listed all the same. */
export function pullBoxed(
  batch: RecordBatch,
  {
    recipient,
    box,
    places,
    isCovered,
  }: { recipient: Key; box: string; places: number[]; isCovered: Covered },
): void {
  for (const place of places) {
    const listed = keys.placeKey(listPrefix(recipient, box), place)
    const value = batch.get(listed)
    const row = value && BoxRow.decode(value)
    if (row === undefined || row.pulls === 0) continue
    const { owner, recordId } = row
    const head = headOf(batch, { owner, recordId })
    if (head === undefined || head.state === 'deleted' || head.place !== place || head.pullsLeft === 0)
      continue
    if (!isPaid(head, batch.now) || !isCovered(batch, { owner, head, now: batch.now })) continue
    const left = { pullsLeft: head.pullsLeft - 1, bilateralLeft: head.bilateralLeft - 1 }
    putPull(batch, { owner, receiver: recipient, recordId }, { head: { ...head, ...left } })
    batch.put(listed, BoxRow.encode({ ...row, pulls: row.pulls - 1 }))
  }
}

/** A record that a message id was found to mean. */
export interface Found {
  readonly owner: Key
  readonly recordId: string
  readonly place: number
}

/** Deletes what is still there of it; how many those were. */
export function acknowledgeBoxed(batch: RecordBatch, found: readonly Found[]): number {
  let count = 0
  for (const { owner, recordId, place } of found) {
    const head = headOf(batch, { owner, recordId })
    if (head === undefined || head.state === 'deleted' || head.place !== place) continue
    end(batch, { owner, recordId }, head, 'deleted')
    count++
  }
  return count
}

/** No tombstone: the same words may be said again. */
function end(
  batch: RecordBatch,
  id: { owner: Key; recordId: string },
  head: StoredHead,
  what: 'deleted' | 'expired',
): void {
  const place = batch.nextPlace()
  const until = what === 'deleted' ? timeOf(place) : head.paidUntil
  bookEnd(batch, { ...id, head }, { what, until, place })
  remove(batch, id, head)
}
