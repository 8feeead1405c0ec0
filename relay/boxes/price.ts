/** What a message costs whoever brings it, where nobody else pays (docs/protocol.md §13.3). */
import { MarketError } from '../../market/errors.ts'
import { dayMs } from '../../market/units.ts'
import { listedPulls, type BoxMessage } from '../store/boxes.ts'
import { deliveryFee } from './fees.ts'
import type { Letter, SendParts } from './send.ts'

export const boxLife = {
  /** How long a message waits for its recipient. */
  ttlMs: 30 * dayMs,
} as const

/** Hex of a signature in DER has no more digits. */
const longestSignature = 2 * 72

/**
 * Satoshi of credit that all copies can come to, and what he owes who brings them. As it is asked it holds for the request that brings
 * the payment, too, whose signature may be longer.
 */
export function priceOf(
  { means, rules, till }: SendParts,
  { from, carrier, request, proof, order }: Letter,
  messages: readonly BoxMessage[],
): number {
  const { accounts, now } = means
  const payer = carrier ?? from
  const longer = order.payment === undefined ? Math.max(0, longestSignature - proof.signature.length) : 0
  const wish = { ttl: boxLife.ttlMs / 1000, maxPulls: listedPulls }
  const prices = messages.map(({ content }) =>
    Number(accounts.quoteFor(payer, { ...wish, bytes: content.length + longer }, now()).satoshis),
  )
  // What a delivery costs its sender, a host has in credit at least.
  const least = carrier === undefined ? 1 : Math.max(1, deliveryFee(means.store, rules, request.box))
  const debt = Math.max(0, -(till?.creditOf(payer).available ?? 0))
  return (
    Math.max(
      least,
      prices.reduce((sum, satoshis) => sum + satoshis, 0),
    ) + debt
  )
}

/** A refusal for want of credit says what is to be paid. */
export function priced(error: unknown, price: () => number): unknown {
  if (!(error instanceof MarketError) || error.code !== 'ERR_PAYMENT_REQUIRED') return error
  const extras = { ...error.extras, satoshisRequired: price() }
  return new MarketError(error.code, error.message, { extras, cause: error })
}
