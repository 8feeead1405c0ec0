/**
 * A feed brought up to date: what all relays of its owner list is merged, read once, verified and kept, and what one of them
 * does not say is found by the others, and by posts that name the one before.
 */
import type { Cursor } from '../../contracts/api.ts'
import type { RelayAddress } from '../../market/address.ts'
import { decodeRecord, formatPath, parsePath, type RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import {
  isFull,
  feedLock,
  type FeedState,
  feedState,
  type GonePost,
  type KeptPost,
  saveFeed,
} from '../home/feeds.ts'
import { openArrival } from '../home/inbox.ts'
import { entries, recordOf } from '../home/outbox.ts'
import type { CallOptions } from '../wire/connection.ts'
import { type Fetched, fetchPosts } from './fetch.ts'
import { type Listed, listNew, type Post } from './list.ts'
import { updateFollow } from './follows.ts'
import { type Found, type Lacking, lackingIn, merge } from './merge.ts'

export const refreshLimits = {
  /** Kept together: what a kill may make read again, which relays do not count. */
  readAtOnce: 50,
  /** Content bytes of a post; what is larger is a file. */
  postBytes: 64 * 1024,
  /** Posts that only other posts speak of, in one refresh. */
  searched: 16,
} as const

/** One owner's posts to the reader that `Context` is of. */
export interface Feed {
  readonly owner: Key
  readonly relays: readonly RelayAddress[]
}

export interface Refreshed {
  /** New here. */
  readonly posts: number
  readonly gone: readonly GonePost[]
  readonly lacking: readonly Lacking[]
  readonly failures: readonly { readonly relay: string; readonly error: Error }[]
}

/** @throws ERR_LOCKED, ERR_DAMAGED; what relays fail with is returned */
export function refresh(ctx: Context, feed: Feed, options: CallOptions): Promise<Refreshed> {
  const name = { reader: ctx.wallet.identity, owner: feed.owner }
  return ctx.home.lock(feedLock(name), () => new Refresh(ctx, feed, options).run(), {
    signal: options.signal,
  })
}

class Refresh {
  readonly #ctx: Context
  readonly #feed: Feed
  readonly #options: CallOptions
  readonly #failures: { relay: string; error: Error }[] = []
  readonly #gone: GonePost[] = []
  #state: FeedState = { cursors: {}, posts: [], gone: [] }
  #isChanged = false
  #posts = 0

  constructor(ctx: Context, feed: Feed, options: CallOptions) {
    this.#ctx = ctx
    this.#feed = feed
    this.#options = options
  }

  async run(): Promise<Refreshed> {
    this.#state = await feedState(this.#ctx.home, this.#name)
    const lists = await this.#listAll()
    const { posts, isChanged, found } = merge(this.#state, lists, Math.floor(Math.random() * lists.length))
    this.#state = { ...this.#state, posts: [...posts] }
    this.#isChanged = isChanged
    const unread = await this.#readAll(found)
    await this.#searchBefore(lists.map(({ relay }) => relay))
    const cursors: Record<Key, Cursor> = { ...this.#state.cursors }
    for (const { relay, entries, cursor } of lists) {
      if (cursor === cursors[relay.key] || entries.some(({ path }) => unread.has(path))) continue
      if (cursor !== undefined) cursors[relay.key] = cursor
      this.#isChanged = true
    }
    if (this.#isChanged) await this.#save({ cursors })
    return {
      posts: this.#posts,
      gone: this.#gone,
      lacking: lackingIn(this.#state, lists, this.#ctx.now()),
      failures: this.#failures,
    }
  }

  get #name() {
    return { reader: this.#ctx.wallet.identity, owner: this.#feed.owner }
  }

  async #save(change: Partial<FeedState>): Promise<void> {
    this.#state = await saveFeed(this.#ctx.home, this.#name, { ...this.#state, ...change })
  }

  /** One relay's failure is reported and stops no other. */
  async #listAll(): Promise<Listed[]> {
    const { owner, relays } = this.#feed
    const all = relays.map(async (relay) => {
      try {
        const from = this.#state.cursors[relay.key]
        return [await listNew(this.#ctx, { owner, relay, from }, this.#options)]
      } catch (error) {
        this.#failures.push({ relay: relay.url, error: error as Error })
        return []
      }
    })
    const lists = (await Promise.all(all)).flat()
    this.#options.signal?.throwIfAborted()
    return lists
  }

  /** Returns what is there and could not be read: a place on a relay must not pass it. */
  async #readAll(all: readonly Found[]): Promise<ReadonlySet<string>> {
    const unread = new Set<string>()
    for (const { path, at } of all.filter(isTooLarge)) this.#lose({ path, atMs: at, why: 'too large' })
    const fit = all.filter((post) => !isTooLarge(post))
    for (let start = 0; start < fit.length; start += refreshLimits.readAtOnce) {
      const some = fit.slice(start, start + refreshLimits.readAtOnce)
      const fetched = await fetchPosts(this.#ctx, some, this.#options)
      const posts: KeptPost[] = []
      for (const [index, one] of fetched.entries()) {
        const { path, at, listing } = some[index]! // one for each
        if (one.state === 'here') posts.push(await this.#kept(one, listing))
        else if (one.state === 'gone') this.#lose({ path, atMs: at, why: one.why })
        else {
          unread.add(path)
          this.#ctx.notify({ type: 'record-unread', path, error: one.error })
        }
      }
      await this.#keep(posts)
    }
    return unread
  }

  async #kept(
    { record, relay, re }: Extract<Fetched, { state: 'here' }>,
    listing: readonly RelayAddress[],
  ): Promise<KeptPost> {
    const { text, path, expires, msg } = record
    const arrived = { record, relay: relay.key, re, receivedMs: this.#ctx.now() }
    const { payload } = await openArrival(this.#ctx, arrived)
    // Before it is kept: what comes again is harmless, what is here is not looked at again.
    if (payload.type === 'identity') await updateFollow(this.#ctx, this.#feed.owner, payload.identity)
    const previous = payload.type === 'post' ? (payload.previous ?? null) : null
    return {
      ...{ ...arrived, record: text, path, expires, sentMs: msg.timestamp, named: msg.request.relays },
      ...{ listed: listing.map(({ key }) => key), previous },
    }
  }

  /** Once they are kept the reads are over: the next one of such a path would be another pull. */
  async #keep(posts: readonly KeptPost[]): Promise<void> {
    if (posts.length === 0) return
    await this.#save({ posts: [...this.#state.posts, ...posts] })
    this.#posts += posts.length
    const relays = new Map(this.#feed.relays.map((relay) => [relay.key, relay]))
    await Promise.all(
      posts.map(({ path, relay }) => this.#ctx.connect(relays.get(relay)!).finishRead(path)), // it came from one of them
    )
  }

  /** While a relay does not answer, nothing is gone for sure. */
  #lose({ path, atMs, why }: { path: string; atMs: number; why: GonePost['why'] }): void {
    if (this.#failures.length > 0) return
    const post = { id: parsePath(path).recordId, atMs, why }
    this.#gone.push(post)
    this.#state = { ...this.#state, gone: [...this.#state.gone, post] }
    this.#isChanged = true
  }

  /** Posts name the one before: one that no relay lists is asked for, and found, or known to be gone. */
  async #searchBefore(relays: readonly RelayAddress[]): Promise<void> {
    const asked = new Set<RecordId>()
    const receiver = this.#ctx.wallet.identity
    while (relays.length > 0 && !isFull(this.#state)) {
      const left = refreshLimits.searched - asked.size
      const some = left > 0 ? this.#unseen(asked).slice(-left) : []
      if (some.length === 0) return
      for (const { id } of some) asked.add(id)
      const { owner } = this.#feed
      const wanted = some.map(({ id: recordId, atMs }) => ({
        path: formatPath({ owner, receiver, recordId }),
        relays,
        atMs,
      }))
      const posts: KeptPost[] = []
      for (const [index, one] of (await fetchPosts(this.#ctx, wanted, this.#options)).entries()) {
        if (one.state === 'here') posts.push(await this.#kept(one, []))
        else if (one.state === 'gone') this.#lose({ ...wanted[index]!, why: one.why }) // one for each
      }
      await this.#keep(posts)
    }
  }

  /** Posts that others name as the one before, the oldest first. */
  #unseen(asked: ReadonlySet<RecordId>): { id: RecordId; atMs: number }[] {
    const { posts, gone } = this.#state
    const known = new Set([...posts.map(({ path }) => parsePath(path).recordId), ...gone.map(({ id }) => id)])
    return posts.flatMap(({ previous, sentMs }) =>
      previous === null || known.has(previous) || asked.has(previous)
        ? []
        : [{ id: previous, atMs: Math.max(0, sentMs - 1) }],
    )
  }
}

const isTooLarge = ({ bytes }: Post): boolean => bytes > refreshLimits.postBytes

/** Keeps a post of ours in a channel, to be shown between those of others: no pull is spent on it. */
export async function keepOwn({ home, wallet, now }: Context, reader: Key, id: RecordId): Promise<void> {
  const entry = (await entries(home)).get(id)
  const record = entry && (await recordOf(home, entry))
  if (record === undefined) return
  const name = { reader, owner: wallet.identity }
  const { text, path, expires, hash, msg } = record
  const named = msg.request.relays
  const post = {
    ...{ record: text, path, expires, sentMs: msg.timestamp, named, listed: named, previous: null },
    ...{ relay: named[0]!, re: hash, receivedMs: now() }, // a record names a relay at least
  }
  await home.lock(feedLock(name), async () => {
    const state = await feedState(home, name)
    await saveFeed(home, name, { ...state, posts: [...state.posts, post] })
  })
}

/** A post as its reader sees it. @throws ERR_DAMAGED, and what the wallet throws */
export const openPost = ({ wallet }: Pick<Context, 'wallet'>, post: KeptPost) =>
  openArrival({ wallet }, { ...post, record: decodeRecord(post.record) })
