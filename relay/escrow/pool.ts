/** Our stakes: outputs of exactly what an opening takes, made in advance, so that openings never wait for one another. */
import { feeFor } from '../../contracts/chain/chain.ts'
import { inputBytes, type Stake } from '../../contracts/escrow/transactions.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { parseOutpoint } from '../../contracts/transaction/transaction.ts'
import { type Coin, OwnKey } from '../../contracts/wallet/coins/rows.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { contractOfStake } from '../store/contracts.ts'
import type { Reader } from '../store/postings.ts'
import type { EscrowParts } from './parts.ts'

const poolBasket = 'relay escrow stakes'

export interface OwnStake {
  readonly stake: Stake
  readonly key: OwnKey
}

/** Half of the frame of a funding (contracts/escrow/transactions.ts). */
const halfFrameBytes = 5

/** What the server puts in with one stake and without change. */
const dueOf = ({ depositServer, feeRate }: { depositServer: number; feeRate: number }): number =>
  depositServer + feeFor(inputBytes + halfFrameBytes, feeRate)

export class StakePool {
  readonly #parts: Pick<EscrowParts, 'store' | 'wallet' | 'policy' | 'log'>
  #trouble: string | undefined
  #tending: Promise<void> | undefined

  constructor(parts: Pick<EscrowParts, 'store' | 'wallet' | 'policy' | 'log'>) {
    this.#parts = parts
  }

  /** Those that no contract has, oldest first; whoever takes one in a batch asks there once more. */
  async free(from: Reader = this.#parts.store): Promise<OwnStake[]> {
    const { wallet, policy } = this.#parts
    const due = dueOf(policy)
    const free: OwnStake[] = []
    for await (const coin of wallet().store.coinsIn(poolBasket)) {
      const own = ownStakeOf(coin)
      if (own !== undefined && own.stake.satoshis === due && contractOfStake(from, own.stake) === undefined)
        free.push(own)
    }
    return free
  }

  /** Makes new ones when half of them are used. What is wrong is in the log, once for each change. */
  tend(): Promise<void> {
    this.#tending ??= this.#tend().finally(() => {
      this.#tending = undefined
    })
    return this.#tending
  }

  async #tend(): Promise<void> {
    const { wallet, policy, log } = this.#parts
    const missing = policy.poolSize - (await this.free()).length
    if (missing < policy.poolSize / 2) return
    let trouble: string | undefined
    // With few coins a few stakes are better than none.
    for (let count = missing; count >= 1; count = Math.floor(count / 2)) {
      try {
        await make(wallet(), count, dueOf(policy))
        trouble = undefined
        break
      } catch (error) {
        if (!(error instanceof MarketError)) throw error
        trouble = error.message
        if (error.code !== 'ERR_INSUFFICIENT_FUNDS') break
      }
    }
    if (trouble !== undefined && trouble !== this.#trouble)
      log.warn({ reason: trouble }, 'no stakes can be made: contracts are not opened without')
    this.#trouble = trouble
  }
}

async function make(wallet: EmbeddedWallet, count: number, satoshis: number): Promise<void> {
  const keys = await Promise.all(Array.from({ length: count }, () => wallet.stakeKey()))
  await wallet.createAction({
    description: 'stakes for contracts',
    outputs: keys.map(({ publicKey, ...key }) => ({
      lockingScript: toHex(p2pkh(fromHex(publicKey))),
      satoshis,
      basket: poolBasket,
      outputDescription: 'a stake',
      customInstructions: JSON.stringify(key),
    })),
    options: { randomizeOutputs: false, acceptDelayedBroadcast: false },
  })
}

/** Undefined for what the network does not have, or has spent. */
function ownStakeOf({
  outpoint,
  satoshis,
  script,
  state,
  spent,
  customInstructions,
}: Coin): OwnStake | undefined {
  if ((state !== 'mined' && state !== 'unproven') || spent !== undefined) return undefined
  const key = OwnKey.parse(JSON.parse(customInstructions ?? 'null'))
  return { stake: { ...parseOutpoint(outpoint), satoshis, script: fromHex(script) }, key }
}
