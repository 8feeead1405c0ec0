/** One logical change of the coins: sees what it wrote itself, keeps the indexes, and is written whole or not at all. */
import { z } from 'zod'
import { toHex } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { Place } from '../../chain/chain.ts'
import type { Member } from '../../transaction/beef.ts'
import { type MerklePath, serializePath } from '../../transaction/merkle-path.ts'
import { serializeTransaction, type Txid } from '../../transaction/transaction.ts'
import type { Change } from './database.ts'
import { Action, Coin, Counter, fundsBasket, keys, Known, parseRow, Recovery } from './rows.ts'

/** Reads of rows, by key. A batch answers as if it were written already. */
export class Rows {
  readonly #get: (key: string) => string | undefined

  constructor(get: (key: string) => string | undefined) {
    this.#get = get
  }

  /** How many there are: the number of the next one. */
  counter(kind: Counter): number {
    return this.#row(keys.counter(kind), z.int().min(0)) ?? 0
  }

  /** The last block that was scanned. */
  place(): Place | undefined {
    return this.#row(keys.place, Place)
  }

  recovery(): Recovery | undefined {
    return this.#row(keys.recovery, Recovery)
  }

  action(number: number): Action | undefined {
    return this.#row(keys.action(number), Action)
  }

  actionOf(txid: Txid): Action | undefined {
    const number = this.#row(keys.byTxid(txid), z.int().min(0))
    return number === undefined ? undefined : this.action(number)
  }

  coin(outpoint: string): Coin | undefined {
    return this.#row(keys.coin(outpoint), Coin)
  }

  /** The coins that an action made or brought, once it has a transaction. */
  coinsOf({ txid, outputs }: Action): Coin[] {
    return txid === undefined ? [] : outputs.flatMap(({ vout }) => this.coin(`${txid}.${vout}`) ?? [])
  }

  known(txid: Txid): Known | undefined {
    return this.#row(keys.known(txid), Known)
  }

  #row<T>(key: string, schema: z.ZodType<T>): T | undefined {
    const text = this.#get(key)
    return text === undefined ? undefined : parseRow(schema, key, text)
  }
}

/** Whether the wallet may spend it as it likes, now. */
export const isFree = (coin: Coin): boolean =>
  coin.basket === fundsBasket &&
  coin.key !== undefined &&
  coin.spent === undefined &&
  coin.reserved === undefined &&
  (coin.state === 'mined' || coin.state === 'unproven')

export class Batch extends Rows {
  readonly #changes: Map<string, string | undefined>

  constructor(get: (key: string) => string | undefined) {
    const changes = new Map<string, string | undefined>()
    super((key) => (changes.has(key) ? changes.get(key) : get(key)))
    this.#changes = changes
  }

  get changes(): Change[] {
    return [...this.#changes].map(([key, value]) => ({ key, value }))
  }

  /** The next number of a kind; nobody gets it again. */
  next(kind: Counter): number {
    const number = this.counter(kind)
    this.#put(keys.counter(kind), number + 1)
    return number
  }

  /** At least so many numbers of a kind are used: what a scan found. */
  raise(kind: Counter, count: number): void {
    if (count > this.counter(kind)) this.#put(keys.counter(kind), count)
  }

  putPlace(place: Place): void {
    this.#put(keys.place, { height: place.height, hash: place.hash })
  }

  /** @param recovery undefined: it is over */
  putRecovery(recovery: Recovery | undefined): void {
    if (recovery === undefined) this.#delete(keys.recovery)
    else this.#put(keys.recovery, recovery)
  }

  putAction(action: Action): void {
    const { number, state, txid, labels } = action
    const before = this.action(number)
    if (before !== undefined && before.state !== state) this.#delete(keys.inState(before.state, number))
    if (before?.txid !== undefined && before.txid !== txid) this.#delete(keys.byTxid(before.txid))
    for (const label of before?.labels ?? [])
      if (!labels.includes(label)) this.#delete(keys.labelled(label, number))
    this.#put(keys.action(number), action)
    this.#put(keys.inState(state, number), 1)
    if (txid !== undefined) this.#put(keys.byTxid(txid), number)
    for (const label of labels) this.#put(keys.labelled(label, number), 1)
  }

  /** Its indexes follow from the coin alone. */
  putCoin(coin: Coin): void {
    const before = this.coin(coin.outpoint)
    if (before !== undefined) for (const key of indexesOf(before)) this.#delete(key)
    this.#put(keys.coin(coin.outpoint), coin)
    for (const key of indexesOf(coin)) this.#put(key, coin.outpoint)
  }

  /** A transaction as it must be at hand for the BEEF of what spends it; one that has a proof keeps it. */
  putMember({ txid, transaction, path }: Pick<Member, 'txid' | 'transaction' | 'path'>): void {
    const before = this.known(txid)
    if (before !== undefined && (path === undefined || before.path !== undefined)) return
    if (before === undefined) this.#put(keys.known(txid), { raw: toHex(serializeTransaction(transaction)) })
    if (path !== undefined) this.putProof(txid, path)
  }

  /** @param path undefined takes the proof back: its block is no longer in the best chain */
  putProof(txid: Txid, path: MerklePath | undefined): void {
    const before = this.known(txid)
    if (before === undefined) throw new MarketError('ERR_NOT_FOUND', `the transaction ${txid} is not known`)
    if (before.height !== undefined) this.#delete(keys.proven(before.height, txid))
    const { raw } = before
    if (path === undefined) {
      this.#put(keys.known(txid), { raw })
      return
    }
    this.#put(keys.known(txid), { raw, path: toHex(serializePath(path)), height: path.height })
    this.#put(keys.proven(path.height, txid), 1)
  }

  /** A row of another store, as `CoinStore.rows` gave it. */
  putRow(row: Row): void {
    if (row.kind === 'action') this.putAction(row.action)
    if (row.kind === 'coin') this.putCoin(row.coin)
    if (row.kind === 'counter') this.raise(row.counter, row.count)
    if (row.kind === 'place') this.putPlace(row.place)
    if (row.kind === 'known') this.#putKnown(row.txid, row.known)
  }

  #putKnown(txid: Txid, known: Known): void {
    const before = this.known(txid)
    if (before?.height !== undefined) this.#delete(keys.proven(before.height, txid))
    this.#put(keys.known(txid), known)
    if (known.height !== undefined) this.#put(keys.proven(known.height, txid), 1)
  }

  #put(key: string, value: unknown): void {
    this.#changes.set(key, JSON.stringify(value))
  }

  #delete(key: string): void {
    this.#changes.set(key, undefined)
  }
}

function indexesOf(coin: Coin): string[] {
  const { outpoint, number, basket, script, satoshis } = coin
  const indexes = [keys.withScript(script, outpoint)]
  if (basket !== undefined && coin.spent === undefined && coin.state !== 'failed')
    indexes.push(keys.inBasket(basket, number))
  if (isFree(coin)) indexes.push(keys.free(coin.state === 'mined', satoshis, outpoint))
  return indexes
}

/** What a store is made of, without its indexes: all that a backup needs, and enough for it. */
export const Row = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('action'), action: Action }),
  z.strictObject({ kind: z.literal('coin'), coin: Coin }),
  z.strictObject({ kind: z.literal('known'), txid: z.string(), known: Known }),
  z.strictObject({
    kind: z.literal('counter'),
    counter: Counter,
    count: z.int().min(0),
  }),
  z.strictObject({ kind: z.literal('place'), place: Place }),
])
export type Row = z.infer<typeof Row>
