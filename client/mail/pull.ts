/** Reading: what friends put on their relays comes into the inbox, each record once (docs/protocol.md §4.3, §4.4). */
import type { Cursor, Entry } from '../../contracts/api.ts'
import type { RelayAddress } from '../../market/address.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { holds, type Message } from '../home/inbox.ts'
import { unfinishedReads } from '../home/reads.ts'
import { noteTrouble } from '../home/redundancy.ts'
import { friendKeys, friends, relaysOf } from '../people/friends.ts'
import type { Answer } from '../wire/answer.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { isTooFar, PageCheck, resumeAfter } from '../wire/places.ts'
import { eachLimited } from '../wire/retry.ts'
import { takeIn } from './intake.ts'
import { Patience, type Turn } from './patience.ts'
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

/** One owner's records on one relay; `owner` undefined: those of nobody we know. */
interface Stream {
  readonly owner: Key | undefined
  readonly connection: Connection
  position: { cursor: Cursor } | { afterTs: number }
  /** A new epoch was begun: a second one in the same pull is no restored store. */
  restarted: boolean
  readonly pages: PageCheck
  /** What is listed and could be neither read nor found absent: the saved cursor must not pass it. */
  readonly unread: { path: string; error: Error }[]
  done: boolean
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

/** Pulls from every friend's relays at once. One relay's failure is reported and stops no other. */
export async function pull(ctx: Context, options: PullOptions = {}): Promise<Pulled> {
  const all = [...relaysOf(await friends(ctx)).values()]
  return walkAll(
    ctx,
    all.filter(({ address }) => options.only?.(address) ?? true),
    options,
  )
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
  // A record one relay failed to give may have come from another meanwhile.
  if (options.tag === undefined) await Promise.all(streams.map((stream) => settle(ctx, stream)))
  return { messages, asked: groups.length, failures }
}

async function openStream(ctx: Context, connection: Connection, owner: Key | undefined): Promise<Stream> {
  const { key } = connection.address
  const saved = await ctx.home.cursor(key, owner)
  const isLost = saved !== undefined && isTooFar(saved, ctx.now())
  // From such a place nothing would ever be seen; what comes twice is held already.
  if (isLost) await ctx.home.lock(lockOf({ owner }), () => ctx.home.forgetCursor(key, owner))
  const position = saved === undefined || isLost ? { afterTs: 0 } : { cursor: saved }
  return { owner, connection, position, restarted: false, pages: new PageCheck(), unread: [], done: false }
}

/** Page by page, one batch for all streams of a relay, until every stream is at its end. */
async function walk(all: Walk): Promise<void> {
  const { connection, streams, options, turn } = all
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
      else if (!startOver(all, stream, outcome.error)) throw outcome.error
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

const lockOf = ({ owner }: Pick<Stream, 'owner'>): string => `pull-${owner ?? 'strangers'}`

/** A restored store starts a new epoch and says from when on to ask; at most once per pull. */
function startOver({ ctx }: Walk, stream: Stream, error: Error): boolean {
  if (stream.restarted || !('cursor' in stream.position)) return false
  const start = resumeAfter(error, stream.position.cursor, ctx.now())
  if (start === undefined) return false
  stream.position = start
  stream.restarted = true
  return true
}

async function takePage(all: Walk, stream: Stream, { reply }: Answer<'inventory'>): Promise<void> {
  const { home, now } = all.ctx
  stream.pages.take({ reply, limit: pageEntries, now: now() })
  const { result, cursor, more } = reply
  const { owner, connection } = stream
  const entries: readonly (string | Entry)[] = result
  const wanted = entries.filter((entry) => isWanted(entry, owner, readerOf(all)))
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

async function settle(ctx: Context, { owner, connection, position, unread }: Stream): Promise<void> {
  if (unread.length === 0) return
  const held = await Promise.all(unread.map(({ path }) => holds(ctx.home, path)))
  const still = unread.filter((_, index) => !held[index])
  for (const { path, error } of still) ctx.notify({ type: 'record-unread', path, error })
  if (still.length > 0 || !('cursor' in position)) return
  const { cursor } = position
  await ctx.home.lock(lockOf({ owner }), () => ctx.home.advance(connection.address.key, owner, cursor))
}
