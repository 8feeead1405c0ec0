/** One identity at work: what it says to friends, what it hears from them, on everybody's relays. */
import { openOrCreateKeyFile } from '../contracts/wallet/key-file.ts'
import { formatAddress, parseAddress, type RelayAddress } from '../market/address.ts'
import { MarketError } from '../market/errors.ts'
import { type IdentityFile, sealIdentity, type Succession } from '../market/identity-file.ts'
import type { Payload } from '../market/payload.ts'
import type { RecordId } from '../market/record.ts'
import type { Key } from '../market/units.ts'
import { sendAcks } from './acks.ts'
import type { CallOptions } from './connection.ts'
import { type Context, ownRelays } from './context.ts'
import { fetchFiles } from './downloads.ts'
import { deleteRecord, flush, type Flushed } from './flush.ts'
import { addFriend, checkName, type Friend, findFriend, friends, removeFriend } from './friends.ts'
import { Home } from './home.ts'
import { arrivals, type Message, openArrival } from './inbox.ts'
import { type Incoming, incoming } from './incoming.ts'
import { listen } from './listen.ts'
import * as me from './me.ts'
import { contextOf, type InitOptions, type OpenOptions } from './open.ts'
import { post, type Posted } from './outbox.ts'
import { overview, type Sent } from './overview.ts'
import { pull, pullStrangers, type Pulled, type PullOptions } from './pull.ts'
import { type Strangers, strangersOn } from './strangers.ts'
import { reservedTags } from './tags.ts'
import type { TransferOptions } from './transfer.ts'
import { type FileOptions, resumeUploads, sendFile } from './uploads.ts'

export interface SendOptions extends CallOptions {
  readonly ttlSeconds?: number | undefined
  readonly tag?: string | undefined
  readonly maxPulls?: number | undefined
}

export interface Ping {
  readonly relay: RelayAddress
  /** Time until the signed answer was verified. */
  readonly ms?: number
  readonly error?: Error
}

export class Client {
  readonly identity: Key
  readonly #ctx: Context

  private constructor(ctx: Context) {
    this.identity = ctx.wallet.identity
    this.#ctx = ctx
  }

  /** Makes a new identity in a home that has none. @throws ERR_CONFLICT when it has one */
  static async init(directory: string, options: InitOptions): Promise<Client> {
    if (await Home.at(directory).hasIdentity())
      throw new MarketError('ERR_CONFLICT', `there is an identity in ${directory} already`)
    checkName('label', options.label)
    const relays = await Promise.all((options.relays ?? []).map((text) => me.resolveAddress(text)))
    const home = await Home.open(directory)
    if (options.wallet === undefined) {
      // A key without identity file is what a crash right here leaves behind.
      await openOrCreateKeyFile(home.keyFile, { passphrase: options.passphrase })
    }
    const client = new Client(await contextOf(home, options))
    const fields = { label: options.label, relays: relays.map(formatAddress), now: Date.now() }
    await home.saveMe(await sealIdentity(fields, client.#ctx.wallet))
    return client
  }

  /** @throws ERR_NOT_FOUND without identity, ERR_FORBIDDEN for a wrong passphrase, ERR_CONFLICT for another wallet's home */
  static async open(directory: string, options: OpenOptions = {}): Promise<Client> {
    const file = await Home.at(directory).me()
    const home = await Home.open(directory)
    const client = new Client(await contextOf(home, options))
    if (file.msg.from !== client.identity)
      throw new MarketError(
        'ERR_CONFLICT',
        `the identity in ${directory} is of another key than the wallet's`,
      )
    return client
  }

  me(): Promise<IdentityFile> {
    return this.#ctx.home.me()
  }

  relays(): Promise<RelayAddress[]> {
    return ownRelays(this.#ctx)
  }

  /** Puts records on one more relay from now on, and tells every friend. */
  async addRelay(text: string, options: CallOptions = {}): Promise<RelayAddress> {
    const address = await me.resolveAddress(text, options.signal)
    await me.addRelay(this.#ctx, address, options)
    return address
  }

  /** Leaves a relay, after telling every friend on it too. @throws ERR_NOT_FOUND */
  async removeRelay(reference: string, options: CallOptions = {}): Promise<void> {
    await me.removeRelay(this.#ctx, reference, options)
  }

  friends(): Promise<Friend[]> {
    return friends(this.#ctx)
  }

  /** By alias, label or key. @throws ERR_NOT_FOUND, ERR_CONFLICT when several are meant */
  friend(reference: string): Promise<Friend> {
    return findFriend(this.#ctx, reference)
  }

  /** Takes the text of an identity file. @throws ERR_CONFLICT for a rollback or a fork */
  addFriend(
    text: string,
    options: { alias?: string | undefined } = {},
  ): Promise<{ friend: Friend; succession: Succession | 'new' }> {
    return addFriend(this.#ctx, text, options)
  }

  async removeFriend(reference: string): Promise<Friend> {
    const friend = await this.friend(reference)
    await removeFriend(this.#ctx.home, friend.key)
    return friend
  }

  /**
   * Sends a payload to a key or a friend; a string is sent as `text`. Once this resolves it is delivered, or it
   * is in the queue and goes up as soon as a relay answers.
   */
  async send(to: Key | Friend, what: string | Payload, options: SendOptions = {}): Promise<Posted> {
    checkTag(options.tag)
    const payload = typeof what === 'string' ? ({ type: 'text', text: what } as const) : what
    const { ttlSeconds, tag, maxPulls } = options
    const draft = { to: keyOf(to), payload, maxPulls, ...(ttlSeconds && { ttlSeconds }), ...(tag && { tag }) }
    return post(this.#ctx, draft, options)
  }

  /** Sends a file of any size, or goes on with the unfinished sending of this file to this friend. */
  async sendFile(to: Key | Friend, path: string, options: FileOptions = {}): Promise<Posted> {
    checkTag(options.tag)
    return sendFile(this.#ctx, { to: keyOf(to), path }, options)
  }

  /** Brings in everything friends have for us. Files and acks are the business of `finish`. */
  pull(options: PullOptions = {}): Promise<Pulled> {
    return pull(this.#ctx, options)
  }

  /** Brings in what others than friends have for us, on our relays and our friends'. They are not told. */
  async pullStrangers(options: PullOptions = {}): Promise<Pulled> {
    return pullStrangers(this.#ctx, await this.#allRelays(), options)
  }

  /** What others than friends have for us, without reading it. One relay's failure stops no other. */
  async strangers(options: CallOptions = {}): Promise<Strangers[]> {
    return strangersOn(this.#ctx, await this.#allRelays(), options)
  }

  /** Fetches the files that wait, acknowledges what was pulled, goes on with sendings and empties the queue. */
  async finish(
    options: TransferOptions & { files?: boolean } = {},
  ): Promise<{ files: Incoming[]; flushed: Flushed }> {
    const files = options.files === false ? [] : await fetchFiles(this.#ctx, options)
    await sendAcks(this.#ctx, { ...options, attempts: 1 })
    return { files, flushed: await this.flush(options) }
  }

  /** Brings whatever waits to the relays; with `retryRefused` also what they refused before. */
  async flush(options: TransferOptions & { retryRefused?: boolean } = {}): Promise<Flushed> {
    await me.announce(this.#ctx, { ...options, attempts: 1 })
    await resumeUploads(this.#ctx, options)
    return flush(this.#ctx, { ...options, attempts: 1 })
  }

  /** Brings in messages as they come until `signal`, through restarts of relays; files and acks with them. */
  listen(options: {
    signal: AbortSignal
    onMessage: (message: Message) => void
    onLive?: (relay: string) => void
    onFile?: (file: Incoming) => void
    maxFileBytes?: number | undefined
  }): Promise<void> {
    const { maxFileBytes } = options
    const waiting = new Set<string>()
    const fetch = async (signal: AbortSignal) => {
      const { files } = await this.finish({ signal, maxFileBytes })
      for (const file of files) {
        // A file too large to be fetched unasked is told once.
        if (waiting.has(file.path)) continue
        if (file.state === 'waiting') waiting.add(file.path)
        options.onFile?.(file)
      }
    }
    // Acks and the queue do not wait for a long file.
    const answer = async (signal: AbortSignal) => void (await this.finish({ signal, files: false }))
    return listen(this.#ctx, { ...options, chores: [fetch, answer] })
  }

  outbox(): Promise<Sent[]> {
    return overview(this.#ctx)
  }

  /** Everything that ever arrived, oldest first. */
  async *inbox(): AsyncGenerator<Message> {
    for await (const arrived of arrivals(this.#ctx.home)) yield await openArrival(this.#ctx, arrived)
  }

  /** How the fetching of a `file` message stands. */
  fileOf(message: Message): Promise<Incoming | undefined> {
    return incoming(this.#ctx.home, message.path)
  }

  /** Deletes a record, or a file with its chunks, from every relay. @throws ERR_NOT_FOUND */
  delete(id: RecordId, options: CallOptions = {}): Promise<Flushed> {
    return deleteRecord(this.#ctx, id, { ...options, attempts: 1 })
  }

  /** Asks relays for a signed answer: the own ones, or one by address, URL or key. */
  async ping(reference?: string, options: CallOptions = {}): Promise<Ping[]> {
    const own = await this.relays()
    const named = own.filter((relay) => reference === undefined || me.isNamed(relay, reference))
    const relays = named.length > 0 || reference === undefined ? named : [await me.resolveAddress(reference)]
    return Promise.all(relays.map((relay) => this.#pingOne(relay, options)))
  }

  async #pingOne(relay: RelayAddress, options: CallOptions): Promise<Ping> {
    const began = performance.now()
    try {
      // Of all requests, the one that every relay answers to everybody.
      const request = { type: 'inventory' as const, afterTs: this.#ctx.now(), limit: 1 }
      await this.#ctx.connect(relay).call(request, { ...options, attempts: 1 })
      return { relay, ms: Math.round((performance.now() - began) * 10) / 10 }
    } catch (error) {
      return { relay, error: error as Error }
    }
  }

  async #allRelays(): Promise<RelayAddress[]> {
    const ofFriends = (await this.friends()).flatMap((friend) => friend.relays)
    const all = [...(await this.relays()), ...ofFriends].map(formatAddress)
    return [...new Set(all)].map(parseAddress)
  }
}

function checkTag(tag: string | undefined): void {
  if (tag !== undefined && reservedTags.includes(tag))
    throw new MarketError('ERR_MALFORMED', `the tag ${tag} has a meaning of its own`)
}

const keyOf = (to: Key | Friend): Key => (typeof to === 'string' ? to : to.key)
