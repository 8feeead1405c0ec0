/**
 * Feeds on disk: whom the user follows, and for each reader and owner one file with the newest posts and how far every relay
 * was read. Posts and places are replaced together, so a crash can neither lose a post nor pay for it twice.
 */
import { z } from 'zod'
import { Cursor } from '../../contracts/api.ts'
import { Path, RecordId } from '../../market/record.ts'
import { Hash, Key, Milliseconds } from '../../market/units.ts'
import { namesIn, readJson, remove, writeDurably } from './durable.ts'
import { hashOf, type Home } from './home.ts'

export const feedLimits = {
  /** How many may read a public post, on each relay, unless said. */
  audience: 100,
  follows: 500,
  /** The newest of a feed stay, by number and by the length of their texts. */
  posts: 500,
  textLength: 4 * 1024 * 1024,
  /** Posts that are known to be gone. */
  gone: 100,
  /** Chains of own posts: one for the public, one for each key of a channel. */
  chains: 1000,
} as const

const SavedFollow = z.strictObject({ identity: z.string(), name: z.string().min(1).max(64) })
export type SavedFollow = z.infer<typeof SavedFollow>

/** A post as it was signed, and what is asked of it without opening it. */
export const KeptPost = z.strictObject({
  record: z.string(),
  path: Path,
  sentMs: Milliseconds,
  expires: Milliseconds,
  /** The relays that its owner signed it for. */
  named: z.array(Key),
  /** Those that have ever listed it. */
  listed: z.array(Key),
  /** The relay it came from, and the read it answered. */
  relay: Key,
  re: Hash,
  receivedMs: Milliseconds,
  /** The post before it, as its owner says. */
  previous: RecordId.nullable(),
})
export type KeptPost = z.infer<typeof KeptPost>

/** A post that was there, about `atMs`, and that nobody gives away any more. */
export const GonePost = z.strictObject({
  id: RecordId,
  atMs: Milliseconds,
  /** `used up`: a relay signed that its pulls are; `too large`: it is no post; `gone`: used up, deleted or expired. */
  why: z.enum(['used up', 'too large', 'gone']),
})
export type GonePost = z.infer<typeof GonePost>

const FeedState = z.strictObject({
  /** The place on each relay up to which its list is known. */
  cursors: z.record(Key, Cursor),
  /** The oldest first. */
  posts: z.array(KeptPost),
  gone: z.array(GonePost),
})
export type FeedState = z.infer<typeof FeedState>

/** One owner's records to one reader: key 1, or the key of a channel. */
export interface FeedName {
  readonly reader: Key
  readonly owner: Key
}

export const feedState = async (home: Home, feed: FeedName): Promise<FeedState> =>
  (await readJson(feedFile(home, feed), FeedState)) ?? { cursors: {}, posts: [], gone: [] }

/** Keeps what the limits allow, the newest; returns that. Call it under the feed's lock. */
export async function saveFeed(home: Home, feed: FeedName, state: FeedState): Promise<FeedState> {
  // Of the same time they stay in the order in which they came.
  const sorted = [...state.posts].sort((a, b) => a.sentMs - b.sentMs).slice(-feedLimits.posts)
  let length = 0
  const first = sorted.findLastIndex(({ record }) => {
    length += record.length
    return length > feedLimits.textLength
  })
  const gone = [...state.gone].sort((a, b) => a.atMs - b.atMs).slice(-feedLimits.gone)
  const next = { ...state, posts: sorted.slice(first + 1), gone }
  await writeDurably(feedFile(home, feed), JSON.stringify(next))
  return next
}

/** Older posts were dropped, or soon would be: they are not to be looked for again. */
export const isFull = ({ posts }: FeedState): boolean =>
  posts.length >= feedLimits.posts ||
  posts.reduce((sum, { record }) => sum + record.length, 0) >= feedLimits.textLength / 2

/** The owners of whom anything was ever read as this reader. */
export async function ownersRead(home: Home, reader: Key): Promise<Key[]> {
  const names = await namesIn(home.path('feeds'))
  return names.flatMap((name) => (name.startsWith(`${reader}.`) ? [name.split('.')[1]!] : [])) // READER.OWNER.json
}

export const forgetFeed = (home: Home, feed: FeedName): Promise<void> => remove(feedFile(home, feed))

/** A name for the lock of a feed. */
export const feedLock = ({ reader, owner }: FeedName): string =>
  `feed-${hashOf(`${reader} ${owner}`).slice(0, 32)}`

/** The files of those who are followed, by their keys. */
export async function savedFollows(home: Home): Promise<Map<Key, SavedFollow>> {
  const names = (await namesIn(home.path('follows'))).filter((name) => name.endsWith('.json'))
  const all = names.map(async (name) => {
    const saved = await readJson(home.path('follows', name), SavedFollow)
    return [name.slice(0, -'.json'.length), saved] as const
  })
  const found = (await Promise.all(all)).filter((one): one is [Key, SavedFollow] => one[1] !== undefined)
  return new Map(found)
}

export const saveFollow = (home: Home, key: Key, follow: SavedFollow): Promise<void> =>
  writeDurably(followFile(home, key), JSON.stringify(follow))
export const forgetFollow = (home: Home, key: Key): Promise<void> => remove(followFile(home, key))

const Chains = z.record(Key, RecordId)

/** Our last post to this reader: the next one names it, so that who reads that one misses what is hidden. */
export const lastPost = async (home: Home, reader: Key): Promise<RecordId | undefined> =>
  (await readJson(chainsFile(home), Chains))?.[reader]

/** Noted once the post is kept: a crash before leaves a post that none names, and no name of a post that never was. */
export async function noteLastPost(home: Home, reader: Key, id: RecordId): Promise<void> {
  await home.lock('post-chains', async () => {
    const { [reader]: _, ...others } = (await readJson(chainsFile(home), Chains)) ?? {}
    const newest = [...Object.entries(others), [reader, id]].slice(-feedLimits.chains)
    await writeDurably(chainsFile(home), JSON.stringify(Object.fromEntries(newest)))
  })
}

const feedFile = (home: Home, { reader, owner }: FeedName): string =>
  home.path('feeds', `${reader}.${owner}.json`)
const followFile = (home: Home, key: Key): string => home.path('follows', `${key}.json`)
const chainsFile = (home: Home): string => home.path('post-chains.json')
