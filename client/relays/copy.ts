/** Putting kept records on a relay, in their own bytes: `store` of what the outbox has, priced before, bounded, gone on with. */
import { reservedUnits } from '../../contracts/receipt.ts'
import { ceilSatoshi, quoteUnits } from '../../market/price.ts'
import type { RecordId, SealedRecord } from '../../market/record.ts'
import type { Key, Prices } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError, codeOf, isRetryable, messageOf, Refused } from '../errors.ts'
import { append } from '../home/journal.ts'
import { keptOf } from '../home/kept.ts'
import { type Entry, entries, receiptOf, recordOf, requeue, widenBound } from '../home/outbox.ts'
import { sendings } from '../home/outgoing.ts'
import { outboxLimits, upload } from '../mail/post.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { eachLimited } from '../wire/retry.ts'

export interface CopyOptions extends CallOptions {
  /** The most satoshi that the relay may reserve for all of it together. */
  readonly maxCost?: number | undefined
  /** Hears what it costs at most, before anything is sent; null where the relay gives no quotes. */
  readonly onCost?: ((cost: CopyCost) => void) | undefined
}

export interface CopyCost {
  readonly relay: string
  readonly records: number
  readonly bytes: number
  readonly satoshis: string | null
}

/** One record that could not be put there, and why. */
export interface Unmoved {
  readonly id: RecordId
  readonly code: string
  readonly error: string
}

export interface Copied {
  readonly copied: readonly RecordId[]
  readonly unmoved: readonly Unmoved[]
  readonly cost: CopyCost
}

/**
 * Gives these records of the outbox to one relay. `from`: what was allowed to be spent there may be spent here. Once it resolves
 * all of them are there, or in `unmoved`; after an interruption the same call goes on.
 * @throws ERR_COST when all together may cost more than `maxCost`: nothing is sent then; ERR_UNREACHABLE, ERR_UNTRUSTED
 */
export async function copyTo(
  ctx: Context,
  connection: Connection,
  { ids, from }: { readonly ids: readonly RecordId[]; readonly from?: Key | undefined },
  { maxCost, onCost, ...options }: CopyOptions,
): Promise<Copied> {
  const { home } = ctx
  const known = await entries(home)
  const partOf = await sendings(home)
  const unmoved: Unmoved[] = []
  const copied: RecordId[] = []
  const whole: Entry[] = []
  let bytes = 0
  let largest: SealedRecord | undefined
  for (const id of ids) {
    const entry = known.get(id)
    const record =
      entry && (await recordOf(home, entry).catch((error: Error) => void unmoved.push(told(id, error))))
    if (record === undefined) continue
    whole.push(entry!) // it has a record
    bytes += record.content.length
    if (record.content.length > (largest?.content.length ?? 0)) largest = record
  }
  const prices = largest && (await pricesFor(ctx, connection, largest, options))
  let units = 0n
  if (prices !== undefined) for (const entry of whole) units += await unitsOf(ctx, entry, prices)
  const satoshis = prices === undefined && whole.length > 0 ? null : String(ceilSatoshi(units))
  const cost = { relay: connection.address.url, records: whole.length, bytes, satoshis }
  onCost?.(cost)
  if (maxCost !== undefined && (satoshis === null || Number(satoshis) > maxCost))
    throw new ClientError(
      'ERR_COST',
      `this costs ${satoshis === null ? 'nobody knows what' : `up to ${satoshis} satoshi`} on ${connection.address.url}, and ${maxCost} are allowed`,
    )
  let spent = 0n
  await eachLimited(whole, outboxLimits.inFlight, async (entry) => {
    options.signal?.throwIfAborted()
    try {
      if (maxCost !== undefined && Number(ceilSatoshi(spent)) > maxCost)
        throw new ClientError('ERR_COST', `${connection.address.url} reserved more than it had quoted`)
      spent += await copyOne(ctx, connection, { entry, from, sending: partOf.get(entry.id) }, options)
      copied.push(entry.id)
    } catch (error) {
      if (!isOfRecord(error)) throw error
      unmoved.push(told(entry.id, error as Error))
    }
  })
  return { copied, unmoved, cost }
}

/** What stops one record and says nothing of the next. */
const isOfRecord = (error: unknown): boolean =>
  error instanceof Refused
    ? error.signed && !isRetryable(error)
    : ['ERR_COST', 'ERR_UNSUPPORTED', 'ERR_DAMAGED'].includes(codeOf(error) ?? '')

const told = (id: RecordId, error: Error): Unmoved => ({
  id,
  code: codeOf(error) ?? 'ERR_FAILED',
  error: messageOf(error),
})

/** Undefined where the relay gives no quotes. */
async function pricesFor(
  ctx: Context,
  connection: Connection,
  { content, msg, maxPulls }: SealedRecord,
  options: CallOptions,
): Promise<Prices | undefined> {
  try {
    const wish = { bytes: content.length, ttl: msg.request.ttl, maxPulls }
    return (await ctx.prices.ask(connection, wish, options)).prices
  } catch (error) {
    if (codeOf(error) !== 'ERR_UNSUPPORTED') throw error
    return undefined
  }
}

/** From now on until it expires. */
async function unitsOf(ctx: Context, entry: Entry, prices: Prices): Promise<bigint> {
  const record = await recordOf(ctx.home, entry)
  if (record === undefined) return 0n
  const ttl = Math.max(1, Math.ceil((entry.expires - ctx.now()) / 1000))
  return quoteUnits({ bytes: record.content.length, ttl, maxPulls: record.maxPulls }, prices)
}

/** Returns what the relay reserved for it, in units. */
async function copyOne(
  ctx: Context,
  connection: Connection,
  { entry, from, sending }: { entry: Entry; from: Key | undefined; sending: RecordId | undefined },
  options: CallOptions,
): Promise<bigint> {
  const { home, wallet } = ctx
  const { id } = entry
  const relay = connection.address.key
  const record = await recordOf(home, entry)
  if (record === undefined) return 0n // it was deleted meanwhile
  if (entry.accepted.has(relay)) {
    // A relay that lost a record gives another receipt for it: audits need both (contracts/audit/books.ts).
    const former = await keptOf(home, entry, { owner: wallet.identity, relay })
    if (former !== undefined) await append(home, relay, [former])
  } else {
    // Noted before it is sent: an answer that is lost is asked for again.
    await requeue(home, id, [relay])
  }
  if (from !== undefined) await widenBound(home, id, { from, to: relay })
  await upload(ctx, { record, connection, sending }, options)
  const receipt = await receiptOf(home, { id, relay })
  return receipt === undefined ? 0n : reservedUnits(receipt)
}
