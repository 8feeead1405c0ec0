/** Reading: what friends put on their relays comes into the inbox, each record once (docs/protocol.md §4.3, §4.4). */
import type { Cursor, Entry } from '../contracts/api.ts'
import { formatAddress, type RelayAddress } from '../market/address.ts'
import { parsePath } from '../market/record.ts'
import type { Key } from '../market/units.ts'
import type { Answer } from './answer.ts'
import type { CallOptions, Connection } from './connection.ts'
import type { Context } from './context.ts'
import { Refused } from './errors.ts'
import { friends } from './friends.ts'
import { holds, type Message } from './inbox.ts'
import { takeIn } from './intake.ts'
import { unfinishedReads } from './reads.ts'
import { eachLimited } from './retry.ts'
import { chunkTag } from './tags.ts'

/** A page holds the owner's lock while it is read, so it is no larger than what others can wait for. */
export const pageEntries = 100
export const pagesPerPull = 100_000

export interface PullOptions extends CallOptions {
  /** Only these relays; all of all friends otherwise. */
  readonly only?: (address: RelayAddress) => boolean
  /** Called as soon as a record is in the inbox, in the order of arrival there. */
  readonly onMessage?: (message: Message) => void
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
  /** What is listed and could be neither read nor found absent: the saved cursor must not pass it. */
  readonly unread: { path: string; error: Error }[]
  done: boolean
}

/** Pulls from every friend's relays at once. One relay's failure is reported and stops no other. */
export async function pull(ctx: Context, options: PullOptions = {}): Promise<Pulled> {
  const groups = new Map<string, { address: RelayAddress; owners: Key[] }>()
  for (const { key, relays } of await friends(ctx.home)) {
    for (const address of relays) {
      const group = groups.get(formatAddress(address)) ?? { address, owners: [] }
      groups.set(formatAddress(address), { address, owners: [...group.owners, key] })
    }
  }
  const wanted = [...groups.values()].filter(({ address }) => options.only?.(address) ?? true)
  return walkAll(ctx, wanted, options)
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
  const messages: Message[] = []
  const failures: { relay: string; error: Error }[] = []
  const onMessage = (message: Message) => {
    messages.push(message)
    options.onMessage?.(message)
  }
  const walks = groups.map(async ({ address, owners }) => {
    const connection = ctx.connect(address)
    const streams = await Promise.all(owners.map((owner) => openStream(ctx, connection, owner)))
    try {
      await walk(ctx, connection, streams, { ...options, onMessage })
    } catch (error) {
      failures.push({ relay: address.url, error: error as Error })
    }
    return streams
  })
  const streams = (await Promise.all(walks)).flat()
  options.signal?.throwIfAborted()
  // A record one relay failed to give may have come from another meanwhile.
  await Promise.all(streams.map((stream) => settle(ctx, stream)))
  return { messages, asked: groups.length, failures }
}

async function openStream(ctx: Context, connection: Connection, owner: Key | undefined): Promise<Stream> {
  const cursor = await ctx.home.cursor(connection.address.key, owner)
  const position = cursor === undefined ? { afterTs: 0 } : { cursor }
  return { owner, connection, position, unread: [], done: false }
}

/** Page by page, one batch for all streams of a relay, until every stream is at its end. */
async function walk(
  ctx: Context,
  connection: Connection,
  streams: readonly Stream[],
  options: PullOptions & { onMessage: (message: Message) => void },
): Promise<void> {
  const { features } = await connection.info(options.signal)
  await finishReads(ctx, connection, streams, options)
  for (let page = 0; page < pagesPerPull; page++) {
    options.signal?.throwIfAborted()
    const open = streams.filter(({ done }) => !done)
    if (open.length === 0) return
    const requests = open.map(({ owner, position }) => ({
      type: 'inventory' as const,
      ...position,
      limit: pageEntries,
      ...(owner !== undefined && { owner: [owner] }),
      ...(features.includes('detail') && { detail: true }),
    }))
    const outcomes = await connection.callBatch(requests, options)
    await eachLimited(outcomes.entries(), 4, async ([index, outcome]) => {
      const stream = open[index]! // one outcome for each
      if ('answer' in outcome) await takePage(ctx, stream, outcome.answer, options)
      else if (!startOver(stream, outcome.error)) throw outcome.error
    })
  }
}

/** A read that a kill cut off may have been the last pull, so that nothing is listed: it is asked again first. */
async function finishReads(
  ctx: Context,
  connection: Connection,
  streams: readonly Stream[],
  options: PullOptions & { onMessage: (message: Message) => void },
): Promise<void> {
  const paths = await unfinishedReads(ctx.home, connection.address.key)
  for (const stream of streams) {
    const wanted = await filterAsync(paths, (path) => isWanted(ctx, stream, path))
    if (wanted.length === 0) continue
    await ctx.home.lock(lockOf(stream), () => readAll(ctx, stream, wanted, options), {
      signal: options.signal,
    })
  }
}

async function filterAsync<T>(items: readonly T[], keep: (item: T) => Promise<boolean>): Promise<T[]> {
  const kept = await Promise.all(items.map(keep))
  return items.filter((_, index) => kept[index])
}

const lockOf = ({ owner }: Pick<Stream, 'owner'>): string => `pull-${owner ?? 'strangers'}`

/** A restored store starts a new epoch and says from when on to ask; at most once per pull. */
function startOver(stream: Stream, error: Error): boolean {
  const isNewEpoch = error instanceof Refused && error.code === 'ERR_EXPIRED' && 'cursor' in stream.position
  if (!isNewEpoch) return false
  const { resumeTs } = error.extras
  stream.position = { afterTs: typeof resumeTs === 'number' ? resumeTs : 0 }
  return true
}

async function takePage(
  ctx: Context,
  stream: Stream,
  { reply: { result, cursor, more } }: Answer<'inventory'>,
  options: PullOptions & { onMessage: (message: Message) => void },
): Promise<void> {
  const { home } = ctx
  const { owner, connection } = stream
  const wanted = await filterAsync<string | Entry>(result, (entry) => isWanted(ctx, stream, entry))
  const paths = wanted.map((entry) => (typeof entry === 'string' ? entry : entry.path))
  const isMoved = !('cursor' in stream.position) || stream.position.cursor !== cursor
  if (isMoved || paths.length > 0) {
    // Reading, keeping and moving the cursor are one step for all processes: nobody pays for a second pull.
    await home.lock(
      lockOf(stream),
      async () => {
        await readAll(ctx, stream, paths, options)
        if (stream.unread.length === 0) await home.advance(connection.address.key, owner, cursor)
      },
      { signal: options.signal },
    )
  }
  stream.position = { cursor }
  stream.done = !more
}

/** Whether an entry of a list is for us, from who was asked for, and not a chunk. */
export async function isWanted(
  ctx: Context,
  { owner }: Pick<Stream, 'owner'>,
  entry: string | Entry,
): Promise<boolean> {
  // Chunks are read when the file they belong to is fetched.
  if (typeof entry !== 'string' && entry.tag === chunkTag) return false
  const path = parsePath(typeof entry === 'string' ? entry : entry.path)
  if (path.receiver !== ctx.wallet.identity) return false
  if (owner !== undefined) return path.owner === owner
  const isKnown = (await friends(ctx.home)).some(({ key }) => key === path.owner)
  return !isKnown && path.owner !== ctx.wallet.identity
}

async function readAll(
  ctx: Context,
  stream: Stream,
  paths: readonly string[],
  options: PullOptions & { onMessage: (message: Message) => void },
): Promise<void> {
  const { connection, owner } = stream
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
    options.onMessage(await takeIn(ctx, arrived, { isFriend: owner !== undefined, at: connection.address }))
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
