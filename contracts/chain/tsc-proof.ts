/** Merkle proofs in the form of the Technical Standards Committee, as `getmerkleproof2` and others give them, made ours. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { Hash } from '../../market/units.ts'
import { type MerklePath, rootOf } from '../transaction/merkle-path.ts'
import { hashOfTxid, type Txid } from '../transaction/transaction.ts'

/** No block has 2^40 transactions. */
const mostNodes = 40

export const TscProof = z.object({
  index: z.int().min(0),
  txOrId: z.string(),
  /** The hash of the block: nothing else is asked for. */
  target: Hash,
  /** From the leaf upwards; `*` stands for a copy of what it is put together with. */
  nodes: z.array(z.union([Hash, z.literal('*')])).max(mostNodes),
})
export type TscProof = z.infer<typeof TscProof>

/** Undefined unless it is about that transaction, at a place that a tree of this height has. */
export function pathOf(
  { index, txOrId, nodes }: TscProof,
  txid: Txid,
  height: number,
): MerklePath | undefined {
  if (txOrId !== txid || index >= 2 ** nodes.length) return undefined
  const leaf = [index, { hash: hashOfTxid(txid), isTxid: true }] as const
  if (nodes.length === 0) return { height, levels: [new Map([leaf])] }
  const levels: Map<number, { hash?: Uint8Array; isTxid: boolean }>[] = []
  for (const [level, node] of nodes.entries()) {
    const at = Math.floor(index / 2 ** level)
    const sibling = at % 2 === 0 ? at + 1 : at - 1
    // Only the last one of a row stands twice, and then on the right.
    if (node === '*' && sibling < at) return undefined
    const entry = { ...(node !== '*' && { hash: hashOfTxid(node) }), isTxid: false }
    levels.push(new Map([...(level === 0 ? [leaf] : []), [sibling, entry] as const]))
  }
  return { height, levels }
}

/** Whether a path leads from a transaction to a root. */
export function leadsTo(path: MerklePath, txid: Txid, root: Txid): boolean {
  try {
    return rootOf(path, txid).root === root
  } catch (error) {
    if (error instanceof MarketError) return false
    throw error
  }
}
