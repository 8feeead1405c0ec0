/**
 * The books (docs/protocol.md §4.9), as operations on a batch: every entry is written together with what it books, with
 * the purse it changes and with the totals of all purses. Nothing here is ever changed or removed.
 */
import { sha256Hex } from '../../market/hash.ts'
import { MarketError } from '../../market/errors.ts'
import { egressUnits, proofBytes } from '../../market/price.ts'
import { type Key, mostSatoshi } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { damaged } from './codec.ts'
import type { Database } from './database.ts'
import * as keys from './keys.ts'
import { timeOf } from './place.ts'
import * as purses from './purses.ts'
import {
  Account,
  type Ending,
  Entry,
  type EntryType,
  isBilled,
  noTotals,
  NumberRow,
  type Purse,
  Purse as PurseRow,
  type StoredHead,
  Totals,
} from './rows.ts'

type Reader = Pick<Database, 'get'>

/** What entries about a record rest on. */
interface Booked {
  readonly owner: Key
  readonly recordId: string
  readonly head: StoredHead
}

export function bookWrite(batch: Batch, { owner, recordId, head }: Booked): void {
  if (!isBilled(head)) return
  book(batch, {
    owner,
    purse: head.purse,
    place: head.place,
    facts: { ...factsOf('write', recordId, head), note: head.receiver },
  })
}

/** @param place of the pull in the pull log: its entry has the same */
export function bookPull(batch: Batch, { owner, recordId, head }: Booked, place: number): void {
  if (!isBilled(head)) return
  book(batch, { owner, purse: head.purse, place, facts: factsOf('pull', recordId, head) })
}

/** @throws ERR_PAYMENT_REQUIRED when the purse of the record has too little left: no worst case held room for this. */
export function bookProof(batch: Batch, { owner, recordId, head }: Booked): void {
  if (!isBilled(head)) return
  if (!purses.affords(purseOf(batch, owner, head.purse), egressUnits(proofBytes, head)))
    throw new MarketError('ERR_PAYMENT_REQUIRED', `nothing is left for a proof in the purse ${head.purse}`)
  book(batch, { owner, purse: head.purse, place: batch.nextPlace(), facts: factsOf('prove', recordId, head) })
}

/** @param end why and when a record ended; `place`: of the entry */
export function bookEnd(
  batch: Batch,
  { owner, recordId, head }: Booked,
  end: { readonly what: Ending; readonly until: number; readonly place?: number },
): void {
  if (!isBilled(head)) return
  const facts = {
    ...factsOf(end.what, recordId, head),
    until: end.until,
    pulls: head.maxPulls - head.pullsLeft,
  }
  book(batch, { owner, purse: head.purse, place: end.place ?? batch.nextPlace(), facts })
}

/** Credit for a purse, which is opened when it is new. */
export interface Deposit {
  readonly owner: Key
  readonly purse: string
  readonly satoshi: number
  /** Where it came from. */
  readonly note: string
  /** For a new purse: when what is available lapses, and until when records are paid for; 0 never. */
  readonly lapses?: number
  readonly serviceEnd?: number
}

/** Whether so much more credit is no more than all coins, as every sum of satoshi must be. */
export const hasRoomFor = (from: Reader, satoshi: number): boolean =>
  totalsOf(from).received + satoshi <= mostSatoshi

/** Returns the place of its entry. @throws ERR_MALFORMED where there is no room for it */
export function bookReceived(batch: Batch, deposit: Deposit): number {
  const { owner, purse, satoshi, note } = deposit
  if (!hasRoomFor(batch, satoshi))
    throw new MarketError('ERR_MALFORMED', 'all credit together is more than all coins there will be')
  if (findPurse(batch, owner, purse) === undefined) openPurse(batch, deposit)
  const place = batch.nextPlace()
  book(batch, {
    owner,
    purse,
    place,
    facts: { ...nothing, what: 'received', note },
    amount: { received: satoshi },
  })
  return place
}

/** Takes out at most what is available, and says how much that was. */
export function bookReturned(
  batch: Batch,
  { owner, purse, satoshi, note }: Omit<Deposit, 'lapses' | 'serviceEnd'>,
): number {
  const found = findPurse(batch, owner, purse)
  const returned = Math.max(0, Math.min(satoshi, found === undefined ? 0 : purses.available(found)))
  if (returned > 0)
    book(batch, {
      owner,
      purse,
      place: batch.nextPlace(),
      facts: { ...nothing, what: 'returned', note },
      amount: { returned },
    })
  return returned
}

export function findPurse(from: Reader, owner: Key, purse: string): Purse | undefined {
  const value = from.get(keys.purseKey(owner, purse))
  return value === undefined ? undefined : PurseRow.decode(value)
}

/** The names of an owner's purses, in the order they were opened; undefined when he has no account. */
export function pursesOf(from: Reader, owner: Key): string[] | undefined {
  const value = from.get(keys.accountKey(owner))
  return value === undefined ? undefined : Account.decode(value).purses.split(' ')
}

export function totalsOf(from: Reader): Totals {
  const value = from.get(totalsRow)
  return value === undefined ? { ...noTotals } : Totals.decode(value)
}

/** How much was granted to `owner` with this id; undefined when nothing was. */
export function grantedBefore(from: Reader, owner: Key, id: string): number | undefined {
  const value = from.get(grantRow(owner, id))
  if (value === undefined) return undefined
  const entry = from.get(keys.placeKey(keys.ledgerPrefix(owner), NumberRow.decode(value).value))
  if (entry === undefined) throw damaged(`the grant ${id} of ${owner} is not in the ledger`)
  return Entry.decode(entry).received
}

/** Remembers what came of a grant, so that it can be ordered twice and happens once. */
export function rememberGrant(batch: Batch, grant: { owner: Key; id: string; place: number }): void {
  batch.put(grantRow(grant.owner, grant.id), NumberRow.encode({ value: grant.place }))
}

const grantRow = (owner: Key, id: string): Buffer => keys.grantKey(sha256Hex(`${owner} ${id}`))
const totalsRow = keys.metaKey('totals')

function openPurse(batch: Batch, { owner, purse, lapses = 0, serviceEnd = 0 }: Deposit): void {
  const stored = batch.get(keys.accountKey(owner))
  const account = stored === undefined ? undefined : Account.decode(stored)
  const names = account === undefined ? purse : `${account.purses} ${purse}`
  const openedAt = account?.openedAt ?? batch.now
  batch.put(keys.accountKey(owner), Account.encode({ openedAt, purses: names }))
  batch.put(keys.purseKey(owner, purse), PurseRow.encode(purses.newPurse(batch.now, { lapses, serviceEnd })))
  if (lapses !== 0) batch.put(keys.lapseKey(lapses, owner, purse), Buffer.alloc(0))
  const totals = totalsOf(batch)
  totals.purses++
  batch.put(totalsRow, Totals.encode(totals))
}

interface Booking {
  readonly owner: Key
  readonly purse: string
  readonly place: number
  readonly facts: purses.Facts
  readonly amount?: Partial<purses.Moves>
}

function book(batch: Batch, { owner, purse: name, place, facts, amount = {} }: Booking): void {
  const purse = purseOf(batch, owner, name)
  const moves = purses.post(purse, facts, amount)
  // What a lapsed purse gets back from a record goes the way of the rest. By the time of the entry, so that it follows from it.
  const lapsed = moves.released > 0 && purses.hasLapsed(purse, timeOf(place))
  const rest = lapsed ? Math.max(0, purses.available(purse)) : 0
  purse.returned += rest
  moves.returned += rest
  batch.put(keys.purseKey(owner, name), PurseRow.encode(purse))
  const entry = Entry.encode({ ...facts, purse: name, ...moves })
  batch.put(keys.placeKey(keys.ledgerPrefix(owner), place), entry)
  const totals = totalsOf(batch)
  totals.received += moves.received
  totals.returned += moves.returned
  totals.earned += moves.earned
  totals.committed += moves.reserved - moves.released
  totals.entries++
  batch.put(totalsRow, Totals.encode(totals))
}

function purseOf(from: Reader, owner: Key, name: string): Purse {
  const purse = findPurse(from, owner, name)
  if (purse === undefined) throw damaged(`there is no purse ${name} of ${owner}`)
  return purse
}

const nothing = {
  record: 0,
  recordId: '',
  note: '',
  bytes: 0,
  paidUntil: 0,
  until: 0,
  maxPulls: 0,
  pulls: 0,
  storageGBDay: 0,
  egressGB: 0,
  ingressGB: 0,
}

const factsOf = (what: EntryType, recordId: string, head: StoredHead): purses.Facts => ({
  what,
  record: head.place,
  recordId,
  note: '',
  bytes: head.bytes,
  paidUntil: head.paidUntil,
  until: 0,
  maxPulls: head.maxPulls,
  pulls: 0,
  storageGBDay: head.storageGBDay,
  egressGB: head.egressGB,
  ingressGB: head.ingressGB,
})
