/** What a refusal by the network means for the coins of a transaction: the one place where that is decided. */
import { MarketError } from '../../../market/errors.ts'
import type { Refusal } from '../../chain/chain.ts'
import { isCoinbase, type Member } from '../../transaction/beef.ts'
import { rootOf } from '../../transaction/merkle-path.ts'
import { formatOutpoint, type Txid } from '../../transaction/transaction.ts'
import type { WalletParts } from '../wallet-parts.ts'

type Parts = Pick<WalletParts, 'store' | 'chain'>

export type Verdict =
  /** The network has it after all. */
  | { readonly kind: 'taken' }
  /** It may be taken yet, here or by whoever else has it: its coins stay set aside. */
  | { readonly kind: 'waiting' }
  /** It will not be. `lost` are inputs that something else spends; the others are free. */
  | { readonly kind: 'failed'; readonly lost: ReadonlySet<string>; readonly why: string }

/**
 * A refusal may pass: what a transaction spends is on its way, the fee that is asked for falls. What another transaction
 * on the network spends is gone, and what was never taken by anybody, nor handed out, need not wait.
 * @throws ERR_CHAIN_UNAVAILABLE
 */
export async function decideRefusal(
  parts: Parts,
  { txid, transaction }: Pick<Member, 'txid' | 'transaction'>,
  error: MarketError,
): Promise<Verdict> {
  if (isCoinbase(transaction)) {
    // There is no other block for it: where its own is back in the chain, it is found there again.
    if ((await parts.chain.status(txid)).state !== 'unknown') return { kind: 'taken' }
    return { kind: 'failed', lost: new Set(), why: `the block that ${txid} was mined in left the chain` }
  }
  const lost = new Set<string>()
  const untold: string[] = []
  let isAllThere = true
  for (const input of transaction.inputs) {
    const isUnspent = await parts.chain.isUnspent(input)
    if (isUnspent === true) continue
    // Also what never was is not unspent.
    const isThere = await exists(parts, input.txid)
    isAllThere &&= isThere
    if (isUnspent === undefined) untold.push(formatOutpoint(input))
    else if (isThere) lost.add(formatOutpoint(input))
  }
  // What spends them may be this very transaction, which arrived meanwhile.
  if ((await parts.chain.status(txid)).state !== 'unknown') return { kind: 'taken' }
  const refusal = error.extras.refusal as Refusal | undefined // that of broadcast, as the port says
  // Where nobody tells what is spent: it is one of these, when inputs are missing whose transactions are there.
  const isConflict =
    refusal === 'conflict' || (refusal === 'missing-inputs' && untold.length > 0 && isAllThere)
  const [only, ...others] = untold
  if (lost.size === 0 && isConflict && only !== undefined && others.length === 0) lost.add(only)
  if (lost.size > 0) {
    const why = `another transaction spent ${[...lost].join(', ')}, which ${txid} spends`
    return { kind: 'failed', lost, why }
  }
  const action = parts.store.actionOf(txid)
  const isOurs = action?.state === 'sending' && action.isHandedOut !== true
  const isPassing = !isConflict && (refusal === 'missing-inputs' || refusal === 'non-final')
  return isOurs && !isPassing ? { kind: 'failed', lost, why: error.message } : { kind: 'waiting' }
}

/** In a block of the best chain, as its proof says, or known to the network otherwise: not every view knows all. */
async function exists({ store, chain }: Parts, txid: Txid): Promise<boolean> {
  const path = store.member(txid)?.path
  if (path !== undefined && (await chain.isValidRootForHeight(rootOf(path, txid).root, path.height)))
    return true
  return (await chain.status(txid)).state !== 'unknown'
}

/** Whether the network says that it will not take a transaction as it is. */
export const isRefusal = (error: unknown): error is MarketError =>
  error instanceof MarketError && error.code === 'ERR_TRANSACTION_REFUSED'
