/** The transactions that wait for a block, parents before children. */
import type { Outpoint, Transaction, Txid } from '../../transaction/transaction.ts'
import { type Coin, type CoinKey, coinKey, isData, type View } from './coins.ts'
import { rejected } from './rejected.ts'

export interface Entry {
  readonly txid: Txid
  readonly transaction: Transaction
  readonly bytes: Uint8Array
  readonly feeSatoshis: number
  /** Unix seconds. */
  readonly time: number
  /** Of the tip when it came. */
  readonly height: number
  /** What it spends that waits too. */
  readonly parents: readonly Txid[]
  /** Of the longest line of those that wait, with itself. */
  readonly generation: number
}

/** As SV Node is configured: limitancestorcount. */
const mostGenerations = 10_000
const mostBytes = 256 << 20

export class Mempool {
  readonly #entries = new Map<Txid, Entry>()
  readonly #spenders = new Map<CoinKey, Txid>()
  #bytes = 0

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** In the order in which they may be mined. */
  entries(): IterableIterator<Entry> {
    return this.#entries.values()
  }

  get(txid: Txid): Entry | undefined {
    return this.#entries.get(txid)
  }

  spenderOf({ txid, vout }: Outpoint): Txid | undefined {
    return this.#spenders.get(coinKey(txid, vout))
  }

  spends(key: CoinKey): boolean {
    return this.#spenders.has(key)
  }

  /** An output of one that waits, spent or not. */
  output({ txid, vout }: Outpoint, height: number): Coin | undefined {
    const output = this.#entries.get(txid)?.transaction.outputs[vout]
    return output && !isData(output) ? { ...output, height, isCoinbase: false } : undefined
  }

  /** What the chain and those that wait leave unspent together. */
  over(chain: View, height: number): View {
    return {
      coin: (outpoint) =>
        this.spenderOf(outpoint) === undefined
          ? (chain.coin(outpoint) ?? this.output(outpoint, height))
          : undefined,
    }
  }

  /** @throws RpcError -26 when it is full, or the line of those that wait too long */
  add(entry: Omit<Entry, 'parents' | 'generation'>): void {
    const { txid, transaction, bytes } = entry
    const parents = [...new Set(transaction.inputs.map((input) => input.txid))].filter((id) =>
      this.#entries.has(id),
    )
    const generation = 1 + Math.max(0, ...parents.map((id) => this.#entries.get(id)?.generation ?? 0))
    if (generation > mostGenerations) throw rejected('nonStandard', 'too-long-mempool-chain')
    if (this.#bytes + bytes.length > mostBytes) throw rejected('insufficientFee', 'mempool full')
    this.#entries.set(txid, { ...entry, parents, generation })
    for (const input of transaction.inputs) this.#spenders.set(coinKey(input.txid, input.vout), txid)
    this.#bytes += bytes.length
  }

  /** One that was mined: what spends it stays. */
  take(txid: Txid): void {
    const entry = this.#entries.get(txid)
    if (entry === undefined) return
    this.#entries.delete(txid)
    this.#bytes -= entry.bytes.length
    for (const input of entry.transaction.inputs) this.#spenders.delete(coinKey(input.txid, input.vout))
  }

  /** One that cannot be mined any more, with all that spends it. */
  drop(txid: Txid): void {
    const lost = [txid]
    for (const id of lost) {
      const entry = this.#entries.get(id)
      for (const vout of entry?.transaction.outputs.keys() ?? []) {
        const spender = this.#spenders.get(coinKey(id, vout))
        if (spender !== undefined) lost.push(spender)
      }
      this.take(id)
    }
  }

  clear(): Entry[] {
    const all = [...this.#entries.values()]
    this.#entries.clear()
    this.#spenders.clear()
    this.#bytes = 0
    return all
  }
}
