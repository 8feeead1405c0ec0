/**
 * Credit that is paid back with coins, as operations on a batch: each withdrawal is written together with what it books.
 * Out of the purse first, then sent: no crash pays twice, or pays what is not there.
 */
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { oneOf, type RowOf, row, text, uint } from './codec.ts'
import type { Meta } from './meta.ts'
import * as keys from './keys.ts'
import { bookReceived, bookReversed } from './ledger.ts'
import { creditOf, creditPurse as purse, type Fate, type Name, unminedOf } from './payments.ts'
import type { Reader } from './postings.ts'
import { NumberRow, reversedNote } from './rows.ts'

const withdrawalStates = ['ordered', 'sent', 'failed'] as const
/** `ordered`: out of the purse, and paid until the network has it. `failed`: in the purse again; to ask again orders it again. */
export const WithdrawalRow = row('withdrawal', 1, {
  state: oneOf(withdrawalStates, 'a withdrawal is in an unknown state'),
  satoshis: uint,
  /** Of it, for the network. */
  fee: uint,
  at: uint,
  height: uint,
  place: uint,
  /** Empty until it is made, as `tx`: Atomic BEEF in base64. */
  txid: text,
  tx: text,
})
export type Withdrawal = RowOf<typeof WithdrawalRow>

export function findWithdrawal(from: Reader, { owner, hash }: Name): Withdrawal | undefined {
  const value = from.get(keys.moneyKey('w', owner, hash))
  return value === undefined ? undefined : WithdrawalRow.decode(value)
}

/** What was paid back after the backup that a store was restored from is forgotten: paying waits until a person has looked. */
export function isHeld(from: Reader, { restoredAt }: Meta): boolean {
  if (restoredAt === undefined) return false
  const confirmed = from.get(confirmedRow)
  return confirmed === undefined || NumberRow.decode(confirmed).value < restoredAt
}

/** Returns whether there was anything to confirm. */
export function confirmRestore(batch: Batch, meta: Meta): boolean {
  const wasHeld = isHeld(batch, meta)
  if (wasHeld) batch.put(confirmedRow, NumberRow.encode({ value: meta.restoredAt ?? 0 }))
  return wasHeld
}

const confirmedRow = keys.metaKey('confirmed')

/** What may be paid back: nothing that rests on payments which may vanish. */
const withdrawable = (from: Reader, owner: Key): number =>
  Math.max(0, creditOf(from, owner) - unminedOf(from, owner).resting)

export interface WithdrawalTerms {
  /** Undefined: all there is. */
  readonly satoshis: number | undefined
  readonly fee: number
}

/**
 * What an order comes to, satoshi; one that failed before to what it came to then.
 * @throws ERR_INSUFFICIENT_FUNDS with what can be withdrawn, ERR_MALFORMED for what the fee would eat up
 */
export function amountOf(from: Reader, name: Name, { satoshis, fee }: WithdrawalTerms): number {
  const { owner } = name
  const most = withdrawable(from, owner)
  const amount = findWithdrawal(from, name)?.satoshis ?? satoshis ?? most
  if (satoshis !== undefined && satoshis <= fee)
    throw new MarketError('ERR_MALFORMED', `the network's fee of ${fee} satoshi would leave nothing`)
  if (amount > most || amount <= fee) {
    const { resting } = unminedOf(from, owner)
    const waits = resting > 0 ? '; credit on payments that are in no block yet waits for one' : ''
    const extras = { available: String(most), fee: String(fee) }
    const sentence = `${most} satoshi can be withdrawn now, and the fee of the network, ${fee}, is taken from that${waits}`
    throw new MarketError('ERR_INSUFFICIENT_FUNDS', sentence, { extras })
  }
  return amount
}

/**
 * The withdrawal as it was ordered before, unless it failed; else it leaves the purse now.
 * @throws as `amountOf`
 */
export function orderWithdrawal(batch: Batch, name: Name, terms: WithdrawalTerms): Withdrawal {
  const before = findWithdrawal(batch, name)
  if (before !== undefined && before.state !== 'failed') return before
  const { owner, hash: id } = name
  const amount = amountOf(batch, name, terms)
  const place = bookReversed(batch, { owner, purse, satoshi: amount, note: `withdrawal ${id}` }) // there is as much
  const ordered = { satoshis: amount, fee: terms.fee, at: batch.now, ...before, txid: '', tx: '' }
  const after: Withdrawal = { ...ordered, state: 'ordered', height: 0, place }
  putWithdrawal(batch, name, after)
  return after
}

/** Undefined when there is no such withdrawal. @param tx empty: as before */
export function settleWithdrawal(
  batch: Batch,
  name: Name,
  { state, height, txid, tx = '' }: Fate & { readonly txid: string; readonly tx?: string },
): Withdrawal | undefined {
  const before = findWithdrawal(batch, name)
  const now = state === 'reversed' ? 'failed' : 'sent'
  if (before === undefined || (before.state === now && before.height === height)) return before
  const { owner, hash: id } = name
  const booking = { owner, purse, satoshi: before.satoshis }
  let { place } = before
  if (now === 'failed' && before.state !== 'failed')
    place = bookReceived(batch, { ...booking, note: `withdrawal ${id} failed` })
  if (now === 'sent' && before.state === 'failed')
    place = bookReversed(batch, { ...booking, note: `${reversedNote}withdrawal ${id}` })
  const after: Withdrawal = { ...before, state: now, height, txid, place, tx: tx === '' ? before.tx : tx }
  putWithdrawal(batch, name, after)
  return after
}

function putWithdrawal(batch: Batch, { owner, hash }: Name, withdrawal: Withdrawal): void {
  const key = keys.moneyKey('w', owner, hash)
  batch.put(key, WithdrawalRow.encode(withdrawal))
  batch.put(keys.followedKey(key), Buffer.alloc(0))
}
