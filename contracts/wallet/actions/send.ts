/** From a signed transaction that is on disk to one that the network has, or never will. */
import { fromHex } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { serializeTransaction, type Txid } from '../../transaction/transaction.ts'
import { accept, fail } from '../coins/moves.ts'
import { openLine } from '../sync/ancestry.ts'
import type { WalletParts } from '../wallet-parts.ts'
import { decideRefusal, isRefusal } from './refusal.ts'

export type Sent =
  | { readonly status: 'unproven' }
  /** Whether the network has it is not known, or it may take it later; it is sent again by `resume`. */
  | { readonly status: 'sending'; readonly error: MarketError }
  | { readonly status: 'failed'; readonly error: MarketError; readonly isDoubleSpend: boolean }

type Parts = Pick<WalletParts, 'store' | 'chain'>

/** Sends an action in the state `sending`, or one that failed or was accepted before: harmless to repeat. */
export async function send(parts: Parts, txid: Txid): Promise<Sent> {
  try {
    await broadcast(parts, txid)
  } catch (error) {
    if (isRefusal(error)) return refused(parts, txid, error)
    if (error instanceof MarketError) return { status: 'sending', error }
    throw error
  }
  await parts.store.change((batch) => accept(batch, txid))
  return { status: 'unproven' }
}

/** With its ancestors, when it does not go without: the mempool may have forgotten them. */
async function broadcast({ store, chain }: Parts, txid: Txid): Promise<void> {
  const bytes = fromHex(store.known(txid)!.raw) // signed actions have a transaction
  try {
    await chain.broadcast(bytes)
  } catch (error) {
    const ancestors = isRefusal(error) ? openLine(store, txid).slice(0, -1) : []
    if (ancestors.length === 0) throw error
    for (const { transaction } of ancestors)
      await chain.broadcast(serializeTransaction(transaction)).catch((failure: unknown) => {
        if (!isRefusal(failure)) throw failure
      })
    await chain.broadcast(bytes)
  }
}

async function refused(parts: Parts, txid: Txid, error: MarketError): Promise<Sent> {
  const { store } = parts
  try {
    const verdict = await decideRefusal(parts, store.member(txid)!, error) // as above
    if (verdict.kind === 'waiting') return { status: 'sending', error }
    if (verdict.kind === 'taken') {
      await store.change((batch) => accept(batch, txid))
      return { status: 'unproven' }
    }
    await store.change((batch) => {
      const action = batch.actionOf(txid)
      if (action !== undefined) fail(batch, action.number, verdict.why, verdict.lost)
    })
    return { status: 'failed', error, isDoubleSpend: verdict.lost.size > 0 }
  } catch (failure) {
    if (!(failure instanceof MarketError) || failure.code !== 'ERR_CHAIN_UNAVAILABLE') throw failure
    return { status: 'sending', error: failure }
  }
}

/**
 * Sends again all that was not answered. Stops at the first answer that does not come: the rest would wait as long.
 * @returns what became of each
 */
export async function resume(parts: Parts): Promise<ReadonlyMap<Txid, Sent>> {
  const results = new Map<Txid, Sent>()
  const waiting: Txid[] = []
  // Oldest first, so that parents go before children.
  for await (const { txid } of parts.store.actionsIn('sending')) if (txid !== undefined) waiting.push(txid)
  for (const txid of waiting) {
    const sent = await send(parts, txid)
    results.set(txid, sent)
    if (sent.status === 'sending' && sent.error.code === 'ERR_CHAIN_UNAVAILABLE') break
  }
  return results
}

/** Sends the members of a BEEF that are not in blocks, parents first. @throws what `Chain.broadcast` throws */
export async function sendMembers(
  { chain }: Pick<Parts, 'chain'>,
  members: Iterable<{ transaction: Parameters<typeof serializeTransaction>[0]; path?: unknown }>,
): Promise<void> {
  for (const { transaction, path } of members)
    if (path === undefined) await chain.broadcast(serializeTransaction(transaction))
}
