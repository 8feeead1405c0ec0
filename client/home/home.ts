/**
 * Everything durable, as small files that several processes may use at once. Nothing is ever changed in place:
 * a file is replaced whole, or its presence is the fact. Which file says what:
 *
 *   key.json                            the identity's key (contracts/wallet/key-file.ts)
 *   connected.json                      the BRC-100 wallet that has the key, in place of key.json
 *   wallet/                             the coins (contracts/wallet/coins/)
 *   chain.json                          the chain that was named last (contracts/chain/settings.ts)
 *   wallet-backup.json                  which records hold the backup of the coins
 *   me.relayid                          the own identity file, newest
 *   retired.json                        addresses of relays once used, for what is still queued there
 *   noticed.json                        what the user was told once and for all
 *   friends/KEY.json                    a friend: identity file, local alias, forks seen
 *   cursors/RELAY.OWNER.json            how far OWNER's records on RELAY are in the inbox (`strangers`: all others)
 *   inbox/HASH.json                     a verified record and which read it answered; HASH = SHA-256 of its path
 *   reads/HASH.json                     a sealed read that may have been answered; HASH of relay and path
 *   acks/RE.json                        an answered read that its sender was not told of yet
 *   outbox/ID.EXPIRES.TO.record         a sealed record of ours, kept until it expires
 *   outbox/ID.RELAY.queued              RELAY should get it
 *   outbox/ID.RELAY.receipt             RELAY has it: the signed reply
 *   outbox/ID.RELAY.refused             RELAY does not want it: why
 *   outbox/ID.N.quorum                  it is delivered when N relays have signed for it
 *   outbox/ID.bound                     the most that relays may reserve for it, or for the file it is part of
 *   outbox/ID.RELAY.quote               RELAY reserved more for it than this signed quote of its says
 *   outbox/ID.RELAY.broken              RELAY did so for a record of the file ID: it gets no more of it
 *   outbox/ID.RELAY.RE.ack              its receiver pulled it from RELAY, by the read RE
 *   outbox/ID.RELAY.RE.proof            RELAY was asked to prove that it holds it, by the request RE
 *   outbox/ID.deleted                   to be deleted everywhere
 *   outbox/ID.RELAY.gone                deleted at RELAY: the signed reply
 *   journal/RELAY.jsonl                 what audits need of records that are forgotten (journal.ts)
 *   audits/RELAY.PURSE.json             how far a purse was audited, and what came of it (audits.ts)
 *   transfers/out-ID.json               a file being sent
 *   transfers/in-HASH.json .log .part   a file being fetched: state, finished chunks, bytes so far
 *   payments/deposit-RELAY.json         a payment that RELAY did not confirm yet
 *   payments/withdrawal-RELAY.json      a request to be paid back, until the money is in the wallet
 *   contracts/ID.json                   a contract with a relay, and every transaction of it (contracts.ts)
 *   follows/KEY.json                    whom the user follows: identity file, local name (feeds.ts)
 *   feeds/READER.OWNER.json             OWNER's newest posts to READER, and how far each relay was read (feeds.ts)
 *   post-chains.json                    the last post to each channel of ours (feeds.ts)
 *   channels/HASH.json                  a private channel: its keys and members; HASH of owner and name (channels.ts)
 *   redundancy.json                     how many relays get a record, and how many must sign for it (redundancy.ts)
 *   troubles.json                       relays that are asked last for a while (redundancy.ts)
 *   migration.json                      the migration that is under way, or was last (migration.ts)
 *   mail/ID.json                        a text we sent, as it was signed, and mail/read.json what was read (letters.ts)
 *   sync/ID/                            a folder that is kept in step, ID = hash of whom with and its name (folders.ts)
 *   market/                             channels, adverts, probes, forged bills: for choosing relays (market.ts)
 *   announce.json                       relays on which friends are still to be told of a change
 *   files/FRIEND/NAME                   a file fetched and checked
 *   locks/NAME.N                        see lock.ts
 */
import { join } from 'node:path'
import { z } from 'zod'
import { Cursor } from '../../contracts/api.ts'
import { Address } from '../../market/address.ts'
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { type IdentityFile, openIdentity } from '../../market/identity-file.ts'
import { Key } from '../../market/units.ts'
import { codeOf } from '../errors.ts'
import { isBeyond } from '../wire/places.ts'
import { ensureDirectory, readJson, readText, readWhole, remove, writeDurably } from './durable.ts'
import { dropLock, type LockOptions, withLock } from './lock.ts'

const folders = [
  'friends',
  'cursors',
  'inbox',
  'reads',
  'acks',
  'outbox',
  'journal',
  'audits',
  'transfers',
  'payments',
  'contracts',
  'follows',
  'feeds',
  'channels',
  'mail',
  'market',
  'sync',
  'files',
  'locks',
] as const

const SavedCursor = z.strictObject({ cursor: Cursor })
const Retired = z.array(Address).max(100)
const Noticed = z.array(z.string())
const Announcement = z.array(Address)
/** A wallet outside of this home, and whose it is. */
const Connected = z.strictObject({ url: z.url(), identity: Key })
export type Connected = z.infer<typeof Connected>

export class Home {
  readonly directory: string

  private constructor(directory: string) {
    this.directory = directory
  }

  /** The home at `directory`, to look at: it may not be there, and nothing is made. */
  static at(directory: string): Home {
    return new Home(directory)
  }

  /** The home at `directory`, with its folders made where they are missing. */
  static async open(directory: string): Promise<Home> {
    const home = new Home(directory)
    await ensureDirectory(directory)
    await Promise.all(folders.map((folder) => ensureDirectory(home.path(folder))))
    return home
  }

  path(...names: string[]): string {
    return join(this.directory, ...names)
  }

  dropLock(name: string): Promise<void> {
    return dropLock({ directory: this.path('locks'), name })
  }

  get keyFile(): string {
    return this.path('key.json')
  }

  get chainFile(): string {
    return this.path('chain.json')
  }

  get coins(): string {
    return this.path('wallet')
  }

  /** The wallet that holds the key, when it is not the key file. */
  connected(): Promise<Connected | undefined> {
    return readJson(this.path('connected.json'), Connected)
  }

  saveConnected(wallet: Connected): Promise<void> {
    return writeDurably(this.path('connected.json'), JSON.stringify(wallet))
  }

  /** Runs `work` while no other process (nor task) holds the lock of that name. @throws ERR_LOCKED */
  lock<T>(name: string, work: () => Promise<T>, options: LockOptions = {}): Promise<T> {
    return withLock({ directory: this.path('locks'), name }, work, options)
  }

  /** As `lock`, but undefined, without waiting, when another holds it: who is at it will see to it. */
  async tryLock<T>(name: string, work: () => Promise<T>): Promise<T | undefined> {
    let isOurs = false
    const begin = () => {
      isOurs = true
      return work()
    }
    try {
      return await this.lock(name, begin, { waitMs: 0 })
    } catch (error) {
      if (isOurs || codeOf(error) !== 'ERR_LOCKED') throw error
      return undefined
    }
  }

  /** @throws ERR_NOT_FOUND before `init` */
  async me(): Promise<IdentityFile> {
    const path = this.path('me.relayid')
    const text = await readText(path)
    if (text === undefined)
      throw new MarketError('ERR_NOT_FOUND', `there is no identity in ${this.directory}: run relay init`)
    return readWhole(path, () => openIdentity(text))
  }

  async hasIdentity(): Promise<boolean> {
    return (await readText(this.path('me.relayid'))) !== undefined
  }

  saveMe(file: IdentityFile): Promise<void> {
    return writeDurably(this.path('me.relayid'), `${file.text}\n`)
  }

  async retired(): Promise<string[]> {
    return (await readJson(this.path('retired.json'), Retired)) ?? []
  }

  async retire(address: string): Promise<void> {
    const others = (await this.retired()).filter((known) => known !== address)
    await writeDurably(this.path('retired.json'), JSON.stringify([...others, address].slice(-100)))
  }

  /** The relays on which friends are still to be told where we are. */
  async announcement(): Promise<string[]> {
    return (await readJson(this.path('announce.json'), Announcement)) ?? []
  }

  saveAnnouncement(relays: readonly string[]): Promise<void> {
    return writeDurably(this.path('announce.json'), JSON.stringify(relays))
  }

  forgetAnnouncement(): Promise<void> {
    return remove(this.path('announce.json'))
  }

  /** True the first time it is called with `notice`, in the life of this home. */
  async noticeOnce(notice: string): Promise<boolean> {
    const path = this.path('noticed.json')
    const known = (await readJson(path, Noticed)) ?? []
    if (known.includes(notice)) return false
    await writeDurably(path, JSON.stringify([...known, notice]), { sync: false })
    return true
  }

  /** Whether `noticeOnce` was called with it. */
  async isNoticed(notice: string): Promise<boolean> {
    return ((await readJson(this.path('noticed.json'), Noticed)) ?? []).includes(notice)
  }

  async cursor(relay: Key, owner: Key | undefined): Promise<Cursor | undefined> {
    return (await readJson(this.#cursorFile(relay, owner), SavedCursor))?.cursor
  }

  /** Moves a cursor forward; in one epoch it never goes back, whoever writes last. Call it under the owner's lock. */
  async advance(relay: Key, owner: Key | undefined, cursor: Cursor): Promise<void> {
    const held = await this.cursor(relay, owner)
    if (held !== undefined && !isBeyond(cursor, held)) return
    await writeDurably(this.#cursorFile(relay, owner), JSON.stringify({ cursor }))
  }

  /** Forgets a cursor that cannot be right. Call it under the owner's lock. */
  async forgetCursor(relay: Key, owner: Key | undefined): Promise<void> {
    await remove(this.#cursorFile(relay, owner))
  }

  #cursorFile(relay: Key, owner: Key | undefined): string {
    return this.path('cursors', `${relay}.${owner ?? 'strangers'}.json`)
  }
}

/** How files are named after paths: no stranger's id ever becomes a file name. */
export const hashOf = (path: string): string => toHex(sha256(path))
