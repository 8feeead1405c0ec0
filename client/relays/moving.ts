/** What a migration moves: the copies, held against the new relay's own list, and what is taken back from the old one. */
import { reservedUnits } from '../../contracts/receipt.ts'
import { parseAddress, type RelayAddress } from '../../market/address.ts'
import { ceilSatoshi } from '../../market/price.ts'
import type { RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { ClientError, codeOf } from '../errors.ts'
import { type Migration, mostTold, saveMigration } from '../home/migration.ts'
import { type Entry, entries, keepGone, receiptOf, recordOf } from '../home/outbox.ts'
import type { CallOptions } from '../wire/connection.ts'
import { type Copied, type CopyOptions, copyTo } from './copy.ts'
import { recordsAt } from './listing.ts'

/** How often what the new relay does not list is put there again. */
const rounds = 3

export type MoveOptions = CallOptions & Pick<CopyOptions, 'onCost' | 'onProgress'>

/** What lives on the old relay, or should, and is to live on the new one. */
async function living(ctx: Context, state: Migration): Promise<Entry[]> {
  const { key } = parseAddress(state.from)
  const isLive = ({ accepted, deleted, expires }: Entry) =>
    accepted.has(key) && !deleted && expires > ctx.now()
  return [...(await entries(ctx.home)).values()].filter(isLive)
}

/** Copies that nobody needs on the old relay any more are deleted there, which frees what it set aside for them. */
export async function takeBack(ctx: Context, state: Migration, options: CallOptions): Promise<void> {
  const [from, to] = [parseAddress(state.from), parseAddress(state.to)]
  const readers = new Set([ctx.wallet.identity, ...state.friends.map(({ key }) => key)])
  const isCopied = ({ accepted, gone, to: receiver }: Entry) =>
    accepted.has(to.key) && !gone.has(from.key) && readers.has(receiver)
  const connection = ctx.connect(from)
  try {
    for (const { id } of (await living(ctx, state)).filter(isCopied)) {
      const { evidence } = await connection.call({ type: 'delete', recordId: id }, options)
      await keepGone(ctx.home, { id, relay: from.key }, evidence)
    }
  } catch (error) {
    options.signal?.throwIfAborted()
    // They go when they expire.
    if (codeOf(error) === undefined) throw error
  }
}

export async function copyAll(ctx: Context, state: Migration, options: MoveOptions): Promise<Migration> {
  const { key } = parseAddress(state.to)
  const ids = (await living(ctx, state)).filter(({ accepted }) => !accepted.has(key)).map(({ id }) => id)
  return copyIds(ctx, state, ids, options)
}

/** @throws what only money changes, once everything else is there */
async function copyIds(
  ctx: Context,
  state: Migration,
  ids: readonly RecordId[],
  { signal, onCost, onProgress }: MoveOptions,
): Promise<Migration> {
  if (ids.length === 0) return state
  const [from, to] = [parseAddress(state.from), parseAddress(state.to)]
  const call = { signal, onCost, onProgress, maxCost: await leftOf(ctx, state) }
  const done = await copyTo(ctx, ctx.connect(to), { ids, from: from.key }, call)
  const next = told({ ...state, copied: await countCopied(ctx, state) }, done)
  const unpaid = done.unmoved.find(({ code }) => moneyCodes.includes(code))
  if (unpaid === undefined) return next
  await saveMigration(ctx.home, next)
  throw new ClientError('ERR_COST', `${to.url} needs more credit before the rest can move: ${unpaid.error}`)
}

/** Of what the copies may cost, by the receipts of those that are there: whatever was interrupted, nothing counts twice. */
async function leftOf(ctx: Context, state: Migration): Promise<number | undefined> {
  if (state.maxCost === null) return undefined
  const { key: relay } = parseAddress(state.to)
  let spent = 0n
  for (const entry of await living(ctx, state)) {
    if (!entry.accepted.has(relay)) continue
    const [record, receipt] = [
      await recordOf(ctx.home, entry).catch(() => undefined),
      await receiptOf(ctx.home, { id: entry.id, relay }).catch(() => undefined),
    ]
    // What was written since went to both relays by itself.
    const isCopy = record !== undefined && record.msg.timestamp < state.startedMs
    if (isCopy && receipt !== undefined) spent += reservedUnits(receipt)
  }
  return Math.max(0, state.maxCost - Number(ceilSatoshi(spent)))
}

async function countCopied(ctx: Context, state: Migration): Promise<number> {
  const { key } = parseAddress(state.to)
  return (await living(ctx, state)).filter(({ accepted }) => accepted.has(key)).length
}

const moneyCodes = ['ERR_COST', 'ERR_PAYMENT_REQUIRED']

function told(state: Migration, { copied, unmoved }: Copied): Migration {
  const moved = new Set(copied)
  const again = new Set(unmoved.map(({ id }) => id))
  const before = state.unmoved.filter(({ id }) => !moved.has(id) && !again.has(id))
  const all = [...before, ...unmoved]
  const beyond = Math.max(0, state.unmovedCount - state.unmoved.length)
  return {
    ...state,
    unmoved: all.slice(0, mostTold),
    unmovedCount: all.length + beyond,
  }
}

/** Puts back what the new relay signed for and does not list; what it does not list after that is lost there. */
export async function verified(ctx: Context, given: Migration, options: MoveOptions): Promise<Migration> {
  let state = given
  const to = parseAddress(state.to)
  for (let round = 0; ; round++) {
    const live = (await living(ctx, state)).filter(({ accepted }) => accepted.has(to.key))
    const listed = await recordsAt(ctx, ctx.connect(to), { signal: options.signal })
    const lost = live.map(({ id }) => id).filter((id) => !listed.has(id))
    if (lost.length === 0 || round === rounds)
      return { ...state, copied: live.length, lost: lost.slice(0, mostTold) }
    state = await copyIds(ctx, state, lost, options)
  }
}

/** The old relay may be gone: then nobody knows. */
export async function foreignAt(
  ctx: Context,
  from: RelayAddress,
  { signal }: CallOptions,
): Promise<number | null> {
  try {
    const known = await entries(ctx.home)
    const listed = await recordsAt(ctx, ctx.connect(from), { signal, attempts: 1 })
    return [...listed].filter((id) => !known.has(id)).length
  } catch {
    signal?.throwIfAborted()
    return null
  }
}
