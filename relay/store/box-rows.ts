/**
 * How messages lie in boxes: beside the rows that every record has, an entry in their box, in the order of places, and one
 * under their message id, by which they are acknowledged. Both go with the record, however it ends.
 */
import { fromHex } from '../../market/bytes.ts'
import { sha256, sha256Hex } from '../../market/hash.ts'
import { lru } from '../../market/lru.ts'
import { boxIdPrefix, type RecordPath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { bytesOfKey, hash, key, type RowOf, row, text, uint } from './codec.ts'
import * as keys from './keys.ts'
import type { Reader } from './postings.ts'
import type { StoredHead } from './rows.ts'

/** A message by what its sender calls it. */
export interface BoxName {
  readonly recipient: Key
  readonly box: string
  readonly messageId: string
}

const separator = Uint8Array.of(0)

/** The id of the record that a message is. `sender`: where the recipient pays for it, and it is his record. */
export function boxRecordId({ recipient, box, messageId }: BoxName, sender?: Key): string {
  const whose = sender === undefined ? [] : [separator, bytesOfKey(sender)]
  const digest = sha256(bytesOfKey(recipient), separator, box, separator, messageId, ...whose)
  return `${boxIdPrefix}${Buffer.from(digest).toString('hex')}`
}

/** An entry of a box. */
export const BoxRow = row('box row', 1, {
  owner: key,
  recordId: text,
  sender: key,
  /** SHA-256 of the message id. */
  id: hash,
  bytes: uint,
  expires: uint,
  /** Listings of it that are still to be booked. */
  pulls: uint,
})
export type BoxRow = RowOf<typeof BoxRow>

/** Whose record it is, where it is neither its sender's nor its recipient's. */
const CarrierRow = row('carrier row', 1, { carrier: key })

/** Which record has a message id. */
export const IdRow = row('box id row', 1, { owner: key, recordId: text })

/** What lies in the boxes of an identity, and what it has sent that lies in those of others. */
export const QuotaRow = row('box quota', 1, {
  messages: uint,
  bytes: uint,
  /** Of these, records of the hosts that brought them. */
  brought: uint,
  sent: uint,
  sentBytes: uint,
})
export type Quota = RowOf<typeof QuotaRow>

/** The part of a key that names a box; not to be written to. Few names are used by all. */
export const boxPart: (box: string) => Uint8Array = lru(1024, (box) => sha256(box))
export const listPrefix = (recipient: Key, box: string): Buffer => keys.boxKey(recipient, 'l', boxPart(box))
const idPrefixOf = (recipient: Key, id: string): Buffer => keys.boxKey(recipient, 'i', fromHex(id))
export const idsPrefix = (recipient: Key, messageId: string): Buffer =>
  idPrefixOf(recipient, sha256Hex(messageId))

/** All of a table ordered by place. */
export const allPlaces = (prefix: Buffer): { gte: Buffer; lte: Buffer } => ({
  gte: keys.placeKey(prefix, 0),
  lte: keys.placeKey(prefix, Number.MAX_SAFE_INTEGER),
})

/** Under what the record of a message is found that is the host's who brought it. */
const carrierKey = (recipient: Key, recordId: string): Buffer =>
  keys.boxKey(recipient, 'c', Buffer.from(recordId, 'latin1'))

/** Most recipients have nothing that a host brought, which their quota says. */
export function carrierOf(from: Reader, recipient: Key, recordId: string): Key | undefined {
  if (quotaOf(from, recipient).brought === 0) return undefined
  const value = from.get(carrierKey(recipient, recordId))
  return value === undefined ? undefined : CarrierRow.decode(value).carrier
}

export function quotaOf(from: Reader, identity: Key): Quota {
  const value = from.get(keys.boxKey(identity, 'q'))
  if (value !== undefined) return QuotaRow.decode(value)
  return { messages: 0, bytes: 0, brought: 0, sent: 0, sentBytes: 0 }
}

/** @param facts `pulls`: listings to be booked */
export function putBoxed(
  batch: Batch,
  { owner, receiver, recordId }: RecordPath,
  { head, sender, messageId, pulls }: { head: StoredHead; sender: Key; messageId: string; pulls: number },
): void {
  const { place, bytes, expires, tag } = head
  const id = sha256Hex(messageId)
  const entry = BoxRow.encode({ owner, recordId, sender, id, bytes, expires, pulls })
  batch.put(keys.placeKey(listPrefix(receiver, tag), place), entry)
  batch.put(keys.placeKey(idPrefixOf(receiver, id), place), IdRow.encode({ owner, recordId }))
  const isBrought = owner !== sender && owner !== receiver
  if (isBrought) batch.put(carrierKey(receiver, recordId), CarrierRow.encode({ carrier: owner }))
  countBoxed(batch, { recipient: receiver, sender, bytes, isBrought }, 1)
}

/** What `putBoxed` has put for a message that ends. */
export function dropBoxed(batch: Batch, { receiver, place, tag, bytes }: StoredHead): void {
  const listed = keys.placeKey(listPrefix(receiver, tag), place)
  const value = batch.get(listed)
  if (value === undefined) return
  const { owner, recordId, sender, id } = BoxRow.decode(value)
  batch.del(listed)
  batch.del(keys.placeKey(idPrefixOf(receiver, id), place))
  const isBrought = owner !== sender && owner !== receiver
  if (isBrought) batch.del(carrierKey(receiver, recordId))
  countBoxed(batch, { recipient: receiver, sender, bytes, isBrought }, -1)
}

function countBoxed(
  batch: Batch,
  { recipient, sender, bytes, isBrought }: { recipient: Key; sender: Key; bytes: number; isBrought: boolean },
  sign: 1 | -1,
): void {
  const received = quotaOf(batch, recipient)
  received.messages += sign
  received.bytes += sign * bytes
  if (isBrought) received.brought += sign
  putQuota(batch, recipient, received)
  const sent = quotaOf(batch, sender)
  sent.sent += sign
  sent.sentBytes += sign * bytes
  putQuota(batch, sender, sent)
}

function putQuota(batch: Batch, identity: Key, quota: Quota): void {
  const isNothing = quota.messages === 0 && quota.sent === 0
  const name = keys.boxKey(identity, 'q')
  if (isNothing) batch.del(name)
  else batch.put(name, QuotaRow.encode(quota))
}
