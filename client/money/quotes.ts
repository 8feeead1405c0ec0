/** What it would cost at most on each relay, before anything is sealed or sent. */
import type { RelayAddress } from '../../market/address.ts'
import { ceilSatoshi, quoteUnits, type Wish } from '../../market/price.ts'
import type { Prices } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import type { CallOptions } from '../wire/connection.ts'
import type { Load } from './load.ts'

/** A relay that does not say within this what it costs is treated as one that is away. */
const quoteWaitMs = 10_000

/** What one relay asks for, or why it did not say. */
export type RelayQuote =
  | {
      readonly relay: RelayAddress
      /** At most, for everything together; a decimal number. */
      readonly satoshis: string
      readonly prices: Prices
      /** Until when the relay is bound to it, by its own clock. */
      readonly expires: number
    }
  | { readonly relay: RelayAddress; readonly error: Error }

export interface Quoted {
  /** What the relays that gave a quote come to together, at most; a decimal number of satoshi. */
  readonly satoshis: string
  readonly relays: readonly RelayQuote[]
  /** How many records it is: a file has chunks. */
  readonly records: number
}

/** Asks all these relays at once. What one of them fails at stands in its place and stops no other. */
export async function askAll(
  ctx: Context,
  { relays, load }: { relays: readonly RelayAddress[]; load: Load },
  options: CallOptions = {},
): Promise<Quoted> {
  const quotes = await Promise.all(relays.map((relay) => askOne(ctx, { relay, load }, options)))
  options.signal?.throwIfAborted()
  const total = quotes.reduce((sum, quote) => sum + ('error' in quote ? 0 : Number(quote.satoshis)), 0)
  return { satoshis: String(total), relays: quotes, records: load.records }
}

async function askOne(
  ctx: Context,
  { relay, load }: { relay: RelayAddress; load: Load },
  options: CallOptions,
): Promise<RelayQuote> {
  const deadline = AbortSignal.timeout(quoteWaitMs)
  const signal = options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline])
  try {
    const record = { ...load, bytes: load.largest }
    const { prices, expires } = await ctx.prices.ask(ctx.connect(relay), record, { ...options, signal })
    return { relay, satoshis: String(costOf(load, prices)), prices, expires }
  } catch (error) {
    if (!deadline.aborted) return { relay, error: error as Error }
    const message = `${relay.url} did not say what it costs within ${quoteWaitMs / 1000} s`
    return { relay, error: new ClientError('ERR_UNREACHABLE', message, error) }
  }
}

/** The most that this may come to at these prices, in satoshi. */
export const costOf = (wish: Wish, prices: Prices): number => ceilSatoshi(quoteUnits(wish, prices))

/** Satoshi relay by relay, and together, as decimal numbers; relays are named by their keys. */
export interface Cost {
  readonly total: string
  readonly relays: Readonly<Record<string, string>>
}

/** What is known of the cost: relays that gave no quote are not in it. */
export const costQuoted = ({ satoshis, relays }: Quoted): Cost => ({
  total: satoshis,
  relays: Object.fromEntries(
    relays.flatMap((quote) => ('error' in quote ? [] : [[quote.relay.key, quote.satoshis]])),
  ),
})

/** `http://a 7, http://b unknown` */
export const quotesText = ({ relays }: Quoted): string =>
  relays.map((quote) => `${quote.relay.url} ${'error' in quote ? 'unknown' : quote.satoshis}`).join(', ')
