/**
 * Reading and proving (docs/protocol.md §4.5), as operations on a batch. What acts is remembered by the hash of its signed
 * bytes until it is no longer fresh, in the same batch as its effect: no crash makes one request count twice.
 */
import { MarketError } from '../../market/errors.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { leafCount } from '../../market/merkle.ts'
import { isFree } from '../../market/price.ts'
import type { RecordPath } from '../../market/record.ts'
import type { Hash, Key, Prices } from '../../market/units.ts'
import { damaged } from './codec.ts'
import { count } from './counters.ts'
import * as keys from './keys.ts'
import { bookBought, bookProof, bookPull, priceOf } from './ledger.ts'
import type { Reader } from './postings.ts'
import { isPaid, liveHead, type RecordBatch, unlist } from './records.ts'
import type { Repeats } from './repeats.ts'
import {
  Answer,
  encodeHead,
  noHash,
  type Payer,
  Pull,
  readAnswer,
  type StoredHead,
  webAnswer,
} from './rows.ts'

/** A signed request about one record. `until` = when it stops being fresh, which its signed bytes alone decide. */
export interface SignedRequest {
  readonly path: RecordPath
  readonly hash: Hash
  readonly until: number
}
export interface SignedRead extends SignedRequest {
  readonly text: string
  /** Told the size of the record before it is pulled; what it throws prevents the pull. */
  readonly admit?: ((bytes: number) => void) | undefined
  readonly isCovered?: Covered
}

/** Whether who pays for a record still pays for a pull of it; absent: he does. */
export type Covered = (from: Reader, pull: { owner: Key; head: StoredHead; now: number }) => boolean

type Absent = { readonly outcome: 'absent' }
type Replayed = { readonly outcome: 'replayed' }
/** The record is there, but nobody pays for this any more. */
type Unpaid = { readonly outcome: 'unpaid' }

export type Pulled =
  | { readonly outcome: 'record'; readonly body: Buffer; readonly bytes: number }
  | Absent
  | Replayed
  | Unpaid

/** One pull, counted and logged; or the bounded repetition of one, which is neither. */
export function pullRecord(batch: RecordBatch, read: SignedRead, repeats: Repeats): Pulled {
  const head = liveHead(batch, read.path, batch.now)
  const answered = batch.get(keys.answeredKey(read.until, read.hash))
  if (answered !== undefined) {
    const place = readAnswer(answered)
    if (place === undefined) return { outcome: 'replayed' }
    // Deletion and expiry win; so they do when the id has come to mean another record since.
    if (head?.place !== place) return { outcome: 'absent' }
    read.admit?.(head.bytes)
    return repeats.allow(read, batch.now) ? found(batch, head) : { outcome: 'replayed' }
  }
  if (head === undefined) return { outcome: 'absent' }
  if (head.pullsLeft === 0) {
    // Everybody may read what is for key 1, so to say that it is used up tells nobody what is not his.
    const forSale = read.path.receiver === ANYONE_KEY && !isFree(head)
    return { outcome: forSale ? 'unpaid' : 'absent' }
  }
  const pull = { owner: read.path.owner, head, now: batch.now }
  if (!isPaid(head, batch.now) || read.isCovered?.(batch, pull) === false) return { outcome: 'unpaid' }
  read.admit?.(head.bytes)
  batch.put(keys.answeredKey(read.until, read.hash), Answer.read.encode({ place: head.place }))
  putPull(batch, read.path, { head: { ...head, pullsLeft: head.pullsLeft - 1 }, read })
  return found(batch, head)
}

/** A read through the file-system view: its reader is authenticated, but has signed nothing that others could see. */
export interface WebRead {
  readonly path: RecordPath
  /** Names the purchase: the same again, before `until`, is served again, as often as a signed read. */
  readonly hash: Hash
  readonly until: number
  /** Of now, for a reader who pays. */
  readonly prices: Prices
  readonly admit?: ((bytes: number) => void) | undefined
  readonly isCovered?: Covered
}

export type WebPulled =
  | { readonly outcome: 'record'; readonly body: Buffer; readonly bytes: number; readonly paidBy: Payer }
  | Absent
  | Replayed
  /** `satoshis`: what the reader must pay in. */
  | { readonly outcome: 'unpaid'; readonly satoshis: number }

/**
 * The owner bears it as far as he signed for such pulls; then the reader does, out of his own purses, also when the pulls
 * of the record are used up and in its time of grace.
 */
export function pullByWeb(batch: RecordBatch, read: WebRead, repeats: Repeats): WebPulled {
  const { path, prices, hash, until } = read
  const head = liveHead(batch, path, batch.now)
  const key = keys.answeredKey(until, hash)
  const answered = batch.get(key)
  if (answered !== undefined) {
    const before = webAnswer(answered)
    if (before === undefined) return { outcome: 'replayed' }
    if (head?.place !== before.place) return { outcome: 'absent' }
    read.admit?.(head.bytes)
    if (!repeats.allow(read, batch.now)) return { outcome: 'replayed' }
    return { ...found(batch, head), paidBy: before.paidBy }
  }
  if (head === undefined || (isFree(head) && head.pullsLeft === 0)) return { outcome: 'absent' }
  const { bytes, bilateralLeft, place } = head
  read.admit?.(bytes)
  const isCovered = read.isCovered?.(batch, { owner: path.owner, head, now: batch.now }) !== false
  let paidBy: Payer
  if (isFree(head)) {
    paidBy = 'nobody'
    putPull(batch, path, { head: { ...head, pullsLeft: head.pullsLeft - 1 } })
  } else if (bilateralLeft > 0 && head.pullsLeft > 0 && isPaid(head, batch.now) && isCovered) {
    paidBy = 'owner'
    const left = { pullsLeft: head.pullsLeft - 1, bilateralLeft: bilateralLeft - 1 }
    putPull(batch, path, { head: { ...head, ...left } })
  } else if (prices.egressGB === 0) paidBy = 'nobody'
  else if (bookBought(batch, { path, bytes, prices })) paidBy = 'reader'
  else return { outcome: 'unpaid', satoshis: priceOf(batch, path.receiver, { bytes, prices }) }
  batch.put(key, Answer.web.encode({ place, paidBy }))
  return { ...found(batch, head), paidBy }
}

export type Proven = { readonly outcome: 'held'; readonly body: Buffer } | Absent | Replayed | Unpaid

/**
 * What a proof about leaf `index` is made from.
 * @throws ERR_NOT_FOUND when the record has no such leaf, ERR_PAYMENT_REQUIRED when its purse has nothing left for this; the
 * request was not answered then and may be made again.
 */
export function proveRecord(
  batch: RecordBatch,
  { path, hash, until, index }: SignedRequest & { readonly index: number },
): Proven {
  const key = keys.answeredKey(until, hash)
  if (batch.get(key) !== undefined) return { outcome: 'replayed' }
  const head = liveHead(batch, path, batch.now)
  if (head === undefined) return { outcome: 'absent' }
  if (!isPaid(head, batch.now)) return { outcome: 'unpaid' }
  const leaves = leafCount(head.bytes)
  if (index >= leaves)
    throw new MarketError('ERR_NOT_FOUND', `the record has ${leaves} leaves, no leaf ${index}`)
  bookProof(batch, { owner: path.owner, recordId: path.recordId, head })
  batch.put(key, Answer.prove.encode({ place: head.place }))
  return { outcome: 'held', body: bodyOf(batch, head) }
}

/** Counts and logs a pull, and books it. `read`: signed for others to see; else it came through the view. */
export function putPull(
  batch: RecordBatch,
  path: RecordPath,
  { head, read }: { readonly head: StoredHead; readonly read?: SignedRead },
): void {
  const { owner, receiver, recordId } = path
  const { bytes } = head
  batch.put(keys.headKey(path), encodeHead(head))
  const place = batch.nextPlace()
  const booked = bookPull(batch, { owner, recordId, head }, { place, re: read?.hash ?? null })
  const signed = { re: read?.hash ?? noHash, text: read?.text ?? '' }
  const pull = Pull.encode({ receiver, recordId, bytes, ...booked, ...signed })
  batch.put(keys.placeKey(keys.pullPrefix(owner), place), pull)
  count(batch, owner, { egressBytes: bytes, pulls: 1 })
  if (head.pullsLeft === 0) unlist(batch, owner, head)
}

const found = (batch: RecordBatch, head: StoredHead) => ({
  outcome: 'record' as const,
  body: bodyOf(batch, head),
  bytes: head.bytes,
})

function bodyOf(batch: RecordBatch, { place }: StoredHead): Buffer {
  const body = batch.get(keys.bodyKey(place))
  if (body === undefined) throw damaged(`the record of place ${place} has no body`)
  return body
}
