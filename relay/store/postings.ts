/**
 * How an entry gets into the books: with the purse it changes and the totals of all purses, in one batch. Used by
 * ledger.ts alone.
 */
import type { Key } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { damaged } from './codec.ts'
import type { Database } from './database.ts'
import * as keys from './keys.ts'
import { timeOf } from './place.ts'
import * as purses from './purses.ts'
import { Account, Entry, noTotals, type Purse, Purse as PurseRow, Totals } from './rows.ts'

export type Reader = Pick<Database, 'get'>

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

const totalsRow = keys.metaKey('totals')

export interface NewPurse {
  readonly owner: Key
  readonly purse: string
  /** When what is available lapses, and until when records are paid for; 0 never. */
  readonly lapses?: number
  readonly serviceEnd?: number
}

export function openPurse(batch: Batch, { owner, purse, lapses = 0, serviceEnd = 0 }: NewPurse): void {
  const stored = batch.get(keys.accountKey(owner))
  const account = stored === undefined ? undefined : Account.decode(stored)
  const names = account === undefined ? purse : `${account.purses} ${purse}`
  const openedAt = account?.openedAt ?? batch.now
  batch.put(keys.accountKey(owner), Account.encode({ openedAt, purses: names }))
  batch.put(
    keys.purseKey(owner, purse),
    PurseRow.encode(purses.newPurse(batch.now, purse, { lapses, serviceEnd })),
  )
  if (lapses !== 0) batch.put(keys.lapseKey(lapses, owner, purse), Buffer.alloc(0))
  const totals = totalsOf(batch)
  totals.purses++
  batch.put(totalsRow, Totals.encode(totals))
}

export interface Booking {
  readonly owner: Key
  readonly purse: string
  readonly place: number
  readonly facts: purses.Facts
  readonly amount?: Partial<purses.Moves>
  /** Of the entry of a pull. */
  readonly pull?: purses.ChainedPull
}

/** Returns the purse as it is then. */
export function book(batch: Batch, { owner, purse: name, place, facts, amount = {}, pull }: Booking): Purse {
  const purse = purseOf(batch, owner, name)
  const moves = purses.post(purse, facts, amount)
  // What a lapsed purse gets back from a record goes the way of the rest. By the time of the entry, so that it follows from it.
  const lapsed = moves.released > 0 && purses.hasLapsed(purse, timeOf(place))
  const rest = lapsed ? Math.max(0, purses.available(purse)) : 0
  purse.returned += rest
  moves.returned += rest
  if (pull !== undefined) purses.chainPull(purse, pull)
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
  return purse
}

export function purseOf(from: Reader, owner: Key, name: string): Purse {
  const purse = findPurse(from, owner, name)
  if (purse === undefined) throw damaged(`there is no purse ${name} of ${owner}`)
  return purse
}

/** The facts of an entry about no record. */
export const noRecord = {
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
