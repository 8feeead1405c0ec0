/**
 * Relays held to their word. Every receipt is compared with the offer its record was sent under, whatever arrival the
 * receipt claims, and with the part of the user's bound that is this relay's. A relay that reserves more keeps what it
 * has and gets nothing further of that sending; both its signed words are kept.
 */
import { type Receipt, reservedUnits } from '../../contracts/receipt.ts'
import { ceilSatoshi, quoteUnits, type Wish } from '../../market/price.ts'
import type { RecordId, SealedRecord } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { BrokenWord } from '../errors.ts'
import { type Bound, isBroken, keepBrokenQuote, markBroken } from '../home/outbox.ts'
import type { Connection } from '../wire/connection.ts'
import type { Offer } from './prices.ts'
import { costOf } from './quotes.ts'

/** A record on its way to one relay. */
export interface Upload {
  readonly record: SealedRecord
  readonly connection: Connection
  /** The file that the record is part of: its `file` record. */
  readonly sending?: RecordId | undefined
}

/** What it was sent under and what came back. */
export interface Taken {
  readonly receipt: Receipt
  readonly offer: Offer | undefined
  readonly bound: Bound | undefined
}

/** @throws BrokenWord when the relay reserved too much for an earlier record of the same sending */
export async function checkWord({ home }: Context, { record, connection, sending }: Upload): Promise<void> {
  const { key, url } = connection.address
  const id = sending ?? record.msg.request.recordId
  if (await isBroken(home, { id, relay: key }))
    throw new BrokenWord(
      `${url} reserved more than it had quoted and gets nothing further of this sending: delete ${id} takes back ` +
        'what it has; with another relay the same sending goes on',
    )
}

/** Compares, and where the relay took too much keeps the proof, tells the user, and ends the sending there. */
export async function holdToWord(ctx: Context, upload: Upload, taken: Taken): Promise<void> {
  const { record, connection, sending } = upload
  const { key, url } = connection.address
  const { recordId } = record.msg.request
  const excess = boundExcess(upload, taken) ?? offerExcess(upload, taken)
  if (excess === undefined) return
  if (taken.offer !== undefined)
    await keepBrokenQuote(ctx.home, { id: recordId, relay: key }, taken.offer.evidence)
  if (sending !== undefined) await markBroken(ctx.home, { id: sending, relay: key })
  const { reserved } = taken.receipt.charge
  ctx.notify({ type: 'overcharged', relay: url, recordId, reserved, ...excess })
}

interface Excess {
  /** The most it was to be. */
  readonly quoted: string
  /** The quote was over when the record was taken: dearer than the user was told, though no broken promise. */
  readonly hasEnded: boolean
}

const wishOf = ({ content, maxPulls, msg }: SealedRecord): Wish => ({
  bytes: content.length,
  ttl: msg.request.ttl,
  maxPulls,
})

/**
 * At the receipt's own prices the whole must stay within the part. Costs are in proportion to bytes, so receipts that
 * all pass come to no more than the part together, even if prices changed between them.
 */
function boundExcess({ record, connection }: Upload, { receipt, bound }: Taken): Excess | undefined {
  if (bound === undefined || !('parts' in bound)) return undefined
  const { prices } = receipt.charge
  const part = bound.parts[connection.address.key] ?? 0
  const [whole, own] = [quoteUnits(bound.whole, prices), quoteUnits(wishOf(record), prices)]
  // A receipt that begins before the record was sealed bills storage that nobody gave.
  if (ceilSatoshi(whole) <= part && reservedUnits(receipt) <= own) return undefined
  const share = whole === 0n ? 0n : (BigInt(part) * own) / whole
  return { quoted: String(share), hasEnded: false }
}

function offerExcess({ record, connection }: Upload, { receipt, offer }: Taken): Excess | undefined {
  if (offer === undefined) return undefined
  const quoted = costOf(wishOf(record), offer.prices)
  if (Number(receipt.charge.reserved) <= quoted) return undefined
  const standing = standingOf(offer, {
    sealed: record.msg.timestamp,
    at: receipt.at,
    now: connection.clock.now,
  })
  return standing === undefined ? undefined : { quoted: String(quoted), hasEnded: standing === 'ended' }
}

/**
 * What an offer is to a record that was taken at `at`, as the relay says, its answer being here at `now` by the relay's
 * clock. Undefined where the relay may have taken the record before it made the offer: an answer was lost then.
 */
export function standingOf(
  { from, expires, heard }: Omit<Offer, 'prices' | 'evidence'>,
  { sealed, at, now }: { readonly sealed: number; readonly at: number; readonly now: number },
): 'binding' | 'ended' | undefined {
  // At `expires` itself the next prices may hold already.
  if (from <= at && at < expires) return 'binding'
  if (sealed < heard) return undefined
  return now < expires ? 'binding' : 'ended'
}
