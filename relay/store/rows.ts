/** What the tables hold (the key table is in keys.ts). */
import { entryTypes } from '../../contracts/account.ts'
import { isFree } from '../../market/price.ts'
import { big, hash, key, kindOf, oneOf, type RowOf, row, rowBeginning, text, uint } from './codec.ts'

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
  /** Of these, how many the owner still pays for without a read signed for others to see. */
  bilateralLeft: uint,
  tag: text,
  reserved: text,
  purse: text,
  storageGBDay: uint,
  egressGB: uint,
  ingressGB: uint,
}
const RecordHead = row('record head', 4, recordFields)
/** A record that is kept for a while though nobody pays for it any more: what it cost was booked. */
const UnpaidHead = row('unpaid record', 5, recordFields)
/** The same of one whose contract ended before what its receipt says. */
const StoppedHead = row('stopped record', 6, { ...recordFields, stopped: uint })

/** What stays of a deleted record for a while, so that its id does not mean two things and its receipt can be asked for again. */
const Tombstone = row('tombstone', 2, { place: uint, receiver: key, expires: uint })

export type RecordHead = RowOf<typeof RecordHead>
export type Tombstone = RowOf<typeof Tombstone>
export type StoredHead = { state: 'stored' | 'unpaid'; stopped?: number } & RecordHead
export type Head = StoredHead | ({ state: 'deleted' } & Tombstone)

/** In its purse: paid for, and of a relay that did not take it free of charge. */
export const isBilled = (head: StoredHead): boolean => head.state === 'stored' && !isFree(head)

export function encodeHead(head: Head): Buffer {
  if (head.state === 'deleted') return Tombstone.encode(head)
  if (head.stopped !== undefined) return StoppedHead.encode({ ...head, stopped: head.stopped })
  return (head.state === 'unpaid' ? UnpaidHead : RecordHead).encode(head)
}

export function decodeHead(bytes: Buffer): Head {
  const kind = kindOf(bytes)
  if (kind === 2) return { state: 'deleted', ...Tombstone.decode(bytes) }
  if (kind === 5) return { state: 'unpaid', ...UnpaidHead.decode(bytes) }
  if (kind === 6) return { state: 'unpaid', ...StoppedHead.decode(bytes) }
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

export type IndexRow = RowOf<typeof IndexRow>

/** Live records and their bytes; bytes taken in and served, and pulls, since the owner's first write. Bytes are content bytes. */
export const Counters = row('counters row', 1, {
  records: uint,
  bytes: uint,
  ingressBytes: uint,
  egressBytes: uint,
  pulls: uint,
})
export type Counters = RowOf<typeof Counters>

/**
 * One pull: what it was for, and the receiver's signed read, verbatim, with its hash; when it was is its place. Of a billed
 * one its purse, its number among the pulls of that purse, from 1, and the purse's chain after it (contracts/usage.ts).
 */
const pullFields = {
  receiver: key,
  recordId: text,
  bytes: uint,
  /** Empty where nobody paid, with number 0 and a chain of zeros. */
  purse: text,
  seq: uint,
  /** Zeros with an empty text: it came through the file-system view. */
  re: hash,
}
export const Pull = row('pull', 2, { ...pullFields, chain: hash, text })
/** A pull without its signed read, of which there may be a million to look through. */
export const PullHead = rowBeginning('pull', 2, pullFields)
export type Pull = RowOf<typeof Pull>
/** What a row has where there is no hash. */
export const noHash = '0'.repeat(64)

/** Who paid for a read through the file-system view; the order is that of the stored numbers. */
const payers = ['nobody', 'owner', 'reader'] as const
export type Payer = (typeof payers)[number]
const payer = oneOf(payers, 'somebody unknown paid')

/** A signed request that was answered: a read with the record of this place, a prove about it, a delete with its receipt. */
export const Answer = {
  read: row('answered read', 1, { place: uint }),
  prove: row('answered prove', 2, { place: uint }),
  delete: row('answered delete', 3, { place: uint, receiver: key }),
  /** Not signed for others: a read through the file-system view. */
  web: row('answered read through the view', 4, { place: uint, paidBy: payer }),
}

/** The place of the record that a read was answered with; undefined when it was no read. */
export const readAnswer = (bytes: Buffer): number | undefined =>
  kindOf(bytes) === 1 ? Answer.read.decode(bytes).place : undefined
/** The same of a read through the file-system view. */
export const webAnswer = (bytes: Buffer): { place: number; paidBy: Payer } | undefined =>
  kindOf(bytes) === 4 ? Answer.web.decode(bytes) : undefined

export const Expiry = row('expiry row', 1, { owner: key, recordId: text })

export const NumberRow = row('number', 1, { value: uint })

/** The purses of an owner, in the order in which they were opened, separated by spaces. */
export const Account = row('account', 1, { openedAt: uint, purses: text })

/**
 * A purse: what came in and went out, in satoshi; what records have cost (`spent`) and may still cost (`held`), in the
 * units of market/price.ts; what was metered. The live records accrue storage without being touched: at a time t they
 * have `rate · t − rateStart` units and `size · t − sizeStart` byte-milliseconds that are not in `spent` and `byteMs` yet.
 */
export const Purse = row('purse', 2, {
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
  /** Billed pulls, and the chain after the last of them (contracts/usage.ts). */
  pulls: uint,
  chain: hash,
})
export type Purse = RowOf<typeof Purse>

export type EntryType = (typeof entryTypes)[number]

/** How a record ends: its owner deletes it, its time is over, or nobody pays for it any longer. */
export type Ending = Extract<EntryType, 'deleted' | 'expired' | 'unpaid'>
export const isEnding = (what: EntryType): what is Ending =>
  what === 'deleted' || what === 'expired' || what === 'unpaid'

const entryType = oneOf(entryTypes, 'an entry books something unknown')

/** What an entry of `returned` begins its note with that takes credit back, available or not. */
export const reversedNote = 'reversed '

/**
 * One entry of the ledger: the facts it rests on, then what it moved, in satoshi. Each of the five columns takes from one
 * side and gives to another: received (outside → available), reserved (available → reserved), earned (reserved → relay),
 * released (reserved → available), returned (available → outside). When it was is its place.
 */
export const Entry = row('ledger entry', 1, {
  what: entryType,
  purse: text,
  /** Of a record: its place, which is also that of its `write` entry; 0 where it is about none of this owner. */
  record: uint,
  recordId: text,
  /** Receiver of a record when it is written or extended, owner of one that is bought; else where credit came from or went. */
  note: text,
  bytes: uint,
  paidUntil: uint,
  /** When a record ended; of one that is extended, until when it was paid for before. */
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
