/** Reading: what friends put on their relays comes into the inbox, each record once (docs/protocol.md §4.3, §4.4). */
import type { Entry } from '../../contracts/api.ts'
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { holds, type Message } from '../home/inbox.ts'
import { unfinishedReads } from '../home/reads.ts'
import { noteTrouble } from '../home/redundancy.ts'
import { friendKeys, friends, type FriendsRelay, relaysOf } from '../people/friends.ts'
import type { Answer } from '../wire/answer.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { eachLimited } from '../wire/retry.ts'
import { isInBox, tellOfBoxes } from './boxes.ts'
import { takeIn } from './intake.ts'
import { lastMoves } from './moves.ts'
import { Patience, type Turn } from './patience.ts'
import { lockOf, openStream, settle, startOver, type Stream } from './stream.ts'
import { isWanted, type Reader } from './wanted.ts'

/** A page holds the owner's lock while it is read, so it is no larger than what others can wait for. */
export const pageEntries = 100
/** Where a relay's lists are longer, the next pull goes on. */
export const pagesPerPull = 1000

export interface PullOptions extends CallOptions {
  /** Only these relays; all of all friends otherwise. */
  readonly only?: (address: RelayAddress) => boolean
  /** Called as soon as a record is in the inbox, in the order of arrival there. */
  readonly onMessage?: (message: Message) => void
  /** Only records with this tag. The others stay to be pulled: places are of all records, so none is kept. */
  readonly tag?: string
  /** How long a relay may be silent once others have given all that its owners have there. */
  readonly patienceMs?: number | undefined
}

export interface Pulled {
  readonly messages: readonly Message[]
  readonly asked: number
  readonly failures: readonly { relay: string; error: Error }[]
}

/** One pass over one relay: what its steps share. */
interface Walk {
  readonly ctx: Context
  readonly connection: Connection
  readonly streams: readonly Stream[]
  /** As they were when the pull began. */
  readonly friends: ReadonlySet<Key>
  readonly options: PullOptions
  readonly onMessage: (message: Message) => void
  readonly turn: Turn
}

/**
 * Pulls from every friend's relays at once, then from those that friends are found to have moved to. One relay's failure is
 * reported and stops no other.
 */
export async function pull(ctx: Context, options: PullOptions = {}): Promise<Pulled> {
  const { quiet, tell } = lastMoves(ctx)
  try {
    const first = await plan(ctx, options)
    const done = await walkAll(quiet, first, options)
    const learned = newIn(await plan(quiet, options), first)
    return learned.length === 0 ? done : both(done, await walkAll(quiet, learned, options))
  } finally {
    tell()
  }
}

async function plan(ctx: Context, { only = () => true }: PullOptions): Promise<FriendsRelay[]> {
  return [...relaysOf(await friends(ctx)).values()].filter(({ address }) => only(address))
}

/** Whose relays were not among the former ones. */
function newIn(now: readonly FriendsRelay[], former: readonly FriendsRelay[]): FriendsRelay[] {
  const before = new Map(former.map(({ address, owners }) => [formatAddress(address), owners]))
  return now
    .map(({ address, owners }) => {
      const known = before.get(formatAddress(address)) ?? []
      return { address, owners: owners.filter((owner) => !known.includes(owner)) }
    })
    .filter(({ owners }) => owners.length > 0)
}

function both(one: Pulled, other: Pulled): Pulled {
  return {
    messages: [...one.messages, ...other.messages],
    asked: one.asked + other.asked,
    failures: [...one.failures, ...other.failures],
  }
}

/** Pulls what people who are no friends put on these relays for us. */
export async function pullStrangers(
  ctx: Context,
  relays: readonly RelayAddress[],
  options: PullOptions = {},
): Promise<Pulled> {
  return walkAll(
    ctx,
    relays.map((address) => ({ address, owners: [undefined] })),
    options,
  )
}

async function walkAll(
  ctx: Context,
  groups: readonly { address: RelayAddress; owners: readonly (Key | undefined)[] }[],
  options: PullOptions,
): Promise<Pulled> {
  const known = await friendKeys(ctx)
  const messages: Message[] = []
  const failures: { relay: string; error: Error }[] = []
  const onMessage = (message: Message) => {
    messages.push(message)
    options.onMessage?.(message)
  }
  const patience = new Patience(groups, options)
  const walks = groups.map(async ({ address, owners }) => {
    const connection = ctx.connect(address)
    const streams = await Promise.all(owners.map((owner) => openStream(ctx, connection, owner)))
    const turn = patience.begin(address)
    try {
      const calls = { ...options, signal: turn.signal }
      const friends = new Set(known).add(address.key) // a relay that speaks for itself is no stranger
      await walk({ ctx, connection, streams, friends, options: calls, onMessage, turn })
      turn.done()
    } catch (error) {
      failures.push({ relay: address.url, error: error as Error })
      if (options.signal?.aborted !== true) await noteTrouble(ctx.home, address.key, error, ctx.now())
    }
    return streams
  })
  const streams = (await Promise.all(walks).finally(() => patience.end())).flat()
  options.signal?.throwIfAborted()
  if (options.tag === undefined) await Promise.all(streams.map((stream) => settle(ctx, stream)))
  return { messages, asked: groups.length, failures }
}

/** Page by page, one batch for all streams of a relay, until every stream is at its end. */
async function walk(all: Walk): Promise<void> {
  const { ctx, connection, streams, options, turn } = all
  turn.asks()
  const { features } = await connection.info(options.signal)
  turn.heard()
  if (options.tag === undefined) await finishReads(all)
  for (let page = 0; page < pagesPerPull; page++) {
    options.signal?.throwIfAborted()
    const open = streams.filter(({ done }) => !done)
    if (open.length === 0) return
    const requests = open.map(({ owner, position }) => ({
      type: 'inventory' as const,
      ...position,
      limit: pageEntries,
      // Where they are not offered we are sent more than we want, and know less of it.
      ...(owner !== undefined && features.includes('owner') && { owner: [owner] }),
      ...(features.includes('detail') && { detail: true }),
      ...(options.tag !== undefined && { tag: options.tag }),
    }))
    turn.asks()
    const outcomes = await connection.callBatch(requests, options)
    turn.heard()
    await eachLimited(outcomes.entries(), 4, async ([index, outcome]) => {
      const stream = open[index]! // one outcome for each
      if ('answer' in outcome) await takePage(all, stream, outcome.answer)
      else if (!startOver(ctx, stream, outcome.error)) throw outcome.error
    })
  }
  const { url } = connection.address
  throw new ClientError('ERR_UNTRUSTED', `the list of ${url} has no end; the next pull goes on from here`)
}

/** A read that a kill cut off may have been the last pull, so that nothing is listed: it is asked again first. */
async function finishReads(all: Walk): Promise<void> {
  const { ctx, connection, streams, options } = all
  const paths = await unfinishedReads(ctx.home, connection.address.key)
  for (const stream of streams) {
    const wanted = paths.filter((path) => isWanted(path, stream.owner, readerOf(all)))
    if (wanted.length === 0) continue
    await ctx.home.lock(lockOf(stream), () => readAll(all, stream, wanted), { signal: options.signal })
  }
}

async function takePage(all: Walk, stream: Stream, { reply }: Answer<'inventory'>): Promise<void> {
  const { home, now } = all.ctx
  stream.pages.take({ reply, limit: pageEntries, now: now() })
  const { result, cursor, more } = reply
  const { owner, connection } = stream
  const entries: readonly (string | Entry)[] = result
  const wanted = entries.filter((entry) => isWanted(entry, owner, readerOf(all)))
  if (entries.some(isInBox)) await tellOfBoxes(all.ctx, connection)
  const paths = wanted.map((entry) => (typeof entry === 'string' ? entry : entry.path))
  const isMoved = !('cursor' in stream.position) || stream.position.cursor !== cursor
  if (isMoved || paths.length > 0) {
    // Reading, keeping and moving the cursor are one step for all processes: nobody pays for a second pull.
    const takeAll = async () => {
      await readAll(all, stream, paths)
      if (stream.unread.length === 0 && all.options.tag === undefined)
        await home.advance(connection.address.key, owner, cursor)
    }
    await home.lock(lockOf(stream), takeAll, { signal: all.options.signal })
  }
  stream.position = { cursor }
  stream.done = !more
}

const readerOf = ({ ctx, friends }: Walk): Reader => ({ self: ctx.wallet.identity, friends })

async function readAll(
  { ctx, connection, options, onMessage }: Walk,
  stream: Stream,
  paths: readonly string[],
): Promise<void> {
  const held = await Promise.all(paths.map((path) => holds(ctx.home, path)))
  const missing = paths.filter((_, index) => !held[index])
  const outcomes = await connection.callBatch(
    missing.map((path) => ({ type: 'read' as const, path })),
    options,
  )
  for (const [index, outcome] of outcomes.entries()) {
    const path = missing[index]! // one outcome for each
    if ('error' in outcome) {
      stream.unread.push({ path, error: outcome.error })
      continue
    }
    const { record, re } = outcome.answer
    if (record === undefined) continue // expired, deleted or used up since it was listed
    const arrived = { record, re, relay: connection.address.key, receivedMs: ctx.now() }
    const isFriend = stream.owner !== undefined
    onMessage(await takeIn(ctx, arrived, { isFriend, at: connection.address }))
    await connection.finishRead(path)
  }
}
