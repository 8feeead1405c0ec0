/** Which transactions the next block has, in which order. */
import { isFinal, type Next } from '../../transaction/lock-time.ts'
import { type Transaction, type Txid, txidOf } from '../../transaction/transaction.ts'
import { type Coin, Draft, type View } from './coins.ts'
import type { Entry, Mempool } from './mempool.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'
import { rejected } from './rejected.ts'
import { checkAmounts, checkForm, checkUnlocking, decode } from './rules.ts'

export interface Chosen {
  readonly txid: Txid
  readonly transaction: Transaction
  readonly bytes: Uint8Array
  readonly feeSatoshis: number
}

/** Of one block. */
const most = { transactions: 200_000, bytes: 256 << 20 } as const

/**
 * The transactions that a miner insists on, which only the consensus must allow, with what they spend of the mempool; then
 * what else waits and does not conflict with them.
 * @throws RpcError for one that no block may have
 */
export async function choose(
  insisted: readonly Uint8Array[],
  { chain, mempool, next, withMempool }: { chain: View; mempool: Mempool; next: Next; withMempool: boolean },
): Promise<Chosen[]> {
  const draft = new Draft(chain, next.height)
  const chosen = new Map<Txid, Chosen>()
  let bytes = 0
  const include = (one: Chosen): void => {
    draft.add(one.txid, one.transaction)
    chosen.set(one.txid, one)
    bytes += one.bytes.length
  }
  const includeWaiting = (entry: Entry): void => {
    if (chosen.has(entry.txid) || chosen.size >= most.transactions || bytes + entry.bytes.length > most.bytes)
      return
    if (entry.transaction.inputs.every((input) => draft.coin(input) !== undefined)) include(entry)
  }
  for (const raw of insisted) {
    const transaction = decode(raw)
    for (const ancestor of ancestors(transaction, mempool)) includeWaiting(ancestor)
    if (!chosen.has(txidOf(raw))) include(await checked(raw, transaction, { draft, next }))
  }
  if (withMempool) for (const entry of mempool.entries()) includeWaiting(entry)
  return [...chosen.values()]
}

/** By the rules of blocks alone. */
async function checked(
  raw: Uint8Array,
  transaction: Transaction,
  { draft, next }: { draft: Draft; next: Next },
): Promise<Chosen> {
  checkForm(transaction, raw.length)
  if (!isFinal(transaction, next)) throw rejected('invalid', 'bad-txns-nonfinal')
  const spent = transaction.inputs.map((input) => draft.coin(input))
  if (!areAll(spent)) throw rejected('invalid', 'bad-txns-inputs-missingorspent')
  const feeSatoshis = checkAmounts(transaction, spent, next)
  await checkUnlocking(transaction, spent, 'consensus')
  return { txid: txidOf(raw), transaction, bytes: Uint8Array.from(raw), feeSatoshis }
}

/** What a transaction needs of the mempool, parents first. */
function ancestors(transaction: Transaction, mempool: Mempool): Entry[] {
  const found = new Set<Entry>()
  const open = [transaction]
  for (const { inputs } of open) {
    for (const { txid } of inputs) {
      const entry = mempool.get(txid)
      if (entry === undefined || found.has(entry)) continue
      found.add(entry)
      open.push(entry.transaction)
    }
  }
  return [...found].sort((a, b) => a.generation - b.generation)
}

/** What a transaction spends. @throws RpcError as `sendrawtransaction` where something is missing */
export function spentBy(txid: Txid, { inputs, outputs }: Transaction, view: View): readonly Coin[] {
  const spent = inputs.map((input) => view.coin(input))
  if (areAll(spent)) return spent
  // As a real node: it knows a mined transaction only by an output that is still there.
  const isKnown = outputs.some((_, vout) => view.coin({ txid, vout }) !== undefined)
  if (isKnown) throw rejected('alreadyKnown', 'txn-already-known')
  throw new RpcError(rpcCodes.verifyError, 'Missing inputs')
}

const areAll = (coins: readonly (Coin | undefined)[]): coins is readonly Coin[] => !coins.includes(undefined)
