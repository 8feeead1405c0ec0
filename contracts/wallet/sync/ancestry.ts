/** What a BEEF needs besides its subject: ancestors down to those that are in blocks, from the store and from the chain. */
import { MarketError } from '../../../market/errors.ts'
import type { Chain } from '../../chain/chain.ts'
import type { Member } from '../../transaction/beef.ts'
import { parseTransaction, type Transaction, type Txid } from '../../transaction/transaction.ts'
import type { Rows } from '../coins/batch.ts'
import type { CoinStore } from '../coins/store.ts'

const ancestryLimits = {
  /** Not in blocks yet, of one transaction: those with more are worth something once they are mined. */
  ancestors: 500,
} as const

/**
 * The ancestors that are not at hand yet, and proofs for those that have found a block since: `Batch.putMember` takes them.
 * @returns undefined while there are too many, or the chain does not have one of them
 */
export async function missingAncestors(
  { store, chain }: { store: CoinStore; chain: Chain },
  transaction: Transaction,
): Promise<Member[] | undefined> {
  const found = new Map<Txid, Member>()
  const seen = new Set<Txid>()
  const open = parentsOf(transaction)
  for (let txid = open.pop(); txid !== undefined; txid = open.pop()) {
    if (seen.has(txid)) continue
    seen.add(txid)
    const known = store.member(txid)
    if (known?.path !== undefined) continue
    const path = await chain.proof(txid)
    const own = known?.transaction ?? (await transactionOf(chain, txid))
    if (own === undefined) return undefined
    if (path !== undefined || known === undefined)
      found.set(txid, { txid, transaction: own, ...(path && { path }) })
    if (path === undefined) open.push(...parentsOf(own))
    if (seen.size > ancestryLimits.ancestors) return undefined
  }
  return [...found.values()]
}

async function transactionOf(chain: Chain, txid: Txid): Promise<Transaction | undefined> {
  const bytes = await chain.transaction(txid)
  return bytes && readable(bytes)
}

/** Undefined for bytes that are no transaction, which a node may show under any id. */
export function readable(bytes: Uint8Array): Transaction | undefined {
  try {
    return parseTransaction(bytes)
  } catch (error) {
    if (error instanceof MarketError && error.code === 'ERR_MALFORMED') return undefined
    throw error
  }
}

/**
 * A transaction at hand and its ancestors that are not in blocks, parents first.
 * @throws ERR_TOO_LARGE
 */
export function openLine(
  rows: Pick<Rows, 'known'> & { member(txid: Txid): Member | undefined },
  subject: Txid,
): Member[] {
  const line = new Map<Txid, Member>()
  const open: { txid: Txid; member?: Member }[] = [{ txid: subject }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { txid, member } = next
    if (line.has(txid)) continue
    if (member !== undefined) {
      line.set(txid, member)
      continue
    }
    const known = rows.member(txid)
    if (known === undefined || (known.path !== undefined && txid !== subject)) continue
    open.push({ txid, member: known }, ...parentsOf(known.transaction).map((parent) => ({ txid: parent })))
    if (open.length > 8 * ancestryLimits.ancestors)
      throw new MarketError('ERR_TOO_LARGE', `${subject} has too many ancestors that are not in blocks`)
  }
  return [...line.values()]
}

const parentsOf = ({ inputs }: Transaction): Txid[] => [...new Set(inputs.map(({ txid }) => txid))]
