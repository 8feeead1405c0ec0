/**
 * The most the user allows (`maxCost`): kept with each record, and held against what a relay asks for before every
 * upload to it, now or months later. Each relay has a part of its own, so that uploads need not wait for each other.
 */
import type { RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { type Bound, boundOf, type CostBound, nameOf } from '../home/outbox.ts'
import type { CallOptions } from '../wire/connection.ts'
import type { Load } from './load.ts'
import { askAll, costOf, type Quoted, quotesText } from './quotes.ts'
import type { Upload } from './word.ts'

export interface CostOptions {
  /**
   * The most satoshi that all relays together may reserve for this. A relay whose price is not known is given nothing
   * until it names one within its part: what it quoted when this was sent; of relays that gave no quote then, an equal
   * share of what the others left over.
   */
  readonly maxCost?: number | undefined
  /**
   * The most satoshi that may ever be signed over in any contract so that this goes up, now or later: all that is signed there
   * counts, not only for this. A relay that needs more does not get it. What the contract itself allows holds besides.
   */
  readonly maxSpend?: number | undefined
  /** Hears what it costs at most, before anything is kept or sent. */
  readonly onQuote?: ((quoted: Quoted) => void) | undefined
}

/**
 * Asks what it costs where anybody wants to know, and says what may be spent.
 * @throws ERR_COST when it may cost more than `maxCost`
 */
export async function agreeBound(
  ctx: Context,
  what: { readonly relays: readonly RelayAddress[]; readonly load: Load },
  { maxCost, maxSpend, onQuote, ...options }: CostOptions & CallOptions,
): Promise<Bound | undefined> {
  for (const most of [maxCost, maxSpend])
    if (most !== undefined && (!Number.isSafeInteger(most) || most < 0))
      throw new MarketError('ERR_MALFORMED', 'the most it may cost is a whole number of satoshi')
  const spending = maxSpend === undefined ? undefined : { maxSpend }
  if (maxCost === undefined && onQuote === undefined) return spending
  const quoted = await askAll(ctx, what, options)
  onQuote?.(quoted)
  return maxCost === undefined ? spending : { ...divide(maxCost, quoted, what.load), ...spending }
}

function divide(maxCost: number, quoted: Quoted, { bytes, ttl, maxPulls }: Load): CostBound {
  const left = maxCost - Number(quoted.satoshis)
  if (left < 0)
    throw new ClientError(
      'ERR_COST',
      `this costs up to ${quoted.satoshis} satoshi (${quotesText(quoted)}), more than the ${maxCost} allowed; ` +
        'a shorter ttl, fewer pulls or fewer relays make it cheaper',
    )
  const silent = quoted.relays.filter((quote) => 'error' in quote).length
  const parts = quoted.relays.map((quote) => [
    quote.relay.key,
    'error' in quote ? Math.floor(left / silent) : Number(quote.satoshis),
  ])
  return { maxCost, whole: { bytes, ttl, maxPulls }, parts: Object.fromEntries(parts) }
}

/**
 * Lets a record pass to a relay only at prices at which the whole that it is part of stays within the relay's part.
 * Costs are in proportion to bytes, so that prices which change on the way, each within the part, stay within it.
 * Returns the bound, to hold the receipt against.
 * @throws ERR_COST when it would cost more, and as `PriceMemory.firm`
 */
export async function checkBound(
  ctx: Context,
  { record, connection, sending }: Upload,
  options: CallOptions,
): Promise<Bound | undefined> {
  const { recordId, ttl } = record.msg.request
  const bound = await boundOf(ctx.home, nameOf(record))
  if (bound === undefined || !('parts' in bound)) return bound
  const { key, url } = connection.address
  const wish = { bytes: record.content.length, ttl, maxPulls: record.maxPulls }
  const cost = costOf(bound.whole, await ctx.prices.firm(connection, wish, options))
  // A relay that came later has no part: what was allowed is given away.
  const part = bound.parts[key] ?? 0
  if (cost <= part) return bound
  const id = sending ?? recordId
  throw new ClientError(
    'ERR_COST',
    `${url} asks for up to ${cost} satoshi, and of the ${bound.maxCost} allowed ${part} are for it: it gets ${id} when ` +
      `that is enough; delete ${id} gives it up, and sending again with a higher bound (--max-cost) allows more`,
  )
}
