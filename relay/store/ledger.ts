/**
 * The books (docs/protocol.md §4.9), as operations on a batch: every entry is written together with what it books, with
 * the purse it changes and with the totals of all purses. Nothing here is ever changed or removed.
 */
import { sha256Hex } from '../../market/hash.ts'
import { MarketError } from '../../market/errors.ts'
import { ceilSatoshi, egressUnits, proofBytes } from '../../market/price.ts'
import { formatPath, type RecordPath } from '../../market/record.ts'
import { type Hash, type Key, mostSatoshi, type Prices } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { damaged } from './codec.ts'
import * as keys from './keys.ts'
import { timeOf } from './place.ts'
import {
  book,
  findPurse,
  type NewPurse,
  noRecord,
  openPurse,
  pursesOf,
  purseOf,
  type Reader,
  totalsOf,
} from './postings.ts'
import * as purses from './purses.ts'
import {
  type Ending,
  Entry,
  type EntryType,
  isBilled,
  noHash,
  NumberRow,
  type Pull,
  type StoredHead,
} from './rows.ts'

export { findPurse, pursesOf, totalsOf }

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

/**
 * Returns its place in the chain of its purse.
 * @param place of the pull in the pull log: its entry has the same
 * @param re the hash of the signed read; null where nobody signed for others to see
 */
export function bookPull(
  batch: Batch,
  { owner, recordId, head }: Booked,
  { place, re }: { readonly place: number; readonly re: Hash | null },
): Pick<Pull, 'purse' | 'seq' | 'chain'> {
  if (!isBilled(head)) return { purse: '', seq: 0, chain: noHash }
  const { receiver, bytes, purse } = head
  const path = formatPath({ owner, receiver, recordId })
  const pull = { path, bytes, at: timeOf(place), re }
  const { pulls, chain } = book(batch, {
    owner,
    purse,
    place,
    facts: factsOf('pull', recordId, head),
    pull,
  })
  return { purse, seq: pulls, chain }
}

/** A read that its reader pays for, whose purse it is. */
export interface Purchase {
  readonly path: RecordPath
  readonly bytes: number
  readonly prices: Prices
}

/**
 * Books it in the first purse of the reader that affords it; false where none does, and nothing happened.
 */
export function bookBought(batch: Batch, { path, bytes, prices }: Purchase): boolean {
  const { owner, receiver: reader, recordId } = path
  const units = egressUnits(bytes, prices)
  const names = pursesOf(batch, reader) ?? []
  const purse = purses.purseOrder.find((name) => {
    const found = names.includes(name) ? findPurse(batch, reader, name) : undefined
    if (found === undefined || purses.hasLapsed(found, batch.now) || purses.hasEnded(found, batch.now))
      return false
    return purses.affords(found, units)
  })
  if (purse === undefined) return false
  const facts = { ...noRecord, ...prices, what: 'bought' as const, recordId, note: owner, bytes }
  book(batch, { owner: reader, purse, place: batch.nextPlace(), facts })
  return true
}

/** What `reader` must pay in for such a purchase: its price, and what he owes since a payment of his was reversed. */
export function priceOf(from: Reader, reader: Key, { bytes, prices }: Omit<Purchase, 'path'>): number {
  const credit = findPurse(from, reader, 'credit')
  const debt = credit === undefined ? 0 : Math.max(0, -purses.available(credit))
  return Math.max(1, ceilSatoshi(egressUnits(bytes, prices))) + debt
}

/** @throws ERR_PAYMENT_REQUIRED when the purse of the record has too little left: no worst case held room for this. */
export function bookProof(batch: Batch, { owner, recordId, head }: Booked): void {
  if (!isBilled(head)) return
  if (!purses.affords(purseOf(batch, owner, head.purse), egressUnits(proofBytes, head)))
    throw new MarketError('ERR_PAYMENT_REQUIRED', `nothing is left for a proof in the purse ${head.purse}`)
  book(batch, { owner, purse: head.purse, place: batch.nextPlace(), facts: factsOf('prove', recordId, head) })
}

/** It is paid for until `head.paidUntil`, and was until `until`. The purse has room for what it may cost more. */
export function bookExtension(batch: Batch, { owner, recordId, head }: Booked, until: number): void {
  const facts = { ...factsOf('extended', recordId, head), note: head.receiver, until }
  book(batch, { owner, purse: head.purse, place: batch.nextPlace(), facts })
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
export interface Deposit extends NewPurse {
  readonly satoshi: number
  /** Where it came from. */
  readonly note: string
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
    facts: { ...noRecord, what: 'received', note },
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
      facts: { ...noRecord, what: 'returned', note },
      amount: { returned },
    })
  return returned
}

/**
 * Takes back what a payment had brought in, available or not: the purse may be below zero after it, and pays for nothing
 * new then. Returns the place of the entry.
 * @param note begins with `reversedNote` (rows.ts): no other entry may take a purse below zero
 */
export function bookReversed(
  batch: Batch,
  { owner, purse, satoshi, note }: Omit<Deposit, 'lapses' | 'serviceEnd'>,
): number {
  const place = batch.nextPlace()
  const facts = { ...noRecord, what: 'returned' as const, note }
  book(batch, { owner, purse, place, facts, amount: { returned: satoshi } })
  return place
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
