/**
 * The coins of one wallet on one network, in one folder, used by one process at a time. Key table: rows.ts.
 *
 * Everything is written through `change`: functions over a `Batch`, one after another, each seeing what those before it
 * wrote, each one synced write. So two spends never find the same coin free, and no crash parts what belongs
 * together. What a change means is in moves.ts; whoever follows the chain uses those and `change`.
 */
import { randomBytes } from 'node:crypto'
import { concat, fromBase64, fromHex, toBase64 } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { type Key, mostSatoshi } from '../../../market/units.ts'
import type { Network } from '../../chain/chain.ts'
import { type Member, makeBeef } from '../../transaction/beef.ts'
import { parsePath } from '../../transaction/merkle-path.ts'
import { parseTransaction, type Txid, uint64 } from '../../transaction/transaction.ts'
import { Batch, type Row, Rows } from './batch.ts'
import { type Database, type OpenOptions, openCoinDatabase } from './database.ts'
import {
  Action,
  type ActionState,
  Coin,
  Counter,
  keys,
  Known,
  Meta,
  OutpointText,
  parseRow,
  within,
} from './rows.ts'

export interface StoreOptions extends OpenOptions {
  readonly identity: Key
  readonly network: Network
  readonly now: () => number
  /** For tests: a database whose writes can be watched or made to fail. */
  readonly database?: typeof openCoinDatabase
}

/** Reading is what is on disk; `change` reads through what it has not written yet. */
export class CoinStore extends Rows {
  readonly #database: Database
  readonly #listeners = new Set<() => void>()
  #last: Promise<unknown> = Promise.resolve()
  #failure: unknown

  /**
   * Makes the store where there is none.
   * @throws ERR_CONFLICT when it belongs to another identity or network; ERR_BUSY when another process keeps it
   */
  static async open(directory: string, options: StoreOptions): Promise<CoinStore> {
    const { identity, network, now, database: open = openCoinDatabase, ...wait } = options
    const database = await open(directory, wait)
    try {
      await bind(database, { version: 1, identity, network, created: now() })
    } catch (error) {
      await database.close()
      throw error
    }
    return new CoinStore(database)
  }

  private constructor(database: Database) {
    super((key) => database.get(key))
    this.#database = database
  }

  meta(): Meta {
    return parseRow(Meta, keys.meta, this.#database.get(keys.meta)!) // written when it was opened
  }

  /**
   * Runs `make` alone and writes what it did; nothing when it throws. Resolves when that is on disk.
   * It may await reads of this store, and nothing else: everybody waits for it.
   * After a write that failed nothing more is written: what is on disk is known only to whoever opens it again.
   */
  change<T>(make: (batch: Batch) => T | Promise<T>): Promise<T> {
    const run = async (): Promise<T> => {
      if (this.#failure !== undefined)
        throw new MarketError('ERR_INTERNAL', 'an earlier write of the coins failed: open them again', {
          cause: this.#failure,
        })
      const batch = new Batch((key) => this.#database.get(key))
      const result = await make(batch)
      const { changes } = batch
      if (changes.length === 0) return result
      try {
        await this.#database.write(changes)
      } catch (cause) {
        this.#failure = cause
        throw new MarketError('ERR_INTERNAL', 'cannot write the coins', { cause })
      }
      for (const listener of this.#listeners) listener()
      return result
    }
    return this.exclusive(run)
  }

  /** Runs alone among changes; for reads that must agree with each other across several scans. Not to be nested. */
  exclusive<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#last.then(run)
    this.#last = result.catch(() => undefined)
    return result
  }

  /** Told after each change that is on disk, before whoever made it: when to write a backup. @returns ends it */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The action that this reference was given out for. */
  actionByReference(reference: string): Action | undefined {
    const number = numberOf(reference)
    const action = number === undefined ? undefined : this.action(number)
    return action?.reference === reference ? action : undefined
  }

  /** Numbers of actions, oldest first. */
  async *actionsIn(...states: ActionState[]): AsyncIterable<Action> {
    for (const state of states)
      for await (const [key] of this.#database.scan(within(keys.inState(state)))) {
        const action = this.action(Number(key.slice(-16)))
        if (action?.state === state) yield action
      }
  }

  /** All actions, oldest first. */
  async *actions(): AsyncIterable<Action> {
    for await (const [key, value] of this.#database.scan(within('a!'))) yield parseRow(Action, key, value)
  }

  /** Numbers of the actions with a label, oldest first. */
  async *labelled(label: string): AsyncIterable<number> {
    for await (const [key] of this.#database.scan(within(keys.labelled(label)))) yield Number(key.slice(-16))
  }

  /** Unspent coins of a basket, oldest first unless `reverse`; reserved and unconfirmed ones too, see `Coin`. */
  async *coinsIn(basket: string, reverse = false): AsyncIterable<Coin> {
    for await (const [, outpoint] of this.#database.scan({ ...within(keys.inBasket(basket)), reverse })) {
      const coin = this.coin(JSON.parse(outpoint))
      if (coin !== undefined) yield coin
    }
  }

  /** Every coin there ever was. */
  async *coins(): AsyncIterable<Coin> {
    for await (const [key, value] of this.#database.scan(within('c!'))) yield parseRow(Coin, key, value)
  }

  /** Coins locked by a script, in any state. */
  async coinsWith(script: string, limit: number): Promise<Coin[]> {
    return this.#coinsAt(await this.#database.few({ ...within(keys.withScript(script)), limit }))
  }

  /**
   * Coins that may be selected now.
   * @param from satoshi at least, `below` not included; the smallest first unless `reverse`
   */
  async freeCoins(
    isMined: boolean,
    { from = 0, below = mostSatoshi + 1, reverse = false, limit }: FreeCoins,
  ): Promise<Coin[]> {
    const bounds = { gte: keys.free(isMined, from), lt: keys.free(isMined, below), reverse, limit }
    return this.#coinsAt(await this.#database.few(bounds))
  }

  /** Transactions, own and ancestors, that are proven by blocks of this height and above: what a reorganisation may take back. */
  async *provenFrom(height: number): AsyncIterable<{ txid: Txid; height: number }> {
    const bounds = { gte: keys.proven(height), lt: within('p!').lt }
    for await (const [key] of this.#database.scan(bounds))
      yield { txid: key.slice(-64), height: Number(key.slice(2, 18)) }
  }

  /** A transaction that is at hand, own or ancestor. */
  member(txid: Txid): Member | undefined {
    const known = this.known(txid)
    return known === undefined ? undefined : memberOf(txid, known)
  }

  /** Atomic BEEF with every ancestor up to proven ones. @throws ERR_NOT_FOUND when one is not at hand */
  beef(txid: Txid): Promise<Uint8Array> {
    return makeBeef(txid, (ancestor) => this.member(ancestor))
  }

  /** All rows but the indexes, as they are at one moment when called through `exclusive`. `putRow` takes them back. */
  async *rows(): AsyncIterable<Row> {
    for (const counter of Counter.options) yield { kind: 'counter', counter, count: this.counter(counter) }
    const place = this.place()
    if (place !== undefined) yield { kind: 'place', place: { ...place } }
    for await (const [key, value] of this.#database.scan(within('t!')))
      yield { kind: 'known', txid: key.slice(2), known: parseRow(Known, key, value) }
    for await (const action of this.actions()) yield { kind: 'action', action }
    for await (const coin of this.coins()) yield { kind: 'coin', coin }
  }

  /** Waits for the changes that were begun. */
  async close(): Promise<void> {
    await this.#last
    await this.#database.close()
  }

  #coinsAt(rows: readonly [key: string, value: string][]): Coin[] {
    return rows.flatMap(([, outpoint]) => this.coin(OutpointText.parse(JSON.parse(outpoint))) ?? [])
  }
}

interface FreeCoins {
  readonly from?: number
  readonly below?: number
  readonly reverse?: boolean
  readonly limit: number
}

async function bind(database: Database, meta: Meta): Promise<void> {
  const text = database.get(keys.meta)
  if (text === undefined) return database.write([{ key: keys.meta, value: JSON.stringify(meta) }])
  const { identity, network } = parseRow(Meta, keys.meta, text)
  if (network !== meta.network)
    throw new MarketError('ERR_CONFLICT', `these coins are of the network ${network}, not ${meta.network}`)
  if (identity !== meta.identity)
    throw new MarketError('ERR_CONFLICT', `these coins belong to ${identity}, not to ${meta.identity}`)
}

function memberOf(txid: Txid, { raw, path }: Known): Member {
  const transaction = parseTransaction(fromHex(raw))
  return path === undefined ? { txid, transaction } : { txid, transaction, path: parsePath(fromHex(path)) }
}

/** A reference holds the number of its action, and what no other store gives the same number. */
export const newReference = (number: number): string => toBase64(concat(uint64(number), randomBytes(4)))

function numberOf(reference: string): number | undefined {
  if (!/^[A-Za-z0-9+/]{16}$/.test(reference)) return undefined
  const bytes = fromBase64(reference)
  const number = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
  return number <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(number) : undefined
}
