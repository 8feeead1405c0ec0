/**
 * A node of a network of its own, whose coins are worth nothing: it takes, refuses and mines transactions by the rules of a
 * real one, does at once whatever a test demands of a network, and keeps its chain in a file if it is given a place.
 */
import type { Txid } from '../../transaction/transaction.ts'
import type { ChainState } from './chain-state.ts'
import { Engine, type MineOptions } from './engine.ts'
import { blocksBeforeCut, cuts, payment } from './faucet.ts'
import { Journal } from './journal.ts'
import type { Mempool } from './mempool.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'

export { devnetGenesis } from './genesis.ts'

export interface DevnetOptions {
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Where the chain is kept; without it, in memory only. */
  readonly directory?: string
}

export const devnetLimits = {
  /** Calls that wait for those before them. */
  waiting: 20_000,
  /** Mined by one call. */
  blocks: 10_000,
  reorganizedBlocks: 100,
  /** That one call demands of a miner. */
  insistedTransactions: 1000,
} as const

export class DevnetNode {
  readonly #engine: Engine
  readonly #now: () => number
  readonly #journal: Journal | undefined
  #shiftMs = 0
  #waiting = 0
  #last: Promise<unknown> = Promise.resolve()

  private constructor(now: () => number, journal: Journal | undefined) {
    this.#engine = new Engine(journal, () => this.time)
    this.#now = now
    this.#journal = journal
  }

  /** Starts a chain whose faucet can pay, or goes on with the one in the directory. @throws ERR_BUSY, ERR_INTERNAL */
  static async open({ now, directory }: DevnetOptions): Promise<DevnetNode> {
    const journal = directory === undefined ? undefined : Journal.open(directory)
    const node = new DevnetNode(now, journal)
    try {
      await node.#engine.restore()
      if (node.chain.tip.height <= blocksBeforeCut) await node.#engine.begin()
    } catch (error) {
      journal?.close()
      throw error
    }
    return node
  }

  /** Unix seconds by the clock of the node. */
  get time(): number {
    return Math.floor((this.#now() + this.#shiftMs) / 1000)
  }

  get chain(): ChainState {
    return this.#engine.chain
  }

  get mempool(): Mempool {
    return this.#engine.mempool
  }

  /** Sets the clock, which goes on from there; 0 sets it right. */
  setTime(seconds: number): void {
    this.#shiftMs = seconds === 0 ? 0 : seconds * 1000 - this.#now()
  }

  /** Takes a transaction into the mempool. @throws RpcError as `sendrawtransaction` */
  submit(bytes: Uint8Array): Promise<Txid> {
    return this.#inTurn(async () => {
      const copy = Uint8Array.from(bytes)
      return this.#engine.take(copy)
    })
  }

  /** @returns the hash of each block @throws RpcError for a transaction that no block may have; nothing is mined then */
  mine(count: number, options: MineOptions = {}): Promise<Txid[]> {
    return this.#inTurn(async () => {
      const hashes: Txid[] = []
      for (let left = count; left > 0; left--) {
        hashes.push(
          await this.#engine.mineBlock({ ...options, ...(hashes.length > 0 && { transactions: [] }) }),
        )
      }
      this.#journal?.sync()
      return hashes
    })
  }

  /** Pays from coins that are mined and no miner's. @throws RpcError when there is not so much */
  pay(script: Uint8Array, satoshis: number): Promise<Txid> {
    return this.#inTurn(async () => {
      const { chain, mempool, next } = this.#engine
      const txid = await this.#engine.take(payment(chain.coins, mempool, { satoshis, script }))
      for (const cut of cuts(chain.coins, mempool, next.height)) await this.#engine.take(cut)
      return txid
    })
  }

  /**
   * Replaces the newest `depth` blocks by one more than these, of which the first has the given transactions and the others
   * none. What was mined is in the mempool again where it is still valid.
   */
  reorganize(depth: number, transactions: readonly Uint8Array[] = []): Promise<Txid[]> {
    return this.#inTurn(async () => {
      const { tip } = this.chain
      const fork = this.chain.at(tip.height - depth)
      if (depth < 1 || depth > devnetLimits.reorganizedBlocks || fork === undefined)
        throw new RpcError(rpcCodes.invalidParameter, `cannot reorganize ${depth} blocks`)
      const waiting = this.mempool.clear()
      const { dropped } = this.chain.activate(fork)
      try {
        const hashes = [await this.#engine.mineBlock({ transactions, withMempool: false })]
        while (hashes.length <= depth) hashes.push(await this.#engine.mineBlock({ withMempool: false }))
        return hashes
      } catch (error) {
        this.chain.activate(tip)
        throw error
      } finally {
        await this.#engine.takeBack([...(this.chain.isActive(tip) ? [] : dropped), ...waiting])
        this.#journal?.sync()
      }
    })
  }

  /** @throws RpcError for an unknown block */
  setValidity(hash: Txid, isValid: boolean): Promise<void> {
    return this.#inTurn(async () => {
      const { dropped } = this.#engine.judge(hash, isValid)
      this.#journal?.append({ kind: isValid ? 'valid' : 'invalid', hash })
      this.#journal?.sync()
      await this.#engine.takeBack([...dropped, ...this.mempool.clear()])
    })
  }

  /** What is so between two changes. */
  read<T>(look: () => T): Promise<T> {
    return this.#inTurn(async () => look())
  }

  /** Once everything begun is done. */
  async close(): Promise<void> {
    await this.#inTurn(async () => this.#journal?.close())
  }

  /** One after the other: nothing changes while scripts are checked. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    if (this.#waiting >= devnetLimits.waiting)
      return Promise.reject(new RpcError(rpcCodes.internalError, 'Work queue depth exceeded'))
    this.#waiting++
    const done = this.#last.then(act).finally(() => this.#waiting--)
    this.#last = done.catch(() => undefined) // whoever asked hears of it
    return done
  }
}
