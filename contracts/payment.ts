/**
 * Paying for one request, or for credit, over authenticated HTTP: BRC-105 and its kin (docs/protocol.md §7.6), and being paid
 * back.
 */
import { z } from 'zod'
import { Hash, mostSatoshi, Satoshis } from '../market/units.ts'

/** What stands beside status 402 and in the request that pays; names are lower-case. */
export const paymentHeaders = {
  version: 'x-bsv-payment-version',
  required: 'x-bsv-payment-satoshis-required',
  prefix: 'x-bsv-payment-derivation-prefix',
  transports: 'x-bsv-payment-transports',
  payment: 'x-bsv-payment',
  paid: 'x-bsv-payment-satoshis-paid',
  /** BRC-41: by which name the payee knows the payment. */
  reference: 'x-bsv-payment-reference',
} as const
export const paymentVersion = '1.0'

/** A name of BRC-29: what the keyID of a payment is made of. Prefix, space and suffix are at most 800 bytes together. */
const Derivation = z.string().min(1).max(399)

/** The value of `x-bsv-payment`: output 0 of this transaction (Atomic BEEF, base64) pays the key of these names (BRC-29). */
export const WebPayment = z.object({
  derivationPrefix: Derivation,
  derivationSuffix: Derivation,
  transaction: z.base64(),
})
export type WebPayment = z.infer<typeof WebPayment>

/** Satoshi in the body of a request: a whole number, or the same as a decimal string, as answers have it. */
const Amount = z.union([
  z.int().min(1).max(mostSatoshi),
  Satoshis.refine(
    (text) => Number(text) >= 1 && Number(text) <= mostSatoshi,
    'not a number of satoshi there can be',
  ).transform(Number),
])

/** What is asked for with `POST /deposit`, … */
export const DepositRequest = z.strictObject({ satoshis: Amount })
/**
 * … and its answer when it was paid. `available`: in the purse `credit` now. `pending`: of this payment, counts when it is in
 * a block.
 */
export const Deposited = z.object({
  status: z.literal('success'),
  txid: z.string(),
  satoshis: Satoshis,
  available: Satoshis,
  pending: Satoshis,
})
export type Deposited = z.infer<typeof Deposited>

/** What is asked for with `POST /withdraw`: the same `id` of one owner is the same withdrawal. Without `satoshis` all there is. */
export const NamedWithdrawal = z.strictObject({ id: Hash, satoshis: Amount.optional() })
export type NamedWithdrawal = z.input<typeof NamedWithdrawal>

/**
 * Credit that was paid back: output 0 of `tx` (Atomic BEEF, base64) pays `satoshis` − `fee` to the owner (BRC-29; the relay is
 * the sender). The relay has sent it; whoever asked puts it into his wallet.
 */
export const Withdrawal = z.object({
  satoshis: Satoshis,
  fee: Satoshis,
  txid: z.string(),
  tx: z.base64(),
  derivationPrefix: Derivation,
  derivationSuffix: Derivation,
})
export type Withdrawal = z.infer<typeof Withdrawal>
