/**
 * Hearing feeds at once: a bounded number of subscriptions, in the name of each reader at each relay; what is pushed says only
 * whose feed to bring up to date. What has no subscription, or was missed, comes with the next review.
 */
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import { parsePath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { feedState } from '../home/feeds.ts'
import { live } from '../wire/live.ts'
import { coalesce, eachLimited } from '../wire/retry.ts'
import { feedReadLimits, type FeedPost, itemOf, type Source, sources } from './feed.ts'
import { asReader } from './reader.ts'
import { type Feed, refresh } from './refresh.ts'

const feedListenLimits = {
  /** Sockets: one for each reader (everybody, or a key of a channel) at each relay. */
  sockets: 64,
  /** How often everything is looked at without being told. */
  reviewMs: 60_000,
} as const

interface FeedListenOptions {
  readonly signal: AbortSignal
  /** Each post once, those that were stored first. */
  readonly onPost: (post: FeedPost) => void
}

/** One reader at one relay, and whose posts he is told of there. */
interface Watched {
  readonly source: Source
  readonly address: RelayAddress
  readonly owners: readonly Key[]
}

interface Watch {
  readonly owners: string
  readonly stop: AbortController
  readonly ended: Promise<void>
}

interface Reading {
  readonly source: Source
  readonly as: Context
  readonly feed: Feed
}

export class FeedListener {
  readonly #ctx: Context
  readonly #options: FeedListenOptions
  readonly #over = new AbortController()
  readonly #signal: AbortSignal
  readonly #timer: NodeJS.Timeout
  readonly #watches = new Map<string, Watch>()
  /** All that there is to read, by reader and owner. */
  #readings = new Map<string, Reading>()
  /** Those to be brought up to date now. */
  readonly #wanted = new Set<string>()
  /** Relays whose failure was said, until they answer. */
  readonly #lost = new Set<string>()
  readonly #reviews = coalesce(() =>
    this.#lookAgain().catch((error: unknown) => this.#failed('your feeds', error)),
  )
  readonly #reads = coalesce(() => this.#readWanted())

  /** Begins at once. */
  constructor(ctx: Context, options: FeedListenOptions) {
    this.#ctx = ctx
    this.#options = options
    this.#signal = AbortSignal.any([this.#over.signal, options.signal])
    this.#timer = setInterval(() => this.review(), feedListenLimits.reviewMs)
    this.review()
  }

  /** Looks at everything: others may be followed now, or be elsewhere. */
  review(): void {
    if (!this.#signal.aborted) this.#reviews.wake()
  }

  /** Stops, and resolves when what was begun is over. */
  async finish(): Promise<void> {
    clearInterval(this.#timer)
    this.#over.abort()
    await this.#reviews.idle()
    await Promise.all([...this.#watches.values()].map(({ ended }) => ended))
    await this.#reads.idle()
  }

  async #lookAgain(): Promise<void> {
    const all = await sources(this.#ctx, {})
    this.#readings = readingsOf(all, this.#ctx, this.#readings)
    const plan = new Map(
      watchedIn(all, feedListenLimits.sockets).map((one) => [
        nameOf(one.source, formatAddress(one.address)),
        one,
      ]),
    )
    for (const [name, { owners, stop }] of this.#watches) {
      if (plan.get(name)?.owners.join() === owners) continue
      stop.abort()
      this.#watches.delete(name)
    }
    for (const [name, what] of plan) if (!this.#watches.has(name)) this.#watch(name, what)
    this.#want(this.#readings.keys())
  }

  #watch(name: string, { source, address, owners }: Watched): void {
    const stop = new AbortController()
    const reader = source.reader.identity
    const { as } = this.#readings.get(nameOf(source, owners[0]!))! // every owner has one
    const ended = live(as.connect(address), {
      owners,
      cursor: async (owner) => (await feedState(this.#ctx.home, { reader, owner })).cursors[address.key],
      onRecords: (paths) => this.#want(paths.map((path) => nameOf(source, parsePath(path).owner))),
      onLive: () => void this.#lost.delete(address.url),
      onDown: (error) => this.#failed(address.url, error),
      signal: AbortSignal.any([stop.signal, this.#signal]),
    }).catch((error: unknown) => {
      this.#failed(address.url, error)
      this.#watches.delete(name) // refused: the next review asks again
    })
    this.#watches.set(name, { owners: owners.join(), stop, ended })
  }

  #want(names: Iterable<string>): void {
    for (const name of names) if (this.#readings.has(name)) this.#wanted.add(name)
    this.#reads.wake()
  }

  async #readWanted(): Promise<void> {
    const names = [...this.#wanted]
    this.#wanted.clear()
    await eachLimited(names, feedReadLimits.atOnce, async (name) => {
      const reading = this.#readings.get(name)
      if (reading === undefined || this.#signal.aborted) return
      await this.#read(reading).catch((error: unknown) => this.#failed('your feeds', error))
    })
  }

  async #read({ source, as, feed }: Reading): Promise<void> {
    const name = { reader: source.reader.identity, owner: feed.owner }
    const held = new Set((await feedState(this.#ctx.home, name)).posts.map(({ path }) => path))
    const { failures } = await refresh(as, feed, { signal: this.#signal, attempts: 1 })
    for (const { relay, error } of failures) this.#failed(relay, error)
    const { posts } = await feedState(this.#ctx.home, name)
    for (const post of posts) if (!held.has(post.path)) this.#options.onPost(await itemOf(post, source))
  }

  #failed(relay: string, error: unknown): void {
    if (this.#signal.aborted || this.#lost.has(relay)) return
    this.#lost.add(relay)
    this.#ctx.notify({ type: 'relay-failed', relay, error: error as Error })
  }
}

/** Whom to subscribe to, where: at most so many, those that tell of the most writers. */
export function watchedIn(all: readonly Source[], most: number): Watched[] {
  const found = new Map<string, { source: Source; address: RelayAddress; owners: Key[] }>()
  for (const source of all) {
    for (const { owner, relays } of source.writers) {
      for (const address of relays) {
        const name = nameOf(source, formatAddress(address))
        const one = found.get(name) ?? { source, address, owners: [] }
        one.owners.push(owner)
        found.set(name, one)
      }
    }
  }
  return [...found.values()].sort((a, b) => b.owners.length - a.owners.length).slice(0, most)
}

/** A reader keeps his connections. */
function readingsOf(
  all: readonly Source[],
  ctx: Context,
  before: ReadonlyMap<string, Reading>,
): Map<string, Reading> {
  const readers = new Map([...before.values()].map(({ as }) => [as.wallet.identity, as]))
  const found = new Map<string, Reading>()
  for (const source of all) {
    const as = readers.get(source.reader.identity) ?? asReader(ctx, source.reader)
    for (const feed of source.writers) found.set(nameOf(source, feed.owner), { source, as, feed })
  }
  return found
}

const nameOf = ({ reader }: Source, what: string): string => `${reader.identity} ${what}`
