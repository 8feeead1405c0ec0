/** What the tables hold (the key table is in keys.ts). */
import { hash, key, kindOf, type RowOf, row, text, uint } from './codec.ts'

const RecordHead = row('record head', 1, {
  place: uint,
  receiver: key,
  hash,
  root: hash,
  bytes: uint,
  expires: uint,
  paidUntil: uint,
  maxPulls: uint,
  pullsLeft: uint,
  tag: text,
  reserved: text,
  purse: text,
  storageGBDay: uint,
  egressGB: uint,
  ingressGB: uint,
})

/** What stays of a deleted record for a while, so that its id does not mean two things and its receipt can be asked for again. */
const Tombstone = row('tombstone', 2, { place: uint, receiver: key, expires: uint })

export type RecordHead = RowOf<typeof RecordHead>
export type Tombstone = RowOf<typeof Tombstone>
export type StoredHead = { state: 'stored' } & RecordHead
export type Head = StoredHead | ({ state: 'deleted' } & Tombstone)

export const encodeHead = (head: Head): Buffer =>
  head.state === 'stored' ? RecordHead.encode(head) : Tombstone.encode(head)

export const decodeHead = (bytes: Buffer): Head =>
  kindOf(bytes) === 2
    ? { state: 'deleted', ...Tombstone.decode(bytes) }
    : { state: 'stored', ...RecordHead.decode(bytes) }

/** An entry of an inventory. `other` is the owner in a receiver's inbox, the receiver in an owner's outbox. */
export const IndexRow = row('index row', 1, {
  other: key,
  recordId: text,
  bytes: uint,
  tag: text,
  expires: uint,
})

/** Live records and their bytes; bytes taken in and served, and pulls, since the owner's first write. Bytes are content bytes. */
export const Counters = row('counters row', 1, {
  records: uint,
  bytes: uint,
  ingressBytes: uint,
  egressBytes: uint,
  pulls: uint,
})
export type Counters = RowOf<typeof Counters>

/** One pull: the receiver's signed read, verbatim, and what it was for. When it was is its place. */
export const Pull = row('pull', 1, { receiver: key, recordId: text, bytes: uint, text })
export type Pull = RowOf<typeof Pull>

/** A signed request that was answered: a read with the record of this place, a prove about it, a delete with its receipt. */
export const Answer = {
  read: row('answered read', 1, { place: uint }),
  prove: row('answered prove', 2, { place: uint }),
  delete: row('answered delete', 3, { place: uint, receiver: key }),
}

/** The place of the record that a read was answered with; undefined when it was no read. */
export const readAnswer = (bytes: Buffer): number | undefined =>
  kindOf(bytes) === 1 ? Answer.read.decode(bytes).place : undefined

export const Expiry = row('expiry row', 1, { owner: key, recordId: text })

export const NumberRow = row('number', 1, { value: uint })
