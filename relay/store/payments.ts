/**
 * Payments with coins, as operations on a batch: each is written together with what it books, so that no crash can part
 * them. What the chain says of it is an argument; relay/till/ asks.
 */
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { hash, oneOf, type RowOf, row, text, uint } from './codec.ts'
import * as keys from './keys.ts'
import { bookReceived, bookReversed, findPurse } from './ledger.ts'
import type { Reader } from './postings.ts'
import { available } from './purses.ts'
import { reversedNote } from './rows.ts'

/** The purse of what was paid in. */
export const creditPurse = 'credit'
/** Payments that are remembered, and not known to be in the network: those of a chain that does not answer. */
export const mostUnsent = 256
/** All payers together have so many times the credit on unmined payments that one has. */
const payersShare = 100

const paymentStates = ['taken', 'unmined', 'mined', 'reversed'] as const
/**
 * `taken`: it is verified, and is sent until the network has it or refuses it; nothing is credited yet. `unmined`: the network
 * has it. `reversed`: something else spent its coins, or it vanished; it may come back.
 */
export const PaymentRow = row('payment', 1, {
  state: oneOf(paymentStates, 'a payment is in an unknown state'),
  /** What it was first presented for. */
  what: hash,
  satoshis: uint,
  /** Of it, in the purse now; the rest waits for a block. */
  credited: uint,
  at: uint,
  /** Of the chain when it was mined or reversed; else 0. */
  height: uint,
  /** Of its last entry in the ledger; 0: none. */
  place: uint,
  /** The names of its key (BRC-29). */
  prefix: text,
  suffix: text,
  /** Atomic BEEF in base64, until it is in the wallet. */
  tx: text,
})
export type Payment = RowOf<typeof PaymentRow>

/** Satoshi of one payer: in his purse on the word of unmined payments, and of these still to come into it. */
export const UnminedRow = row('unmined credit', 1, { resting: uint, pending: uint })
/** Of all payers; and how many payments are `taken`. */
const AllUnmined = row('all unmined credit', 1, { resting: uint, unsent: uint })

/** Whose payment, by its transaction; or whose withdrawal, by its id. */
export interface Name {
  readonly owner: Key
  readonly hash: Hash
}

export function findPayment(from: Reader, { owner, hash }: Name): Payment | undefined {
  const value = from.get(keys.moneyKey('d', owner, hash))
  return value === undefined ? undefined : PaymentRow.decode(value)
}

export function unminedOf(from: Reader, owner: Key): RowOf<typeof UnminedRow> {
  const value = from.get(keys.unminedKey(owner))
  return value === undefined ? { resting: 0, pending: 0 } : UnminedRow.decode(value)
}

/** Below zero after a reversal. */
export function creditOf(from: Reader, owner: Key): number {
  const found = findPurse(from, owner, creditPurse)
  return found === undefined ? 0 : available(found)
}

export type NewPayment = Pick<Payment, 'what' | 'satoshis' | 'prefix' | 'suffix' | 'tx'>

/** The payment as it was remembered before, or is from now on. @throws ERR_BUSY when too many wait for the network */
export function rememberPayment(batch: Batch, name: Name, payment: NewPayment): Payment {
  const before = findPayment(batch, name)
  if (before !== undefined) return before
  if (allUnmined(batch).unsent >= mostUnsent)
    throw new MarketError('ERR_BUSY', 'too many payments wait for the network', {
      extras: { retryAfterMs: 10_000 },
    })
  const taken: Payment = { ...payment, state: 'taken', credited: 0, at: batch.now, height: 0, place: 0 }
  putPayment(batch, name, { after: taken })
  return taken
}

/** The network refused it, and nothing came of it: presented again, it is a new one. */
export function forgetPayment(batch: Batch, name: Name): void {
  const before = findPayment(batch, name)
  if (before?.state === 'taken') putPayment(batch, name, { before })
}

/** What the chain says of a payment, or of the transaction of a withdrawal. */
export interface Fate {
  readonly state: 'unmined' | 'mined' | 'reversed'
  readonly height: number
}

/**
 * Books what has changed: all of a mined payment is in the purse, of an unmined one what it had brought in before, at first no
 * more than the limit has room for, of a reversed one nothing. Undefined when there is no such payment.
 * @param limit satoshi of credit that may rest on unmined payments of one payer
 */
export function settlePayment(batch: Batch, name: Name, fate: Fate, limit: number): Payment | undefined {
  const before = findPayment(batch, name)
  if (before === undefined || (before.state === fate.state && before.height === fate.height)) return before
  const { owner, hash: txid } = name
  const wanted = {
    mined: before.satoshis,
    unmined: before.credited > 0 ? before.credited : Math.min(before.satoshis, room(batch, owner, limit)),
    reversed: 0,
  }[fate.state]
  const change = wanted - before.credited
  const booking = { owner, purse: creditPurse, satoshi: Math.abs(change) }
  let { place } = before
  if (change > 0) place = bookReceived(batch, { ...booking, note: `payment ${txid}` })
  if (change < 0) place = bookReversed(batch, { ...booking, note: `${reversedNote}${txid}` })
  const after: Payment = { ...before, ...fate, credited: wanted, place, tx: '' }
  putPayment(batch, name, { before, after })
  return after
}

/** No block will change it any more. */
export const stopFollowing = (batch: Batch, table: 'd' | 'w', { owner, hash }: Name): void =>
  batch.del(keys.followedKey(keys.moneyKey(table, owner, hash)))

function putPayment(
  batch: Batch,
  { owner, hash }: Name,
  { before, after }: { readonly before?: Payment; readonly after?: Payment },
): void {
  const key = keys.moneyKey('d', owner, hash)
  const [was, is] = [restOf(before), restOf(after)]
  const { resting, pending } = unminedOf(batch, owner)
  const unmined = {
    resting: resting + is.resting - was.resting,
    pending: pending + is.pending - was.pending,
  }
  batch.put(keys.unminedKey(owner), UnminedRow.encode(unmined))
  const all = allUnmined(batch)
  all.resting += is.resting - was.resting
  all.unsent += is.unsent - was.unsent
  batch.put(allRow, AllUnmined.encode(all))
  if (after === undefined) {
    batch.del(key)
    batch.del(keys.followedKey(key))
    return
  }
  batch.put(key, PaymentRow.encode(after))
  batch.put(keys.followedKey(key), Buffer.alloc(0))
}

/** What a payment adds to the sums of what is unmined. */
const restOf = (payment: Payment | undefined) => ({
  resting: payment?.state === 'unmined' ? payment.credited : 0,
  pending: payment?.state === 'unmined' ? payment.satoshis - payment.credited : 0,
  unsent: payment?.state === 'taken' ? 1 : 0,
})

const room = (from: Reader, owner: Key, limit: number): number =>
  Math.max(
    0,
    Math.min(limit - unminedOf(from, owner).resting, payersShare * limit - allUnmined(from).resting),
  )

function allUnmined(from: Reader): RowOf<typeof AllUnmined> {
  const value = from.get(allRow)
  return value === undefined ? { resting: 0, unsent: 0 } : AllUnmined.decode(value)
}

const allRow = keys.metaKey('unmined')
