/** Everything the user follows as one list: public posts and channels, the newest last. */
import type { RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { parsePath, type RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { type KeptChannel, keptChannels, walletOf } from '../home/channels.ts'
import { feedState, type GonePost, type KeptPost, ownersRead } from '../home/feeds.ts'
import type { Message } from '../home/inbox.ts'
import { friends } from '../people/friends.ts'
import { lastMoves } from '../mail/moves.ts'
import { fromKeyWallet, type Wallet } from '../wallet.ts'
import type { CallOptions } from '../wire/connection.ts'
import { eachLimited } from '../wire/retry.ts'
import { followed } from './follows.ts'
import { asReader, everybody } from './reader.ts'
import { openPost, refresh, type Refreshed } from './refresh.ts'

export const feedReadLimits = {
  /** Feeds that are brought up to date at once. */
  atOnce: 4,
  /** An old key of a channel is read with until so long after the next one came: posts under way may come late. */
  oldKeyMs: 31 * 86_400_000,
  /** The newest keys of a channel that are read with. */
  keys: 8,
  /** Shown unless more are wanted. */
  shown: 1000,
} as const

/** Where a post was: among public ones, or in the channel `name` of `owner`. */
export interface Place {
  readonly channel?: { readonly owner: Key; readonly name: string }
}

/** A post as its reader sees it. Text in it was chosen by its writer: it is not fit for a terminal as it is. */
export type FeedPost = Place & Omit<Message, 'bytes'> & { readonly state: 'here' }
/** A post that nobody gives away any more, of about `sentMs`. */
export type LostPost = Place & {
  readonly state: 'gone'
  readonly id: RecordId
  readonly from: Key
  readonly sentMs: number
  readonly why: GonePost['why']
}
export type FeedItem = FeedPost | LostPost

export interface FeedOptions {
  /** This channel only. */
  readonly channel?: Pick<KeptChannel, 'owner' | 'name'> | undefined
}

/** One who reads: as key 1, or with one key of a channel; and whom, where their relays are known. */
export interface Source extends Place {
  readonly reader: Wallet
  readonly writers: readonly { readonly owner: Key; readonly relays: readonly RelayAddress[] }[]
}

/** What all feeds came to. One feed's failure stops no other. */
export type FeedsRefreshed = Refreshed & { readonly asked: number }

/** Reads what is new of everybody who is followed and in every channel. @throws ERR_DAMAGED, ERR_LOCKED */
export async function refreshFeeds(
  ctx: Context,
  what: FeedOptions,
  options: CallOptions,
): Promise<FeedsRefreshed> {
  const { quiet, tell } = lastMoves(ctx)
  const all = (await sources(ctx, what)).flatMap(({ reader, writers }) => {
    const as = asReader(quiet, reader)
    return writers.map((feed) => ({ as, feed }))
  })
  const done: Refreshed[] = []
  await eachLimited(all, feedReadLimits.atOnce, async ({ as, feed }) => {
    done.push(await refresh(as, feed, options))
  }).finally(tell)
  const failures = new Map(done.flatMap((one) => one.failures).map((failure) => [failure.relay, failure]))
  return {
    asked: new Set(all.flatMap(({ feed }) => feed.relays.map(({ url }) => url))).size,
    posts: done.reduce((sum, { posts }) => sum + posts, 0),
    gone: done.flatMap(({ gone }) => gone),
    lacking: done.flatMap(({ lacking }) => lacking),
    failures: [...failures.values()],
  }
}

/** What is here, the newest last, at most `limit`, without asking anybody. */
export async function feedItems(
  ctx: Context,
  { limit = feedReadLimits.shown, ...what }: FeedOptions & { readonly limit?: number | undefined },
): Promise<FeedItem[]> {
  let newest: { sentMs: number; open: () => Promise<FeedItem> }[] = []
  for (const source of await sources(ctx, what, { isEverything: true })) {
    const { reader, writers, channel } = source
    const place = channel && { channel }
    for (const { owner } of writers) {
      const { posts, gone } = await feedState(ctx.home, { reader: reader.identity, owner })
      const here = posts.map((post) => ({
        // Nobody stays at the end of the list by a date to come.
        sentMs: Math.min(post.sentMs, post.receivedMs),
        open: () => itemOf(post, source),
      }))
      const lost = gone.map(({ id, atMs, why }) => {
        const item = { state: 'gone' as const, ...place, id, from: owner, sentMs: atMs, why }
        return { sentMs: atMs, open: async () => item }
      })
      // Feed by feed, so that no more of them is held in memory than is shown.
      newest = [...newest, ...here, ...lost].sort((a, b) => a.sentMs - b.sentMs).slice(-limit)
    }
  }
  return Promise.all(newest.map(({ open }) => open()))
}

export async function itemOf(
  post: KeptPost,
  { reader, channel }: Pick<Source, 'reader' | 'channel'>,
): Promise<FeedPost> {
  const { bytes: _, ...message } = await openPost({ wallet: reader }, post)
  return { state: 'here', ...(channel && { channel }), ...message }
}

/** A post that is here, who reads it, and where its writer's records are. @throws ERR_NOT_FOUND */
export async function findPost(
  ctx: Context,
  id: RecordId,
): Promise<{ as: Context; post: KeptPost; relays: readonly RelayAddress[] }> {
  for (const { reader, writers } of await sources(ctx, {}, { isEverything: true })) {
    for (const { owner, relays } of writers) {
      const { posts } = await feedState(ctx.home, { reader: reader.identity, owner })
      const post = posts.find(({ path }) => parsePath(path).recordId === id)
      if (post !== undefined) return { as: asReader(ctx, reader), post, relays }
    }
  }
  throw new MarketError('ERR_NOT_FOUND', `there is no post ${id} here`)
}

/** `isEverything`: with all old keys and former members, to show what is here. */
export async function sources(
  ctx: Context,
  { channel }: FeedOptions,
  { isEverything = false } = {},
): Promise<Source[]> {
  const follows = await followed(ctx)
  const known = new Map<Key, readonly RelayAddress[]>()
  for (const { key, relays } of [...follows, ...(await friends(ctx))]) known.set(key, relays)
  const all: Source[] = []
  // Own posts are kept as they are posted, and never asked for.
  const own = isEverything ? [{ owner: ctx.wallet.identity, relays: [] }] : []
  if (channel === undefined)
    all.push({
      reader: everybody,
      writers: [...follows.map(({ key, relays }) => ({ owner: key, relays })), ...own],
    })
  for (const one of await keptChannels(ctx.home)) {
    if (channel !== undefined && (one.owner !== channel.owner || one.name !== channel.name)) continue
    const place = { owner: one.owner, name: one.name }
    for (const key of isEverything ? one.keys : keysInUse(one, ctx.now())) {
      const reader = fromKeyWallet(walletOf(key))
      const owners = isEverything
        ? await ownersRead(ctx.home, reader.identity)
        : [one.owner, ...one.members].filter((owner) => owner !== ctx.wallet.identity)
      const writers = owners.map((owner) => ({ owner, relays: known.get(owner) ?? [] }))
      all.push({ channel: place, reader, writers: isEverything ? writers : writers.filter(hasRelays) })
    }
  }
  return all
}

const hasRelays = ({ relays }: { readonly relays: readonly RelayAddress[] }): boolean => relays.length > 0

/** The key of now, and those before it for as long as posts under them may be under way; who was removed has none of now. */
function keysInUse({ keys, removed }: KeptChannel, now: number): KeptChannel['keys'] {
  const newest = keys.slice(-feedReadLimits.keys)
  return newest.filter((_, index) => {
    const next = newest[index + 1] ?? removed
    return next === undefined || next.sinceMs + feedReadLimits.oldKeyMs > now
  })
}
