/** Putting kept records on a relay, in their own bytes: `store` of what the outbox has, priced before, bounded, gone on with. */
import { reservedUnits } from '../../contracts/receipt.ts'
import { ceilSatoshi, quoteUnits, type Wish } from '../../market/price.ts'
import type { RecordId } from '../../market/record.ts'
import type { Key, Prices } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError, codeOf, isRetryable, messageOf, Refused } from '../errors.ts'
import type { Progress } from '../files/transfer.ts'
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
  readonly onProgress?: ((progress: Progress) => void) | undefined
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
  { maxCost, onCost, onProgress, ...options }: CopyOptions,
): Promise<Copied> {
  const { url } = connection.address
  const { wanted, unmoved } = await inOutbox(ctx, ids)
  const cost = await costOf(ctx, connection, wanted, options)
  onCost?.(cost)
  const { satoshis } = cost
  if (maxCost !== undefined && (satoshis === null || Number(satoshis) > maxCost))
    throw new ClientError(
      'ERR_COST',
      `this costs ${satoshis === null ? 'nobody knows what' : `up to ${satoshis} satoshi`} on ${url}, and ${maxCost} are allowed`,
    )
  const partOf = await sendings(ctx.home)
  const copied: RecordId[] = []
  let [spent, doneBytes] = [0n, 0]
  await eachLimited(wanted, outboxLimits.inFlight, async ({ entry, wish }) => {
    options.signal?.throwIfAborted()
    try {
      if (maxCost !== undefined && Number(ceilSatoshi(spent)) > maxCost)
        throw new ClientError('ERR_COST', `${url} reserved more than it had quoted`)
      spent += await copyOne(ctx, connection, { entry, from, sending: partOf.get(entry.id) }, options)
      copied.push(entry.id)
    } catch (error) {
      if (!isOfRecord(error)) throw error
      unmoved.push(told(entry.id, error as Error))
    }
    doneBytes += wish.bytes
    onProgress?.({ direction: 'sending', name: `to ${url}`, doneBytes, totalBytes: cost.bytes })
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

/** A record that is here, with what its price depends on. */
interface Wanted {
  readonly entry: Entry
  readonly wish: Wish
}

/** Those of them whose records are here; what is damaged is unmoved. */
async function inOutbox(
  { home }: Context,
  ids: readonly RecordId[],
): Promise<{ wanted: Wanted[]; unmoved: Unmoved[] }> {
  const known = await entries(home)
  const [wanted, unmoved]: [Wanted[], Unmoved[]] = [[], []]
  for (const id of ids) {
    const entry = known.get(id)
    if (entry === undefined) continue
    const record = await recordOf(home, entry).catch((error: Error) => void unmoved.push(told(id, error)))
    if (record === undefined) continue
    const { content, msg, maxPulls } = record
    wanted.push({ entry, wish: { bytes: content.length, ttl: msg.request.ttl, maxPulls } })
  }
  return { wanted, unmoved }
}

/** What all of them cost at most from now on until each expires, at the prices of the relay's quote for the largest. */
async function costOf(
  ctx: Context,
  connection: Connection,
  wanted: readonly Wanted[],
  options: CallOptions,
): Promise<CopyCost> {
  const bytes = wanted.reduce((sum, { wish }) => sum + wish.bytes, 0)
  const about = { relay: connection.address.url, records: wanted.length, bytes }
  const [largest] = wanted.toSorted((a, b) => b.wish.bytes - a.wish.bytes)
  if (largest === undefined) return { ...about, satoshis: '0' }
  const prices = await pricesFor(ctx, connection, largest.wish, options)
  if (prices === undefined) return { ...about, satoshis: null }
  const units = wanted.map(({ entry, wish }) => {
    const ttl = Math.max(1, Math.ceil((entry.expires - ctx.now()) / 1000))
    return quoteUnits({ ...wish, ttl }, prices)
  })
  return { ...about, satoshis: String(ceilSatoshi(units.reduce((sum, one) => sum + one, 0n))) }
}

/** Undefined where the relay gives no quotes. */
async function pricesFor(
  ctx: Context,
  connection: Connection,
  wish: Wish,
  options: CallOptions,
): Promise<Prices | undefined> {
  try {
    return (await ctx.prices.ask(connection, wish, options)).prices
  } catch (error) {
    if (codeOf(error) !== 'ERR_UNSUPPORTED') throw error
    return undefined
  }
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
