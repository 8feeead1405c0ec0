/** One identity at work: what it says to friends, what it hears from them, on everybody's relays. */
import type { LedgerEntry } from '../contracts/account.ts'
import type { RelayAddress } from '../market/address.ts'
import type { IdentityFile } from '../market/identity-file.ts'
import type { Payload } from '../market/payload.ts'
import type { RecordId } from '../market/record.ts'
import type { Key } from '../market/units.ts'
import { auditAll, type AuditedAt, type AuditOptions } from './audit.ts'
import { Card } from './card.ts'
import { type Coins, coinsOf } from './coins.ts'
import type { Context } from './context.ts'
import { Contracts } from './contracts.ts'
import { cancelAt, type DepositCall, depositAt, type MoneyCall, withdrawAt } from './credit.ts'
import type { Delivery, Quotable, QuoteOptions, SendOptions } from './delivery.ts'
import { deliverFile, payloadOf, quote, send } from './delivery.ts'
import { Feeds } from './feeds.ts'
import type { FileOptions } from './files/plan.ts'
import { finish, type Finished, type FinishOptions, flushAll, type FlushOptions } from './finish.ts'
import { Folders } from './folders.ts'
import { hear, type HearOptions } from './hear.ts'
import { arrivals, type Message, openArrival } from './home/inbox.ts'
import { type Incoming, incoming } from './home/incoming.ts'
import { Mail } from './letters.ts'
import { Market } from './market.ts'
import { deleteRecord, type Flushed } from './mail/flush.ts'
import { joinRelay, leaveRelay } from './mail/joining.ts'
import { overview, type Sent } from './mail/overview.ts'
import { pull, pullStrangers, type Pulled, type PullOptions } from './mail/pull.ts'
import { type Strangers, strangersOn } from './mail/strangers.ts'
import { type AccountAt, accounts, ledger } from './money/account.ts'
import type { Cancelled, Deposit } from './money/deposit.ts'
import type { Quoted } from './money/quotes.ts'
import type { Withdrawn } from './money/withdraw.ts'
import type { CoinOptions } from './money/wallet.ts'
import { type InitOptions, initHome, openHome, type OpenOptions } from './open.ts'
import * as people from './people/friends.ts'
import { ownRelays, relaysNamed } from './people/relays.ts'
import { Redundancy } from './redundancy.ts'
import type { CallOptions } from './wire/connection.ts'
import { ping, type Ping } from './wire/ping.ts'

export class Client {
  readonly identity: Key
  readonly #ctx: Context

  private constructor(ctx: Context) {
    this.identity = ctx.wallet.identity
    this.#ctx = ctx
  }

  /** Makes a new identity in a home that has none. @throws ERR_CONFLICT when it has one */
  static async init(directory: string, options: InitOptions): Promise<Client> {
    return new Client(await initHome(directory, options))
  }

  /** @throws ERR_NOT_FOUND without identity, ERR_FORBIDDEN for a wrong passphrase, ERR_CONFLICT for another wallet's home */
  static async open(directory: string, options: OpenOptions = {}): Promise<Client> {
    return new Client(await openHome(directory, options))
  }

  me(): Promise<IdentityFile> {
    return this.#ctx.home.me()
  }

  /** The own identity for others, as a URL and on relays. */
  get card(): Card {
    return new Card(this.#ctx)
  }

  relays(): Promise<RelayAddress[]> {
    return ownRelays(this.#ctx)
  }

  /** Puts records on one more relay from now on, and tells every friend. @throws ERR_UNTRUSTED when another is there */
  addRelay(text: string, options: CallOptions = {}): Promise<RelayAddress> {
    return joinRelay(this.#ctx, text, options)
  }

  /** Leaves a relay, after telling every friend on it too. What waited for one never seen is dropped. @throws ERR_NOT_FOUND */
  removeRelay(reference: string, options: CallOptions = {}): Promise<{ dropped: number }> {
    return leaveRelay(this.#ctx, reference, options)
  }

  friends(): Promise<people.Friend[]> {
    return people.friends(this.#ctx)
  }

  /** By alias, label or key. @throws ERR_NOT_FOUND, ERR_CONFLICT when several are meant */
  friend(reference: string): Promise<people.Friend> {
    return people.findFriend(this.#ctx, reference)
  }

  /** Takes the text of an identity file, or its URL. @throws ERR_CONFLICT for a rollback or a fork */
  addFriend(text: string, options: { alias?: string | undefined } = {}): Promise<people.Added> {
    return people.addFriend(this.#ctx, text, options)
  }

  /** Calls a friend by another name from now on. @throws ERR_NOT_FOUND, ERR_CONFLICT when another friend has it */
  async renameFriend(reference: string, alias: string): Promise<people.Friend> {
    return people.renameFriend(this.#ctx, (await this.friend(reference)).key, alias)
  }

  async removeFriend(reference: string): Promise<people.Friend> {
    const friend = await this.friend(reference)
    await people.removeFriend(this.#ctx.home, friend.key)
    return friend
  }

  /**
   * Sends a payload to a key or a friend; a string is sent as `text`. Once this resolves it is delivered, or it
   * is in the queue and goes up as soon as a relay answers. With `maxCost` it is given only to relays whose signed
   * quotes stay within so many satoshi in total, however late it goes up and whatever their prices are then.
   * @throws ERR_COST when it may cost more: nothing is kept or sent then; RefusedByAll when every relay refuses it
   */
  send(to: Key | people.Friend, what: string | Payload, options: SendOptions = {}): Promise<Delivery> {
    return send(this.#ctx, { to: people.keyOf(to), payload: payloadOf(what) }, options)
  }

  /** Sends a file of any size, or goes on with its sending. `maxCost` holds for all its records together, as with `send`. */
  sendFile(to: Key | people.Friend, path: string, options: FileOptions = {}): Promise<Delivery> {
    return deliverFile(this.#ctx, { to: people.keyOf(to), path }, options)
  }

  /** What keeping a record of so many content bytes, a message or a file costs at most, in satoshi. Quotes bind their relays. */
  quote(what: Quotable, options: QuoteOptions = {}): Promise<Quoted> {
    return quote(this.#ctx, what, options)
  }

  /** The coins of this identity, on the chain that was named here or the last time, or of the connected wallet. Close it: one process at a time has them open, and closing brings their backup to the own relays. */
  wallet(options: CoinOptions = {}): Coins {
    return coinsOf(this.#ctx, options)
  }

  /**
   * Pays into our credit at a relay (address, URL or key), or finishes what an earlier call paid: then `isRepeat`. Undefined
   * where `agree` said no, and without `satoshis` where nothing was unfinished. @throws as `deposit` of money/deposit.ts
   */
  deposit(relay: string, satoshis?: number, options: DepositCall = {}): Promise<Deposit | undefined> {
    return depositAt(this.#ctx, relay, { ...options, satoshis })
  }

  /** Takes back a payment that its relay did not confirm. @throws ERR_CONFLICT when it was sent, ERR_NOT_FOUND */
  cancelDeposit(relay: string, options: MoneyCall = {}): Promise<Cancelled> {
    return cancelAt(this.#ctx, relay, options)
  }

  /** Has credit paid back, `satoshis` or all, or brings in what an earlier call asked for. @throws as money/withdraw.ts */
  withdraw(relay: string, options: MoneyCall & { satoshis?: number | undefined } = {}): Promise<Withdrawn> {
    return withdrawAt(this.#ctx, relay, options)
  }

  /** Escrow contracts with relays: opened, paid as they are used, ended, had back. */
  get contracts(): Contracts {
    return new Contracts(this.#ctx)
  }

  /** Relays that offer themselves: what they would cost, which to take. */
  get market(): Market {
    return new Market(this.#ctx)
  }

  /** Posts for many: public ones, private channels, and those of others. */
  get feeds(): Feeds {
    return new Feeds(this.#ctx)
  }

  /** Letters with subjects, answers and files. */
  get mail(): Mail {
    return new Mail(this.#ctx)
  }

  /** Folders kept in step with friends, or among our own devices. */
  get folders(): Folders {
    return new Folders(this.#ctx)
  }

  /** The own relays together: how many get a record, whether they still have it, and how one takes another's place. */
  get redundancy(): Redundancy {
    return new Redundancy(this.#ctx)
  }

  /** How our credit stands on the own relays or one, with the latest entries; what fails stands in a relay's place. */
  account(reference?: string, options: CallOptions & { entries?: number } = {}): Promise<AccountAt[]> {
    return accounts(this.#ctx, reference, options)
  }

  /** Everything that ever happened to our credit on a relay, newest first, page by page. @throws as `Connection.call` */
  ledger(relay: RelayAddress, options: CallOptions = {}): AsyncGenerator<LedgerEntry> {
    return ledger(this.#ctx.connect(relay), options)
  }

  /** Holds the own relays, or one, to what we have, what receivers signed and what they told us; brings in acks before. */
  audit(reference?: string, options: AuditOptions = {}): Promise<AuditedAt[]> {
    return auditAll(this.#ctx, reference, options)
  }

  /** Brings in everything friends have for us. Files and acks are the business of `finish`. */
  pull(options: PullOptions = {}): Promise<Pulled> {
    return pull(this.#ctx, options)
  }

  /** Brings in what others than friends have for us, on our relays and our friends'. They are not told. */
  async pullStrangers(options: PullOptions = {}): Promise<Pulled> {
    return pullStrangers(this.#ctx, await people.everyRelay(this.#ctx), options)
  }

  /** What others than friends have for us, without reading it. One relay's failure stops no other. */
  async strangers(options: CallOptions = {}): Promise<Strangers[]> {
    return strangersOn(this.#ctx, await people.everyRelay(this.#ctx), options)
  }

  /** Fetches the files that wait, acknowledges what was pulled, goes on with sendings and empties the queue. */
  finish(options: FinishOptions = {}): Promise<Finished> {
    return finish(this.#ctx, options)
  }

  /** Brings whatever waits to the relays; with `retryRefused` also what they refused before. */
  flush(options: FlushOptions = {}): Promise<Flushed> {
    return flushAll(this.#ctx, options)
  }

  /** Brings in messages as they come until `signal`, through restarts of relays; files and acks with them. */
  listen(options: HearOptions): Promise<void> {
    return hear(this.#ctx, options, (what) => this.finish(what))
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
    return ping(this.#ctx, await relaysNamed(this.#ctx, reference, options.signal), options)
  }
}
