/** How the sending of a file begins: what it consists of, and what it may cost. */
import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import type { Context } from '../context.ts'
import { named } from '../home/durable.ts'
import { chunkCount, largestCount, type Outgoing, saveOutgoing } from '../home/outgoing.ts'
import { newRecordId, outboxLimits } from '../mail/post.ts'
import { type CostOptions, agreeBound } from '../money/bound.ts'
import { chosenRelays, type Chosen, type Wanted } from '../people/choice.ts'
import { ownRelays } from '../people/relays.ts'
import { chunkBytesFor, fileLoad } from './chunks.ts'
import type { TransferOptions } from './transfer.ts'

export interface FileOptions extends TransferOptions, CostOptions, Wanted {
  readonly tag?: string | undefined
  readonly ttlSeconds?: number | undefined
  readonly maxPulls?: number | undefined
}

/** Plans a sending, settles what it may cost, and keeps it. @throws ERR_COST, and as `plan` */
export async function begin(
  ctx: Context,
  what: Pick<Outgoing, 'to' | 'source'>,
  options: FileOptions,
): Promise<Outgoing> {
  const { keep, quorum } = options
  const { relays } = await chosenRelays(ctx, { keep, quorum })
  const chosen = {
    ...(keep !== undefined && { relays: relays.map(({ key }) => key) }),
    ...(quorum !== undefined && { quorum }),
  }
  const planned = { ...(await plan(ctx, what, options)), ...chosen }
  const bound = await agreeBound(
    ctx,
    { relays: await askedFor(ctx, planned), load: fileLoad(planned) },
    options,
  )
  const transfer = { ...planned, ...(bound && { bound }) }
  await saveOutgoing(ctx.home, transfer)
  return transfer
}

/** The relays whose prices say what it may cost: those chosen for it, else all, of which any may get a record. */
const askedFor = async (ctx: Context, transfer: Outgoing) =>
  transfer.relays === undefined ? ownRelays(ctx) : (await placesOf(ctx, transfer)).relays

/** Where its records go. Once those that were chosen for it are all left, where everything goes. */
export async function placesOf(ctx: Context, { relays: wanted = [] }: Outgoing): Promise<Chosen> {
  const own = await ownRelays(ctx)
  const relays = own.filter(({ key }) => wanted.includes(key))
  if (relays.length === 0) return chosenRelays(ctx)
  return { relays, spares: own.filter(({ key }) => !wanted.includes(key)) }
}

/** What it may cost was settled when it began; it is asked again only to be shown. */
export async function goOn(ctx: Context, begun: Outgoing, options: FileOptions): Promise<Outgoing> {
  const { maxCost, maxSpend, keep, quorum, ...others } = options
  const { bound, source, id } = begun
  const isOther = (given: number | undefined, before: number | undefined) =>
    given !== undefined && given !== before
  if (isOther(keep, begun.relays?.length) || isOther(quorum, begun.quorum))
    throw new MarketError(
      'ERR_CONFLICT',
      `the sending of ${source} began with other numbers of relays: go on with those, or delete ${id} and begin again`,
    )
  checkSame(begun, 'at any cost', [maxCost, bound && 'maxCost' in bound ? bound.maxCost : undefined])
  checkSame(begun, 'without limit to what is signed over', [maxSpend, bound?.maxSpend])
  await agreeBound(ctx, { relays: await askedFor(ctx, begun), load: fileLoad(begun) }, others)
  return begun
}

/** @throws ERR_CONFLICT where another bound is given than it began with */
function checkSame(
  { source, id }: Outgoing,
  none: string,
  [given, before]: readonly [given: number | undefined, before: number | undefined],
): void {
  if (given === undefined || given === before) return
  const how = before === undefined ? none : `at ${before} satoshi at most`
  throw new MarketError(
    'ERR_CONFLICT',
    `the sending of ${source} began ${how}: go on with that, or delete ${id} and begin again`,
  )
}

/** The sending that would begin now. @throws ERR_NOT_FOUND, ERR_MALFORMED, ERR_TOO_LARGE */
export async function plan(
  ctx: Context,
  { to, source }: Pick<Outgoing, 'to' | 'source'>,
  options: FileOptions,
): Promise<Outgoing> {
  // Looked at before it is opened: the opening of a pipe may wait for ever.
  const found = await named(source, stat(source))
  if (!found.isFile()) throw new MarketError('ERR_MALFORMED', `${source} is not a file with bytes to send`)
  const { size, mtimeMs } = found
  const transfer: Outgoing = {
    id: newRecordId(),
    state: 'sending',
    seed: toHex(randomBytes(32)),
    ...{ to, source, size, modifiedMs: mtimeMs },
    chunkBytes: await chunkBytesFor(ctx, options.signal),
    ttlSeconds: options.ttlSeconds ?? outboxLimits.ttlSeconds,
    tag: options.tag ?? '',
    maxPulls: options.maxPulls ?? null,
    createdMs: ctx.now(),
  }
  if (chunkCount(transfer) > largestCount(transfer))
    throw new MarketError('ERR_TOO_LARGE', `${source} is too large to be sent in one file`)
  return transfer
}
