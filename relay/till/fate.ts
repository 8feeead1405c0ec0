/** What the wallet has learnt from the chain of a transaction that credit rests on. */
import type { CoinStore } from '../../contracts/wallet/coins/store.ts'
import type { Fate } from '../store/payments.ts'

/** Blocks above the one that decided, after which nothing is expected to change any more: as far down as wallets look. */
const settledBlocks = 100

interface Known {
  readonly state: string
  /** Of the chain when it was decided; else 0. */
  readonly height: number
}

/**
 * Undefined while nothing is known: it may have been brought to coins that were lost.
 * @param before what it was; @param tip height of the chain
 */
export function fateOf(
  coins: Pick<CoinStore, 'actionOf' | 'known' | 'coin'>,
  txid: string,
  { before, tip }: { before: Known; tip: number },
): Fate | undefined {
  const state = coins.actionOf(txid)?.state
  if (state === 'mined') return { state, height: coins.known(txid)?.height ?? tip }
  if (state === 'unproven') return { state: 'unmined', height: 0 }
  // Under another id, which whoever signed it can give it, the wallet has it, and the coin of this id never was.
  const isReplaced = state === undefined && coins.coin(`${txid}.0`)?.state === 'failed'
  if (state !== 'failed' && !isReplaced) return undefined
  const wasReversed = (before.state === 'reversed' || before.state === 'failed') && before.height > 0
  return { state: 'reversed', height: wasReversed ? before.height : tip }
}

/** Whether no block will change it. */
export const isSettled = ({ height }: Known, tip: number): boolean =>
  height > 0 && tip >= height + settledBlocks
