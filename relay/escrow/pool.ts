/** Our stakes: outputs of exactly what an opening takes, made in advance, so that openings never wait for one another. */
import { feeFor } from '../../contracts/chain/chain.ts'
import { serverStakeDue } from '../../contracts/escrow/transactions.ts'
import { mostPaidFeeRate } from '../../contracts/wallet/actions/draft-size.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { owedToCustomers } from './backing.ts'
import {
  finishTakingApart,
  freeStakes,
  type OwnStake,
  stakeBasket,
  stakesIn,
  takeApart,
} from './own-stakes.ts'
import type { EscrowParts } from './parts.ts'

/** Of the transaction that makes stakes: each of them, and one input, change and the rest. */
const [stakeBytes, frameBytes] = [34, 192]
/** After so many rows that tell what customers are owed, so long a pause: a hundredth of the time for it. */
const [pausedRows, pauseMs] = [1000, 300]

type Parts = Pick<EscrowParts, 'store' | 'wallet' | 'policy' | 'log'>

export class StakePool {
  readonly #parts: Parts
  #lack: string | undefined
  #count = 0
  #tending: Promise<void> | undefined
  /** By the clock of the process: when what is owed may be counted again. */
  #countAgain = 0

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Why there are fewer stakes than there should be, for people. */
  get lack(): string | undefined {
    return this.#lack
  }

  /** Stakes that lay ready when they were counted last. */
  get count(): number {
    return this.#count
  }

  /** Those that no contract has, oldest first; whoever takes one in a batch asks there once more. */
  async free(): Promise<OwnStake[]> {
    const { store, wallet, policy } = this.#parts
    const due = serverStakeDue(policy)
    const all = await freeStakes(store, wallet())
    const free = all.filter(({ stake }) => stake.satoshis === due)
    this.#count = free.length
    return free
  }

  /**
   * Makes new ones when half of them are used, of coins beyond what customers may ask back; where none are wanted, those
   * that lie ready are ordinary coins again. What is wrong is in the log, once for each change.
   */
  tend(isWanted: boolean): Promise<void> {
    this.#tending ??= this.#tend(isWanted).finally(() => {
      this.#tending = undefined
    })
    return this.#tending
  }

  async #tend(isWanted: boolean): Promise<void> {
    const { store, wallet, policy, log } = this.#parts
    await finishTakingApart(store, wallet())
    const due = serverStakeDue(policy)
    const { free: all, reserved } = await stakesIn(store, wallet())
    // After other terms were set, those of before fit nothing.
    const useless = isWanted ? all.filter(({ stake }) => stake.satoshis !== due) : all
    if (useless.length > 0) await takeApart(store, wallet(), useless)
    this.#count = all.length - useless.length
    const wanted = isWanted ? policy.poolSize : 0
    const missing = wanted - this.#count - reserved.length
    const lack = missing > 0 && 2 * missing >= wanted ? await this.#fill(missing) : undefined
    if (lack !== undefined && lack !== this.#lack)
      log.warn({ stakes: this.#count, reason: lack }, 'not enough stakes lie ready for contracts')
    this.#lack = lack
  }

  /** With few coins a few stakes are better than none. @returns what is lacking */
  async #fill(missing: number): Promise<string | undefined> {
    const { store, wallet, policy } = this.#parts
    if (performance.now() < this.#countAgain) return this.#lack
    const due = serverStakeDue(policy)
    const { satoshis: owed, rows } = await owedToCustomers(store)
    const { confirmed, unconfirmed } = await wallet().balance()
    this.#countAgain = performance.now() + Math.floor(rows / pausedRows) * pauseMs
    const feeRate = Math.min(await wallet().chain.feeRate(), mostPaidFeeRate)
    const beyond = confirmed + unconfirmed - owed - feeFor(frameBytes, feeRate)
    const each = due + feeFor(stakeBytes, feeRate)
    const affordable = Math.min(missing, Math.max(0, Math.floor(beyond / each)))
    for (let count = affordable; count >= 1; count = Math.floor(count / 2)) {
      try {
        await make(wallet(), count, due)
        this.#count += count
        return undefined
      } catch (error) {
        if (!(error instanceof MarketError)) throw error
        if (error.code !== 'ERR_INSUFFICIENT_FUNDS') return error.message
      }
    }
    const theirs = owed === 0 ? '' : `, beyond the ${owed} satoshi that customers may ask back`
    return `fund the wallet: a stake takes ${each} satoshi${theirs}`
  }
}

async function make(wallet: EmbeddedWallet, count: number, satoshis: number): Promise<void> {
  const keys = await Promise.all(Array.from({ length: count }, () => wallet.stakeKey()))
  await wallet.createAction({
    description: 'stakes for contracts',
    outputs: keys.map(({ publicKey, ...key }) => ({
      lockingScript: toHex(p2pkh(fromHex(publicKey))),
      satoshis,
      basket: stakeBasket,
      outputDescription: 'a stake',
      customInstructions: JSON.stringify(key),
    })),
    options: { randomizeOutputs: false, acceptDelayedBroadcast: false },
  })
}
