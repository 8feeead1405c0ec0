/** From a signed transaction that is on disk to one that the network has, or never will. */
import { fromHex } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import {
  formatOutpoint,
  parseTransaction,
  serializeTransaction,
  type Txid,
} from '../../transaction/transaction.ts'
import { accept, fail } from '../coins/moves.ts'
import type { WalletParts } from '../wallet-parts.ts'

export type Sent =
  | { readonly status: 'unproven' }
  /** Whether the network has it is not known; it is sent again by `resume`. */
  | { readonly status: 'sending'; readonly error: MarketError }
  | { readonly status: 'failed'; readonly error: MarketError; readonly isDoubleSpend: boolean }

type Parts = Pick<WalletParts, 'store' | 'chain'>

/** Sends an action in the state `sending`, or one that failed or was accepted before: harmless to repeat. */
export async function send(parts: Parts, txid: Txid): Promise<Sent> {
  const { store } = parts
  try {
    await broadcast(parts, txid)
  } catch (error) {
    if (!(error instanceof MarketError)) throw error
    if (error.code !== 'ERR_TRANSACTION_REFUSED') return { status: 'sending', error }
    return refused(parts, txid, error)
  }
  await store.change((batch) => accept(batch, txid))
  return { status: 'unproven' }
}

/** With its ancestors, when it does not go without: the mempool may have forgotten them. */
async function broadcast({ store, chain }: Parts, txid: Txid): Promise<void> {
  const bytes = fromHex(store.known(txid)!.raw) // signed actions have a transaction
  try {
    await chain.broadcast(bytes)
  } catch (error) {
    const ancestors = isRefusal(error) ? openAncestors(store, txid) : []
    if (ancestors.length === 0) throw error
    for (const ancestor of ancestors)
      await chain.broadcast(ancestor).catch((failure: unknown) => {
        if (!isRefusal(failure)) throw failure
      })
    await chain.broadcast(bytes)
  }
}

const isRefusal = (error: unknown): boolean =>
  error instanceof MarketError && error.code === 'ERR_TRANSACTION_REFUSED'

/** Those that are not in blocks yet, parents first. */
function openAncestors(store: WalletParts['store'], txid: Txid): Uint8Array[] {
  const found = new Map<Txid, Uint8Array>()
  const visit = (of: Txid): void => {
    for (const { txid: parent } of parseTransaction(fromHex(store.known(of)!.raw)).inputs) {
      const known = store.known(parent)
      if (known === undefined || known.path !== undefined || found.has(parent)) continue
      visit(parent)
      found.set(parent, fromHex(known.raw))
    }
  }
  visit(txid)
  return [...found.values()]
}

/** Its inputs are free again, but for those that the network says are spent. */
async function refused({ store, chain }: Parts, txid: Txid, error: MarketError): Promise<Sent> {
  const lost = new Set<string>()
  try {
    // A refusal as "known already" or "its inputs are spent" may be about this very transaction.
    if ((await chain.status(txid)).state !== 'unknown') {
      await store.change((batch) => accept(batch, txid))
      return { status: 'unproven' }
    }
    for (const input of parseTransaction(fromHex(store.known(txid)!.raw)).inputs)
      if (!(await chain.isUnspent(input))) lost.add(formatOutpoint(input))
  } catch (failure) {
    if (!(failure instanceof MarketError)) throw failure
    return { status: 'sending', error: failure }
  }
  await store.change((batch) => {
    const action = batch.actionOf(txid)
    if (action !== undefined) fail(batch, action.number, error.message, lost)
  })
  return { status: 'failed', error, isDoubleSpend: lost.size > 0 }
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
    if (sent.status === 'sending') break
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
