/** What contracts are worked with: the home, the chain, the wallet, the relays. */
import type { WalletInterface } from '@bsv/sdk'
import type { Chain } from '../../contracts/chain/chain.ts'
import { type Contract, contractOf } from '../../contracts/escrow/contract.ts'
import { type EscrowSigner, escrowKeys, walletSigner } from '../../contracts/escrow/keys.ts'
import type { Moment } from '../../contracts/escrow/machine.ts'
import type { Terms } from '../../contracts/escrow/terms.ts'
import { type Member, makeBeef } from '../../contracts/transaction/beef.ts'
import { parseTransaction, type Txid } from '../../contracts/transaction/transaction.ts'
import { MarketError } from '../../market/errors.ts'
import type { Context } from '../context.ts'
import type { KeptContract } from '../home/contracts.ts'
import type { Peer } from './peer.ts'

/** Derives and signs: needs no coins, so that they need not be opened. */
export type KeyHolder = Pick<WalletInterface, 'getPublicKey' | 'createSignature'>
/** The calls of BRC-100 that contracts need beside keys. */
export type Purse = Pick<
  WalletInterface,
  'createAction' | 'internalizeAction' | 'relinquishOutput' | 'listOutputs' | 'listActions'
>

export interface Site {
  readonly ctx: Pick<Context, 'home' | 'now' | 'notify' | 'maxSpend'>
  readonly holder: KeyHolder
  /** Opened when they are needed; the same each time. */
  chain(): Promise<Chain>
  purse(): Promise<Purse>
  /** @param signal ends what is asked there */
  peer(contract: Pick<KeptContract, 'relay'>, signal?: AbortSignal): Peer
}

/** Without the coins and the chain: what can be done while something else waits for it. */
export const nowhere = async (): Promise<never> => {
  throw new MarketError('ERR_INTERNAL', 'this is done without coins and chain')
}

/** Of the wallet that holds our key. @throws ERR_INTERNAL */
export function keyHolder({ holder }: Pick<Context, 'holder'>): KeyHolder {
  if (holder === undefined) throw new MarketError('ERR_INTERNAL', 'nobody holds the key of this context')
  return holder.kind === 'home' ? holder.keys : holder.wallet
}

export const signerAt = ({ holder }: Pick<Site, 'holder'>): EscrowSigner => walletSigner(holder)

export const contractAt = async ({ holder }: Pick<Site, 'holder'>, terms: Terms): Promise<Contract> =>
  contractOf(terms, await escrowKeys(holder, terms, 'client'))

export const secondsNow = ({ ctx }: Pick<Site, 'ctx'>): number => Math.floor(ctx.now() / 1000)

export async function momentAt(site: Site): Promise<Moment> {
  const { medianTime } = await (await site.chain()).tip()
  return { now: secondsNow(site), medianTime }
}

/** Atomic BEEF of what the network has, as wallets take it. @throws ERR_NOT_FOUND for what it does not have */
export async function beefAt(site: Site, txid: Txid): Promise<number[]> {
  const chain = await site.chain()
  const find = async (id: Txid): Promise<Member | undefined> => {
    const bytes = await chain.transaction(id)
    if (bytes === undefined) return undefined
    const path = await chain.proof(id)
    return { txid: id, transaction: parseTransaction(bytes), ...(path && { path }) }
  }
  return [...(await makeBeef(txid, find))]
}
