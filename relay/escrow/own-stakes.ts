/** Our stakes as coins of the wallet: which there are, and how they become ordinary coins again. */
import { parseOutpoint } from '../../contracts/transaction/transaction.ts'
import { type Coin, fundsBasket, OwnKey } from '../../contracts/wallet/coins/rows.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import type { Stake } from '../../contracts/escrow/transactions.ts'
import { fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { contractOfStake, findContract, noContract, takeStake } from '../store/contracts.ts'
import type { Reader } from '../store/postings.ts'
import type { Store } from '../store/store.ts'

/** Of the wallet: it spends nothing of it by itself. */
export const stakeBasket = 'relay escrow stakes'

export interface OwnStake {
  readonly stake: Stake
  readonly key: OwnKey
}

/** Those that no contract has, oldest first; whoever takes one in a batch asks there once more. */
export const freeStakes = async (from: Reader, wallet: Pick<EmbeddedWallet, 'store'>): Promise<OwnStake[]> =>
  (await stakesIn(from, wallet)).free

/** Also those that openings have, which come to something in minutes or come back. */
export async function stakesIn(
  from: Reader,
  { store }: Pick<EmbeddedWallet, 'store'>,
): Promise<{ free: OwnStake[]; reserved: OwnStake[] }> {
  const [free, reserved]: [OwnStake[], OwnStake[]] = [[], []]
  for await (const coin of store.coinsIn(stakeBasket)) {
    const own = ownStakeOf(coin)
    const id = own && contractOfStake(from, own.stake)
    if (own !== undefined && id === undefined) free.push(own)
    else if (own !== undefined && findContract(from, id!)?.state.state === 'reserved') reserved.push(own) // it has one
  }
  return { free, reserved }
}

/**
 * They are ordinary coins again, which costs nothing: no opening takes them from then on. One that an opening took
 * meanwhile is left to it. @returns how many satoshi they have
 */
export async function takeApart(
  store: Pick<Store, 'commit'>,
  wallet: Pick<EmbeddedWallet, 'store'>,
  stakes: readonly OwnStake[],
): Promise<number> {
  let satoshis = 0
  for (const { stake, key } of stakes) {
    try {
      await store.commit((batch) => takeStake(batch, stake, noContract))
    } catch (error) {
      if (error instanceof MarketError && error.code === 'ERR_LIMIT') continue
      throw error
    }
    await wallet.store.change((batch) => {
      const coin = batch.coin(`${stake.txid}.${stake.vout}`)
      if (coin?.basket === stakeBasket) batch.putCoin({ ...coin, basket: fundsBasket, key })
    })
    satoshis += stake.satoshis
  }
  return satoshis
}

/** Those that were to be taken apart when the process ended. */
export async function finishTakingApart(
  from: Reader,
  { store }: Pick<EmbeddedWallet, 'store'>,
): Promise<void> {
  for await (const coin of store.coinsIn(stakeBasket)) {
    const own = ownStakeOf(coin)
    if (own === undefined || contractOfStake(from, own.stake) !== noContract) continue
    await store.change((batch) => {
      const known = batch.coin(coin.outpoint)
      if (known !== undefined) batch.putCoin({ ...known, basket: fundsBasket, key: own.key })
    })
  }
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
