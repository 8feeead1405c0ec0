/** How a transaction is proven to be in a block: a Merkle path as BRC-74 writes it (BUMP). */
import { concat, equal, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { doubleSha256 } from '../../market/hash.ts'
import { compactSize, hashOfTxid, Reader, type Txid, txidOfHash } from './transaction.ts'

/** A node of the tree; without hash it repeats its sibling. */
interface Node {
  readonly hash?: Uint8Array
  readonly isTxid: boolean
}

export interface MerklePath {
  readonly height: number
  /** By offset, leaves first. */
  readonly levels: readonly ReadonlyMap<number, Node>[]
}

/** A block of 2^40 transactions will not be seen. */
const mostLevels = 40
const mostNodes = 10_000

/** The path of the transaction at `index` of a block. */
export function makePath(height: number, txids: readonly Txid[], index: number): MerklePath {
  const levels: Map<number, Node>[] = []
  let row = txids.map(hashOfTxid)
  let at = index
  do {
    const level = new Map<number, Node>()
    if (levels.length === 0) level.set(at, { hash: row[at]!, isTxid: true }) // the index is one of the block
    const sibling = row[at ^ 1]
    if (row.length > 1) level.set(at ^ 1, { ...(sibling && { hash: sibling }), isTxid: false })
    levels.push(level)
    row = parents(row)
    at >>>= 1
  } while (row.length > 1)
  return { height, levels }
}

/** The root over the transactions of a block, as its header has it. */
export function merkleRoot(txids: readonly Txid[]): Txid {
  let row = txids.map(hashOfTxid)
  while (row.length > 1) row = parents(row)
  return txidOfHash(row[0]!) // a block is never empty
}

const parents = (row: readonly Uint8Array[]): Uint8Array[] =>
  Array.from(
    { length: Math.ceil(row.length / 2) },
    (_, at) => doubleSha256(concat(row[2 * at]!, row[2 * at + 1] ?? row[2 * at]!)), // the last one of an odd row stands twice
  )

/** @returns the root that the path leads to, and where the transaction stands in its block @throws ERR_MALFORMED when it is not on the path */
export function rootOf({ levels }: MerklePath, txid: Txid): { root: Txid; index: number } {
  const leaf = hashOfTxid(txid)
  const found = [...(levels[0] ?? [])].find(([, { hash }]) => hash !== undefined && equal(hash, leaf))
  if (found === undefined) throw malformed('the transaction is not on it')
  const [index] = found
  // A path whose last level has only its leaf is one of a block with a single transaction.
  const isAlone = levels.length === 1 && levels[0]!.size === 1 && index === 0
  let hash = leaf
  for (let level = 0; level < (isAlone ? 0 : levels.length); level++) {
    const at = Math.floor(index / 2 ** level)
    const sibling = nodeAt(levels, level, at % 2 === 0 ? at + 1 : at - 1, hash)
    hash = doubleSha256(at % 2 === 0 ? concat(hash, sibling) : concat(sibling, hash))
  }
  return { root: txidOfHash(hash), index }
}

/** A path that serves several transactions leaves out what follows from its leaves. */
function nodeAt(
  levels: MerklePath['levels'],
  level: number,
  offset: number,
  sibling: Uint8Array,
): Uint8Array {
  const node = levels[level]?.get(offset)
  if (node !== undefined) return node.hash ?? sibling
  if (level === 0) throw malformed('a leaf is missing')
  const left = nodeAt(levels, level - 1, 2 * offset, new Uint8Array(32))
  return doubleSha256(concat(left, nodeAt(levels, level - 1, 2 * offset + 1, left)))
}

/** @throws ERR_MALFORMED */
export function readPath(reader: Reader): MerklePath {
  const height = reader.compactSize()
  const count = reader.uint8()
  if (count < 1 || count > mostLevels || height > 0xffffffff) throw malformed('its size')
  let left = mostNodes
  const levels = Array.from({ length: count }, () => {
    const level = new Map<number, Node>()
    for (let nodes = reader.count(2); nodes > 0; nodes--) {
      const offset = reader.compactSize()
      const flags = reader.uint8()
      if (flags > 2 || level.has(offset) || left-- === 0) throw malformed('its nodes')
      level.set(offset, { isTxid: flags === 2, ...(flags !== 1 && { hash: reader.bytes(32) }) })
    }
    return level
  })
  return { height, levels }
}

/** @throws ERR_MALFORMED */
export function parsePath(bytes: Uint8Array): MerklePath {
  const reader = new Reader(bytes)
  const path = readPath(reader)
  reader.end()
  return path
}

export function serializePath({ height, levels }: MerklePath): Uint8Array {
  const parts = [compactSize(height), Uint8Array.of(levels.length)]
  for (const level of levels) {
    parts.push(compactSize(level.size))
    for (const [offset, { hash, isTxid }] of [...level].sort(([a], [b]) => a - b))
      parts.push(compactSize(offset), Uint8Array.of(hash ? (isTxid ? 2 : 0) : 1), hash ?? new Uint8Array(0))
  }
  return concat(...parts)
}

export const pathId = (path: MerklePath): string => toHex(serializePath(path))

const malformed = (what: string): MarketError =>
  new MarketError('ERR_MALFORMED', `not a Merkle path as BRC-74 writes it: ${what}`)
