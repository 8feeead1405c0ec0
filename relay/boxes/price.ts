/** What a message costs whoever brings it, where nobody else pays (docs/protocol.md §13.3). */
import { MarketError } from '../../market/errors.ts'
import { dayMs, type Key } from '../../market/units.ts'
import { listedPulls, type BoxMessage } from '../store/boxes.ts'
import type { SendParts } from './send.ts'

export const boxLife = {
  /** How long a message waits for its recipient. */
  ttlMs: 30 * dayMs,
} as const

/** Satoshi of credit that all copies can come to, and what he owes who brings them. */
export function priceOf({ means, till }: SendParts, from: Key, messages: readonly BoxMessage[]): number {
  const { accounts, now } = means
  const wish = { ttl: boxLife.ttlMs / 1000, maxPulls: listedPulls }
  const prices = messages.map(({ content }) =>
    Number(accounts.quoteFor(from, { ...wish, bytes: content.length }, now()).satoshis),
  )
  const debt = Math.max(0, -(till?.creditOf(from).available ?? 0))
  return (
    Math.max(
      1,
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
