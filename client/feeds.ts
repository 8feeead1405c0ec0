/** Posts for many: public ones for whoever follows, and private channels (docs/protocol.md §5). */
import { ANYONE_KEY } from '../market/identity.ts'
import { openIdentity } from '../market/identity-file.ts'
import { MarketError } from '../market/errors.ts'
import type { Payload } from '../market/payload.ts'
import { decodeRecord, type RecordId } from '../market/record.ts'
import { type Key, protocolLimits } from '../market/units.ts'
import type { Context } from './context.ts'
import { type Delivery, deliverFile, send, type SendOptions } from './delivery.ts'
import { createChannel, findChannel, invite, removeMembers } from './feeds/channels.ts'
import { type FeedItem, feedItems, type FeedsRefreshed, findPost, refreshFeeds } from './feeds/feed.ts'
import { follow, type Followed, followed, unfollow } from './feeds/follows.ts'
import { keepOwn, refreshLimits } from './feeds/refresh.ts'
import { fetchPosted } from './files/downloads.ts'
import type { FileOptions } from './files/plan.ts'
import type { TransferOptions } from './files/transfer.ts'
import { currentKey, type KeptChannel, keptChannels, walletOf } from './home/channels.ts'
import { feedLimits, lastPost, noteLastPost } from './home/feeds.ts'
import type { Incoming } from './home/incoming.ts'
import { contentBytes } from './money/load.ts'
import { type Friend, findFriend, friends, keyOf } from './people/friends.ts'
import { identityText } from './people/identity-url.ts'
import type { CallOptions } from './wire/connection.ts'

const postLimits = {
  ttlSeconds: 30 * 86_400,
  /** Reads for each member of a channel would do; some more are for readers who lost their home. */
  sparePulls: 4,
} as const

export interface PostOptions extends Omit<SendOptions, 'tag'> {
  /** The name of a channel, or `OWNER/NAME`; everybody may read it without one. */
  readonly channel?: string | undefined
  readonly subject?: string | undefined
}

/** A channel as its members see it: never its keys. */
export interface ChannelView {
  readonly name: string
  readonly owner: Key
  readonly isOwn: boolean
  readonly members: readonly Key[]
  /** Rises with every change of the members. */
  readonly epoch: number
  /** Own: members who have not been sent the key of now. */
  readonly untold: readonly Key[]
  /** Its owner says that we are no member any more: nothing new comes, and what was read stays. */
  readonly isRemoved: boolean
}

export class Feeds {
  readonly #ctx: Context

  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  /**
   * Posts a text for everybody, or in a channel: a record that `maxPulls` readers on each relay may have. It is delivered,
   * queued, and paid for, as by `Client.send`; `onQuote` hears the full price, of all pulls on all relays, before anything is
   * kept or sent.
   * @throws as `Client.send`; ERR_TOO_LARGE for what is no post but a file; ERR_NOT_FOUND, ERR_CONFLICT for the channel, ERR_FORBIDDEN for one
   * we were removed from
   */
  async post(text: string, { channel, subject, ...options }: PostOptions = {}): Promise<Delivery> {
    const { to, keeping } = await this.#readers(channel, options)
    const { home } = this.#ctx
    const previous = await lastPost(home, to)
    const payload: Payload = {
      type: 'post',
      text,
      ...(subject && { subject }),
      ...(previous && { previous }),
    }
    if (contentBytes(payload) > refreshLimits.postBytes)
      throw new MarketError('ERR_TOO_LARGE', 'this is too long for a post: post it as a file')
    const sent = await send(this.#ctx, { to, payload }, { ...options, ...keeping })
    await noteLastPost(home, to, sent.recordId)
    await keepOwn(this.#ctx, to, sent.recordId)
    return sent
  }

  /** Posts a file of any size, or goes on with it; every reader of it pulls each of its chunks. */
  async postFile(
    path: string,
    { channel, ...options }: Omit<FileOptions, 'tag'> & { readonly channel?: string | undefined } = {},
  ): Promise<Delivery> {
    const { to, keeping } = await this.#readers(channel, options)
    return deliverFile(this.#ctx, { to, path }, { ...options, ...keeping })
  }

  /** Everybody whose public posts are read, by name. */
  followed(): Promise<Followed[]> {
    return followed(this.#ctx)
  }

  /** Reads a friend's public posts from now on. @throws ERR_NOT_FOUND for no friend, ERR_LIMIT */
  async follow(
    friend: string | Friend,
    options: { readonly as?: string | undefined } = {},
  ): Promise<Followed> {
    const { file, alias } = typeof friend === 'string' ? await findFriend(this.#ctx, friend) : friend
    return follow(this.#ctx, file, { as: options.as ?? alias })
  }

  /**
   * The same of whoever signed this identity file, given as its text or URL, who need not be a friend.
   * @throws ERR_CONFLICT for a rollback or a fork, and as `identityText`
   */
  async followFile(given: string, options: { readonly as?: string | undefined } = {}): Promise<Followed> {
    return follow(this.#ctx, openIdentity(await identityText(this.#ctx, given)), options)
  }

  /** By name or key; what was read is forgotten. @throws ERR_NOT_FOUND */
  unfollow(reference: string): Promise<Followed> {
    return unfollow(this.#ctx, reference)
  }

  /**
   * Reads what is new of everybody who is followed and in the channels, or in one: from all relays of its writer, each post once.
   * What relays fail with is returned. @throws ERR_NOT_FOUND, ERR_CONFLICT for the channel
   */
  async refresh({
    channel,
    ...options
  }: CallOptions & { channel?: string | undefined } = {}): Promise<FeedsRefreshed> {
    return refreshFeeds(this.#ctx, { channel: await this.#named(channel) }, options)
  }

  /** The posts that are here, the newest last, 1000 unless said, and what is known to be gone between them. */
  async items(what: { channel?: string | undefined; limit?: number | undefined } = {}): Promise<FeedItem[]> {
    return feedItems(this.#ctx, { channel: await this.#named(what.channel), limit: what.limit })
  }

  /**
   * Fetches the file of a post that is here, into the folder of its writer, or goes on with that.
   * @throws ERR_NOT_FOUND for no post, or none with a file; ERR_NO_SPACE; what all its relays fail with
   */
  async file(id: RecordId, options: TransferOptions = {}): Promise<Incoming> {
    const { as, post, relays } = await findPost(this.#ctx, id)
    return fetchPosted(as, { arrived: { ...post, record: decodeRecord(post.record) }, relays }, options)
  }

  /** All own channels, and those friends invited to. */
  async channels(): Promise<ChannelView[]> {
    return (await keptChannels(this.#ctx.home)).map((channel) => this.#view(channel))
  }

  /** One of them, by its name or `OWNER/NAME`. @throws ERR_NOT_FOUND, ERR_CONFLICT */
  async channel(reference: string): Promise<ChannelView> {
    return this.#view(await this.#find(reference))
  }

  /** A channel without members. @throws ERR_CONFLICT when there is one of that name, ERR_MALFORMED, ERR_LIMIT */
  async createChannel(name: string): Promise<ChannelView> {
    return this.#view(await createChannel(this.#ctx, name))
  }

  /**
   * Lets friends into an own channel. Everybody gets a fresh key: new members read what is posted from now on, and with
   * `hasHistory` also what was posted before. @throws ERR_NOT_FOUND, ERR_CONFLICT for a member, ERR_LIMIT
   */
  async invite(
    name: string,
    people: readonly (Key | Friend)[],
    { hasHistory, ...options }: CallOptions & { readonly hasHistory?: boolean | undefined } = {},
  ): Promise<ChannelView> {
    const keys = people.map(keyOf)
    return this.#view(await invite(this.#ctx, name, { people: keys, hasHistory }, options))
  }

  /** Those who remain get a fresh key, the removed are told; what they had, they can still read. @throws ERR_NOT_FOUND */
  async removeMembers(
    name: string,
    people: readonly (Key | Friend)[],
    options: CallOptions = {},
  ): Promise<ChannelView> {
    return this.#view(await removeMembers(this.#ctx, name, people.map(keyOf), options))
  }

  /** To whom a post is encrypted, and how often it may be read. */
  async #readers(
    reference: string | undefined,
    options: { maxPulls?: number | undefined; ttlSeconds?: number | undefined },
  ) {
    const { ttlSeconds = postLimits.ttlSeconds, maxPulls } = options
    const channel = await this.#named(reference)
    if (channel?.removed !== undefined)
      throw new MarketError('ERR_FORBIDDEN', `you were removed from the channel ${channel.name}`)
    if (channel === undefined)
      return { to: ANYONE_KEY, keeping: { ttlSeconds, maxPulls: maxPulls ?? feedLimits.audience } }
    const pulls = Math.max(protocolLimits.defaultMaxPulls, channel.members.length + postLimits.sparePulls)
    return {
      to: walletOf(currentKey(channel)).identity,
      keeping: { ttlSeconds, maxPulls: maxPulls ?? pulls },
    }
  }

  async #named(reference: string | undefined): Promise<KeptChannel | undefined> {
    return reference === undefined ? undefined : this.#find(reference)
  }

  async #find(reference: string): Promise<KeptChannel> {
    const aliases = new Map((await friends(this.#ctx)).map(({ key, alias }) => [key, alias]))
    return findChannel(this.#ctx, reference, (key) => aliases.get(key))
  }

  #view({ name, owner, members, keys, untold, removed }: KeptChannel): ChannelView {
    const isOwn = owner === this.#ctx.wallet.identity
    const { epoch } = currentKey({ keys })
    const waiting = untold.filter((one) => one.isRemoved !== true).map(({ to }) => to)
    return { name, owner, isOwn, members, epoch, untold: waiting, isRemoved: removed !== undefined }
  }
}
