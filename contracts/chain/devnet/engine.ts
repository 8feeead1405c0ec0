/** What a node of a devnet does to its chain and its mempool, one thing after the other: node.ts sees to that. */
import { concat } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { serializeBlock, serializeHeader } from '../../transaction/block.ts'
import { isFinal, type Next } from '../../transaction/lock-time.ts'
import { merkleRoot } from '../../transaction/merkle-path.ts'
import {
  compactSize,
  parseTransaction,
  serializeTransaction,
  type Txid,
  txidOf,
} from '../../transaction/transaction.ts'
import { choose, spentBy } from './assembly.ts'
import { type Block, ChainState, mostBlocks, type Switch } from './chain-state.ts'
import type { View } from './coins.ts'
import { blocksBeforeCut, cuts, faucetScript } from './faucet.ts'
import { blockVersion, coinbaseOf, devnetBits, genesisBlock, subsidySatoshis, work } from './genesis.ts'
import type { Journal } from './journal.ts'
import { Mempool } from './mempool.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'
import { rejected } from './rejected.ts'
import { checkAmounts, checkFee, checkForm, checkStandard, checkUnlocking, decode } from './rules.ts'

export interface MineOptions {
  /** Of the coinbase; the faucet's unless said. */
  readonly script?: Uint8Array
  /** Taken into the block before all others, if only the consensus allows them; what conflicts with them is dropped. */
  readonly transactions?: readonly Uint8Array[]
  /** Whether those that wait are mined too: true unless said. */
  readonly withMempool?: boolean
}

export class Engine {
  readonly chain: ChainState
  readonly mempool = new Mempool()
  readonly #journal: Journal | undefined
  readonly #time: () => number

  /** @param time unix seconds */
  constructor(journal: Journal | undefined, time: () => number) {
    const { header, coinbase } = genesisBlock()
    this.chain = new ChainState(serializeBlock(header, [coinbase]), faucetScript)
    this.#journal = journal
    this.#time = time
  }

  /** Of what is sent now: the block that it will be in. */
  get next(): Next {
    return { height: this.chain.tip.height + 1, medianTime: this.chain.tip.medianTime }
  }

  /** What may be spent now. */
  get view(): View {
    return this.mempool.over(this.chain.coins, this.next.height)
  }

  async take(bytes: Uint8Array): Promise<Txid> {
    const txid = await this.#accept(bytes)
    try {
      this.#journal?.append({ kind: 'transaction', bytes })
    } catch (error) {
      this.mempool.drop(txid)
      throw error
    }
    return txid
  }

  async #accept(bytes: Uint8Array): Promise<Txid> {
    const transaction = decode(bytes)
    const txid = txidOf(bytes)
    const { next, view, mempool } = this
    if (mempool.get(txid))
      throw new RpcError(rpcCodes.verifyAlreadyInChain, 'Transaction already in the mempool')
    checkForm(transaction, bytes.length)
    checkStandard(transaction)
    if (!isFinal(transaction, next)) throw rejected('nonStandard', 'non-final')
    if (transaction.inputs.some((input) => mempool.spenderOf(input) !== undefined))
      throw rejected('conflict', 'txn-mempool-conflict')
    const spent = spentBy(txid, transaction, view)
    const feeSatoshis = checkAmounts(transaction, spent, next)
    checkFee(feeSatoshis, bytes.length)
    await checkUnlocking(transaction, spent, 'policy')
    mempool.add({ txid, transaction, bytes, feeSatoshis, time: this.#time(), height: this.chain.tip.height })
    return txid
  }

  async mineBlock({
    script = faucetScript,
    transactions = [],
    withMempool = true,
    time = this.#time(),
  }: MineOptions & { time?: number }): Promise<Txid> {
    if (this.chain.blockCount >= mostBlocks)
      throw new MarketError('ERR_LIMIT', `a devnet has at most ${mostBlocks} blocks`)
    const { tip, coins: chain } = this.chain
    const { next, mempool } = this
    const chosen = await choose(transactions, { chain, mempool, next, withMempool })
    const coinbase = coinbaseOf({
      height: next.height,
      number: this.chain.blockCount,
      satoshis: chosen.reduce((sum, { feeSatoshis }) => sum + feeSatoshis, subsidySatoshis),
      script,
    })
    const header = work({
      version: blockVersion,
      previous: tip.hash,
      root: merkleRoot([txidOf(coinbase), ...chosen.map(({ txid }) => txid)]),
      time: Math.max(tip.medianTime + 1, time),
      bits: devnetBits,
      nonce: 0,
    })
    const bytes = concat(
      ...[serializeHeader(header), compactSize(1 + chosen.length), serializeTransaction(coinbase)],
      ...chosen.map((member) => member.bytes),
    )
    this.#journal?.append({ kind: 'block', bytes })
    for (const block of this.chain.add(bytes).connected) this.#leaveMempool(block)
    return this.chain.tip.hash
  }

  /** What a block has waits no longer; what conflicts with it never can be mined. */
  #leaveMempool(block: Block): void {
    for (const { txid } of block.members) this.mempool.take(txid)
    if (this.mempool.size === 0) return
    for (const { bytes } of block.members) {
      for (const input of parseTransaction(bytes).inputs) {
        const spender = this.mempool.spenderOf(input)
        if (spender !== undefined) this.mempool.drop(spender)
      }
    }
  }

  /** Tries all again that are in no block; those that became invalid are lost, as on a real node. */
  async takeBack(candidates: readonly { txid: Txid; bytes: Uint8Array }[]): Promise<void> {
    let open = candidates.filter(({ txid }) => this.chain.placeOf(txid) === undefined)
    for (let before = Number.POSITIVE_INFINITY; open.length < before; ) {
      before = open.length
      const missing: typeof open = []
      for (const candidate of open) {
        try {
          await this.#accept(candidate.bytes)
        } catch (error) {
          if (!(error instanceof RpcError)) throw error
          // Its parent may come later in the list.
          if (error.code === rpcCodes.verifyError) missing.push(candidate)
        }
      }
      open = missing
    }
  }

  async restore(): Promise<void> {
    const waiting = new Map<Txid, Uint8Array>()
    const apply = ({ dropped, connected }: Switch): void => {
      for (const { txid, bytes } of dropped) waiting.set(txid, bytes)
      for (const { members } of connected) for (const { txid } of members) waiting.delete(txid)
    }
    for (const happening of this.#journal?.replay() ?? []) {
      if (happening.kind === 'block') apply(this.chain.add(happening.bytes))
      else if ('bytes' in happening) waiting.set(txidOf(happening.bytes), happening.bytes)
      else if ('hash' in happening) apply(this.judge(happening.hash, happening.kind === 'valid'))
    }
    await this.takeBack([...waiting].map(([txid, bytes]) => ({ txid, bytes })))
  }

  judge(hash: Txid, isValid: boolean): Switch {
    const block = this.chain.block(hash)
    if (block === undefined) throw new RpcError(rpcCodes.invalidAddressOrKey, 'Block not found')
    if (block.height === 0) throw new RpcError(rpcCodes.verifyError, 'the first block stays')
    return isValid ? this.chain.reconsider(block) : this.chain.invalidate(hash)
  }

  /** Blocks whose times rise to now, then one that cuts the first coins into many. */
  async begin(): Promise<void> {
    const start = this.#time() - blocksBeforeCut - 1
    while (this.chain.tip.height < blocksBeforeCut)
      await this.mineBlock({ time: start + this.chain.tip.height, withMempool: false })
    const transactions = cuts(this.chain.coins, this.mempool, this.next.height)
    await this.mineBlock({ transactions })
    this.#journal?.sync()
  }
}
