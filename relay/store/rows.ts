/** What the tables hold (the key table is in keys.ts). */
import { isFree } from '../../market/price.ts'
import { big, damaged, type Field, hash, key, kindOf, type RowOf, row, text, uint } from './codec.ts'

const recordFields = {
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
}
const RecordHead = row('record head', 1, recordFields)
/** A record that is kept for a while though nobody pays for it any more: what it cost was booked. */
const UnpaidHead = row('unpaid record', 3, recordFields)

/** What stays of a deleted record for a while, so that its id does not mean two things and its receipt can be asked for again. */
const Tombstone = row('tombstone', 2, { place: uint, receiver: key, expires: uint })

export type RecordHead = RowOf<typeof RecordHead>
export type Tombstone = RowOf<typeof Tombstone>
export type StoredHead = { state: 'stored' | 'unpaid' } & RecordHead
export type Head = StoredHead | ({ state: 'deleted' } & Tombstone)

/** In its purse: paid for, and of a relay that did not take it free of charge. */
export const isBilled = (head: StoredHead): boolean => head.state === 'stored' && !isFree(head)

export function encodeHead(head: Head): Buffer {
  if (head.state === 'deleted') return Tombstone.encode(head)
  return (head.state === 'unpaid' ? UnpaidHead : RecordHead).encode(head)
}

export function decodeHead(bytes: Buffer): Head {
  const kind = kindOf(bytes)
  if (kind === 2) return { state: 'deleted', ...Tombstone.decode(bytes) }
  if (kind === 3) return { state: 'unpaid', ...UnpaidHead.decode(bytes) }
  return { state: 'stored', ...RecordHead.decode(bytes) }
}

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

/** The purses of an owner, in the order in which they were opened, separated by spaces. */
export const Account = row('account', 1, { openedAt: uint, purses: text })

/**
 * A purse: what came in and went out, in satoshi; what records have cost (`spent`) and may still cost (`held`), in the
 * units of market/price.ts; what was metered. The live records accrue storage without being touched: at a time t they
 * have `rate · t − rateStart` units and `size · t − sizeStart` byte-milliseconds that are not in `spent` and `byteMs` yet.
 */
export const Purse = row('purse', 1, {
  openedAt: uint,
  /** 0: never. */
  lapses: uint,
  /** No record is paid for beyond; 0: no end. */
  serviceEnd: uint,
  received: uint,
  returned: uint,
  spent: big,
  held: big,
  byteMs: big,
  egress: uint,
  ingress: uint,
  records: uint,
  size: uint,
  sizeStart: big,
  rate: big,
  rateStart: big,
  entries: uint,
})
export type Purse = RowOf<typeof Purse>

/** What an entry books; the order is that of the stored numbers. */
const entryTypes = ['received', 'returned', 'write', 'pull', 'prove', 'deleted', 'expired', 'unpaid'] as const
export type EntryType = (typeof entryTypes)[number]

/** How a record ends: its owner deletes it, its time is over, or nobody pays for it any longer. */
export type Ending = Extract<EntryType, 'deleted' | 'expired' | 'unpaid'>
export const isEnding = (what: EntryType): what is Ending =>
  what === 'deleted' || what === 'expired' || what === 'unpaid'

const entryType: Field<EntryType> = {
  write: (to, value) => uint.write(to, entryTypes.indexOf(value)),
  read(from) {
    const found = entryTypes[uint.read(from)]
    if (found === undefined) throw damaged('an entry books something unknown')
    return found
  },
}

/**
 * One entry of the ledger: the facts it rests on, then what it moved, in satoshi. Each of the five columns takes from one
 * side and gives to another: received (outside → available), reserved (available → reserved), earned (reserved → relay),
 * released (reserved → available), returned (available → outside). When it was is its place.
 */
export const Entry = row('ledger entry', 1, {
  what: entryType,
  purse: text,
  /** Of a record: its place, which is also that of its `write` entry; 0 where it is about none. */
  record: uint,
  recordId: text,
  /** Receiver of a record when it is written; else where credit came from or went. */
  note: text,
  bytes: uint,
  paidUntil: uint,
  /** When a record ended. */
  until: uint,
  maxPulls: uint,
  /** Taken when a record ended. */
  pulls: uint,
  storageGBDay: uint,
  egressGB: uint,
  ingressGB: uint,
  received: uint,
  reserved: uint,
  earned: uint,
  released: uint,
  returned: uint,
})
export type Entry = RowOf<typeof Entry>

/** All purses together, in satoshi; `committed` is what is reserved or earned. */
export const Totals = row('totals', 1, {
  received: uint,
  returned: uint,
  earned: uint,
  committed: uint,
  purses: uint,
  entries: uint,
})
export type Totals = RowOf<typeof Totals>
/** As long as nobody ever had credit. */
export const noTotals: Readonly<Totals> = {
  received: 0,
  returned: 0,
  earned: 0,
  committed: 0,
  purses: 0,
  entries: 0,
}

/** Credit given to newcomers on a day since 1970. */
export const Newcomers = row('newcomers', 1, { day: uint, count: uint })
