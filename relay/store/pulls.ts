/**
 * Reading and proving (docs/protocol.md §4.5), as operations on a batch. What acts is remembered by the hash of its signed
 * bytes until it is no longer fresh, in the same batch as its effect: no crash makes one request count twice.
 */
import { MarketError } from '../../market/errors.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { leafCount } from '../../market/merkle.ts'
import { isFree } from '../../market/price.ts'
import type { RecordPath } from '../../market/record.ts'
import type { Hash } from '../../market/units.ts'
import { damaged } from './codec.ts'
import { count } from './counters.ts'
import * as keys from './keys.ts'
import { bookProof, bookPull } from './ledger.ts'
import { isPaid, liveHead, type RecordBatch, unlist } from './records.ts'
import type { Repeats } from './repeats.ts'
import { Answer, encodeHead, Pull, readAnswer, type StoredHead } from './rows.ts'

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
}

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
  if (!isPaid(head, batch.now)) return { outcome: 'unpaid' }
  read.admit?.(head.bytes)
  putPull(batch, read, { ...head, pullsLeft: head.pullsLeft - 1 })
  return found(batch, head)
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

function putPull(batch: RecordBatch, { path, hash, text, until }: SignedRead, head: StoredHead): void {
  const { owner, receiver, recordId } = path
  const { bytes } = head
  batch.put(keys.headKey(path), encodeHead(head))
  batch.put(keys.answeredKey(until, hash), Answer.read.encode({ place: head.place }))
  const pull = Pull.encode({ receiver, recordId, bytes, text })
  const place = batch.nextPlace()
  batch.put(keys.placeKey(keys.pullPrefix(owner), place), pull)
  bookPull(batch, { owner, recordId, head }, place)
  count(batch, owner, { egressBytes: bytes, pulls: 1 })
  if (head.pullsLeft === 0) unlist(batch, owner, head)
}

const found = (batch: RecordBatch, head: StoredHead): Pulled => ({
  outcome: 'record',
  body: bodyOf(batch, head),
  bytes: head.bytes,
})

function bodyOf(batch: RecordBatch, { place }: StoredHead): Buffer {
  const body = batch.get(keys.bodyKey(place))
  if (body === undefined) throw damaged(`the record of place ${place} has no body`)
  return body
}
