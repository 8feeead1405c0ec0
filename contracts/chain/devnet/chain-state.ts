/** All blocks of a devnet, which of them are the best chain, and the outputs that these leave unspent. */
import { strict as assert } from 'node:assert'
import { MarketError } from '../../../market/errors.ts'
import {
  hasWork,
  type Header,
  headerBytes,
  readBlock,
  serializeHeader,
  blockHash,
} from '../../transaction/block.ts'
import { merkleRoot } from '../../transaction/merkle-path.ts'
import { parseTransaction, type Txid } from '../../transaction/transaction.ts'
import { type Coin, type CoinKey, coinKey, Coins, isData, type Undo } from './coins.ts'
import { devnetGenesis } from './genesis.ts'

export interface BlockMember {
  readonly txid: Txid
  readonly bytes: Uint8Array
}

export interface Block {
  readonly hash: Txid
  readonly height: number
  readonly header: Header
  /** Unix seconds: the median of the times of this block and the ten before it. */
  readonly medianTime: number
  readonly bytes: Uint8Array
  readonly members: readonly BlockMember[]
}

/** Where a transaction is. */
export interface Place {
  readonly block: Block
  readonly index: number
}

/** What a change of the best chain did. */
export interface Switch {
  /** Transactions of dropped blocks without coinbases, oldest first. */
  readonly dropped: readonly BlockMember[]
  readonly connected: readonly Block[]
}

const blocksOfMedian = 11
/** All are kept in memory. */
export const mostBlocks = 1_000_000

export class ChainState {
  readonly coins: Coins
  readonly #blocks = new Map<Txid, Block>()
  readonly #active: Block[] = []
  readonly #places = new Map<Txid, Place>()
  readonly #undo = new Map<Txid, Undo>()
  readonly #invalid = new Set<Txid>()

  constructor(genesis: Uint8Array, watched: Uint8Array) {
    this.coins = new Coins(watched)
    this.add(genesis)
  }

  get tip(): Block {
    return this.#active.at(-1)! // the first block is never dropped
  }

  get blockCount(): number {
    return this.#blocks.size
  }

  block(hash: Txid): Block | undefined {
    return this.#blocks.get(hash)
  }

  at(height: number): Block | undefined {
    return this.#active[height]
  }

  isActive({ hash, height }: Block): boolean {
    return this.#active[height]?.hash === hash
  }

  /** In the best chain. */
  placeOf(txid: Txid): Place | undefined {
    return this.#places.get(txid)
  }

  /**
   * Takes a block whose transactions were checked, and makes it the tip when its chain is the longest.
   * @throws ERR_MALFORMED for one that does not fit to any block here, has no work or a wrong root
   */
  add(bytes: Uint8Array): Switch {
    const block = this.#read(bytes)
    if (this.#blocks.has(block.hash)) return { dropped: [], connected: [] }
    this.#blocks.set(block.hash, block)
    if (this.#active.length > 0 && (block.height <= this.tip.height || !this.#isValid(block)))
      return { dropped: [], connected: [] }
    return this.activate(block)
  }

  /** Makes a block the tip, whatever its height. */
  activate(target: Block): Switch {
    const connecting: Block[] = []
    for (let block = target; !this.isActive(block); ) {
      connecting.push(block)
      if (block.height === 0) break
      block = this.#blocks.get(block.header.previous)! // only what has a parent is kept
    }
    const fork = target.height - connecting.length
    const dropped: (readonly BlockMember[])[] = []
    while (this.#active.length - 1 > fork) dropped.push(this.#disconnect().members.slice(1))
    connecting.reverse()
    for (const block of connecting) this.#connect(block)
    return { dropped: dropped.reverse().flat(), connected: connecting }
  }

  /** Never again on the best chain, nor what is built on it, until it is reconsidered. */
  invalidate(hash: Txid): Switch {
    this.#invalid.add(hash)
    return this.activate(this.#best())
  }

  /** Forgets that a block, what it is built on or what is built on it was invalid. */
  reconsider(block: Block): Switch {
    for (const hash of this.#invalid) {
      const other = this.#blocks.get(hash)
      if (other === undefined || this.#descends(block, other) || this.#descends(other, block))
        this.#invalid.delete(hash)
    }
    return this.activate(this.#best())
  }

  /** The highest valid block; the present tip, else the one known longest, where several are. */
  #best(): Block {
    let best = this.#isValid(this.tip) ? this.tip : this.#active[0]! // there is a first block
    for (const block of this.#blocks.values())
      if (block.height > best.height && this.#isValid(block)) best = block
    return best
  }

  #isValid(block: Block): boolean {
    if (this.#invalid.size === 0) return true
    for (const hash of this.#invalid) {
      const invalid = this.#blocks.get(hash)
      if (invalid !== undefined && this.#descends(block, invalid)) return false
    }
    return true
  }

  /** Whether a block is another one, or built on it. */
  #descends(block: Block, ancestor: Block): boolean {
    let at = block
    while (at.height > ancestor.height && !this.isActive(at)) at = this.#blocks.get(at.header.previous)! // as above
    return this.isActive(at) && at.height > ancestor.height
      ? this.isActive(ancestor)
      : at.hash === ancestor.hash
  }

  #connect(block: Block): void {
    const { height } = block
    const undo: [CoinKey, Coin][] = []
    for (const [index, { txid, bytes }] of block.members.entries()) {
      const { inputs, outputs } = parseTransaction(bytes)
      for (const input of index === 0 ? [] : inputs) {
        const key = coinKey(input.txid, input.vout)
        const coin = this.coins.take(key)
        assert(coin, `block ${block.hash} spends what is not there`)
        undo.push([key, coin])
      }
      for (const [vout, output] of outputs.entries())
        if (!isData(output))
          this.coins.put(coinKey(txid, vout), { ...output, height, isCoinbase: index === 0 })
      this.#places.set(txid, { block, index })
    }
    this.#undo.set(block.hash, undo)
    this.#active.push(block)
  }

  #disconnect(): Block {
    const block = this.#active.pop()!
    for (const { txid, bytes } of [...block.members].reverse()) {
      const { outputs } = parseTransaction(bytes)
      for (const vout of outputs.keys()) this.coins.take(coinKey(txid, vout))
      this.#places.delete(txid)
    }
    // What one transaction of the block made and another spent is given back here: it goes with the loop below.
    for (const [key, coin] of this.#undo.get(block.hash) ?? []) {
      if (coin.height < block.height) this.coins.put(key, coin)
    }
    this.#undo.delete(block.hash)
    return block
  }

  #read(bytes: Uint8Array): Block {
    const { header, transactions } = readBlock(bytes)
    const members = Array.from(transactions, ({ txid, bytes }) => ({ txid, bytes }))
    const start = serializeHeader(header)
    const hash = blockHash(start.subarray(0, headerBytes))
    const parent = this.#blocks.get(header.previous)
    if (parent === undefined && hash !== devnetGenesis) throw malformed('it is built on none we know')
    if (!hasWork(start, header.bits)) throw malformed('it has no work')
    if (merkleRoot(members.map(({ txid }) => txid)) !== header.root) throw malformed('its root')
    const height = parent === undefined ? 0 : parent.height + 1
    return { hash, height, header, medianTime: this.#medianOf(header.time, parent), bytes, members }
  }

  #medianOf(time: number, parent: Block | undefined): number {
    const times = [time]
    for (
      let block = parent;
      block && times.length < blocksOfMedian;
      block = this.#blocks.get(block.header.previous)
    )
      times.push(block.header.time)
    times.sort((a, b) => a - b)
    return times[times.length >> 1]! // there is at least one
  }
}

const malformed = (what: string): MarketError =>
  new MarketError('ERR_MALFORMED', `not a block of this devnet: ${what}`)
