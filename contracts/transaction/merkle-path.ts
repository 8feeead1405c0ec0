/** How a transaction is proven to be in a block: a Merkle path as BRC-74 writes it (BUMP). */
import { concat, toHex } from '../../market/bytes.ts'
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

/** A block of 2^32 transactions will not be seen. */
const mostLevels = 32
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
export function rootOf(path: MerklePath, txid: Txid): { root: Txid; index: number } {
  const { index, siblings } = climb(path, txid)
  let hash = hashOfTxid(txid)
  for (const [level, { hash: sibling }] of siblings.entries())
    hash = doubleSha256(isLeft(index, level) ? concat(hash, sibling) : concat(sibling, hash))
  return { root: txidOfHash(hash), index }
}

/** The path of this transaction alone: what it does not need is left out. @throws ERR_MALFORMED as `rootOf` */
export function branchOf(path: MerklePath, txid: Txid): MerklePath {
  const { index, siblings } = climb(path, txid)
  const levels = siblings.map(({ hash, isCopy }, level) => {
    const at = Math.floor(index / 2 ** level)
    const sibling: Node = { isTxid: false, ...(!isCopy && { hash }) }
    return new Map([[at % 2 === 0 ? at + 1 : at - 1, sibling]])
  })
  const [leaves = new Map<number, Node>()] = levels
  leaves.set(index, { hash: hashOfTxid(txid), isTxid: true })
  return { height: path.height, levels: levels.length === 0 ? [leaves] : levels }
}

/** What stands beside the way from a leaf to the root, leaves first; `isCopy`: the last one of an odd row stands twice. */
function climb(path: MerklePath, txid: Txid) {
  const { levels } = path
  const seen = seenOf(path)
  const index = seen.leaves.get(txid)
  if (index === undefined) throw malformed('the transaction is not on it')
  // A path whose last level has only its leaf is one of a block with a single transaction.
  const isAlone = levels.length === 1 && levels[0]!.size === 1 && index === 0
  const siblings: { hash: Uint8Array; isCopy: boolean }[] = []
  let hash = hashOfTxid(txid)
  for (let level = 0; level < (isAlone ? 0 : levels.length); level++) {
    const at = Math.floor(index / 2 ** level)
    const offset = at % 2 === 0 ? at + 1 : at - 1
    const isCopy = levels[level]!.has(offset) && levels[level]!.get(offset)!.hash === undefined
    if (isCopy && at % 2 === 1) throw malformed('a copy stands before what it copies')
    const sibling = isCopy ? hash : nodeAt(levels, level, offset, seen.computed)
    siblings.push({ hash: sibling, isCopy })
    hash = doubleSha256(at % 2 === 0 ? concat(hash, sibling) : concat(sibling, hash))
  }
  return { index, siblings }
}

const isLeft = (index: number, level: number): boolean => Math.floor(index / 2 ** level) % 2 === 0

/** Many transactions may share a path: what one of them needed is not computed again for the next. */
interface Seen {
  /** Where each transaction stands. */
  readonly leaves: ReadonlyMap<Txid, number>
  readonly computed: Map<string, Uint8Array>
}
const seen = new WeakMap<MerklePath, Seen>()

function seenOf(path: MerklePath): Seen {
  const known = seen.get(path)
  if (known !== undefined) return known
  const leaves = new Map<Txid, number>()
  for (const [offset, { hash }] of path.levels[0] ?? [])
    if (hash !== undefined) leaves.set(txidOfHash(hash), offset)
  const made: Seen = { leaves, computed: new Map() }
  seen.set(path, made)
  return made
}

/** A path that serves several transactions leaves out what follows from its leaves. */
function nodeAt(
  levels: MerklePath['levels'],
  level: number,
  offset: number,
  computed: Map<string, Uint8Array>,
): Uint8Array {
  const node = levels[level]?.get(offset)
  if (node?.hash !== undefined) return node.hash
  const name = `${level} ${offset}`
  const known = computed.get(name)
  if (known !== undefined) return known
  if (level === 0 || node !== undefined) throw malformed('a leaf is missing')
  const left = nodeAt(levels, level - 1, 2 * offset, computed)
  const right = levels[level - 1]?.get(2 * offset + 1)
  const isCopy = right !== undefined && right.hash === undefined
  const hash = doubleSha256(concat(left, isCopy ? left : nodeAt(levels, level - 1, 2 * offset + 1, computed)))
  computed.set(name, hash)
  return hash
}

/** @throws ERR_MALFORMED */
export function readPath(reader: Reader): MerklePath {
  const height = reader.compactSize()
  const count = reader.uint8()
  if (count < 1 || count > mostLevels || height > 0xffffffff) throw malformed('its size')
  let left = mostNodes
  const levels = Array.from({ length: count }, (_, row) => {
    const level = new Map<number, Node>()
    for (let nodes = reader.count(2); nodes > 0; nodes--) {
      const offset = reader.compactSize()
      const flags = reader.uint8()
      const isInside = offset < 2 ** (count - row)
      if (flags > 2 || !isInside || level.has(offset) || left-- === 0) throw malformed('its nodes')
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
