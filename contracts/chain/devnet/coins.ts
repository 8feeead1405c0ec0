/** The outputs that may be spent. */
import { equal } from '../../../market/bytes.ts'
import { op } from '../../transaction/script.ts'
import type { Outpoint, Output, Transaction, Txid } from '../../transaction/transaction.ts'

export interface Coin extends Output {
  /** Of the block it is in. */
  readonly height: number
  readonly isCoinbase: boolean
}

/** Looks outputs up; undefined for what is spent or never was. */
export interface View {
  coin(outpoint: Outpoint): Coin | undefined
}

/** `TXID.VOUT`: the key of every table of outputs here. */
export type CoinKey = string

export const coinKey = (txid: Txid, vout: number): CoinKey => `${txid}.${vout}`

/** Never spendable, so never kept; its amount is burnt. */
export const isData = ({ script }: Output): boolean => script[0] === op.false && script[1] === op.return

/** What a block takes from the set, so that it can be given back. */
export type Undo = readonly (readonly [CoinKey, Coin])[]

/** The outputs of the active chain. Those that pay to one script are also listed apart: they are the faucet's. */
export class Coins implements View {
  readonly #all = new Map<CoinKey, Coin>()
  readonly #watched = new Map<CoinKey, Coin>()
  readonly #script: Uint8Array

  constructor(watched: Uint8Array) {
    this.#script = watched
  }

  get watched(): ReadonlyMap<CoinKey, Coin> {
    return this.#watched
  }

  get size(): number {
    return this.#all.size
  }

  coin({ txid, vout }: Outpoint): Coin | undefined {
    return this.#all.get(coinKey(txid, vout))
  }

  put(key: CoinKey, coin: Coin): void {
    this.#all.set(key, coin)
    if (equal(coin.script, this.#script)) this.#watched.set(key, coin)
  }

  /** @returns what was there */
  take(key: CoinKey): Coin | undefined {
    const coin = this.#all.get(key)
    this.#all.delete(key)
    this.#watched.delete(key)
    return coin
  }
}

/** What a view will be once more transactions are in it: those of a block that is being put together. */
export class Draft implements View {
  readonly #below: View
  readonly #height: number
  readonly #made = new Map<CoinKey, Coin>()
  readonly #spent = new Set<CoinKey>()

  constructor(below: View, height: number) {
    this.#below = below
    this.#height = height
  }

  coin(outpoint: Outpoint): Coin | undefined {
    const key = coinKey(outpoint.txid, outpoint.vout)
    if (this.#spent.has(key)) return undefined
    return this.#made.get(key) ?? this.#below.coin(outpoint)
  }

  add(txid: Txid, { inputs, outputs }: Transaction): void {
    for (const { txid: from, vout } of inputs) this.#spent.add(coinKey(from, vout))
    for (const [vout, output] of outputs.entries()) {
      if (isData(output)) continue
      this.#made.set(coinKey(txid, vout), { ...output, height: this.#height, isCoinbase: false })
    }
  }
}
