/** The Merkle tree hash of RFC 6962 §2.1 over 1024-byte leaves of a record's stored bytes (docs/protocol.md §4.6). */
import { concat, equal } from './bytes.ts'
import { MarketError } from './errors.ts'
import { sha256 } from './hash.ts'
import { protocolLimits } from './units.ts'

const leafPrefix = Uint8Array.of(0)
const nodePrefix = Uint8Array.of(1)
const leafBytes = protocolLimits.merkleLeafBytes

const leafHash = (leaf: Uint8Array): Uint8Array => sha256(concat(leafPrefix, leaf))
const nodeHash = (left: Uint8Array, right: Uint8Array): Uint8Array => sha256(concat(nodePrefix, left, right))

/** How many leaves `bytes` bytes have. Records are never empty, so at least one. */
export const leafCount = (bytes: number): number => Math.ceil(bytes / leafBytes)

export function leafAt(content: Uint8Array, index: number): Uint8Array {
  return content.subarray(index * leafBytes, (index + 1) * leafBytes)
}

/** 32 bytes that commit to every byte of `content`, which must not be empty. */
export const merkleRoot = (content: Uint8Array): Uint8Array => rootOf(content, 0, leafCount(content.length))

/**
 * The sibling hashes from leaf `index` up to the root, leaf first.
 * @throws ERR_NOT_FOUND when the content has no such leaf.
 */
export function merklePath(content: Uint8Array, index: number): Uint8Array[] {
  const count = leafCount(content.length)
  if (index < 0 || index >= count)
    throw new MarketError('ERR_NOT_FOUND', `the record has ${count} leaves, no leaf ${index}`)
  return pathOf(content, index, 0, count)
}

/** True when `leaf` is leaf `index` of the `bytes` bytes that `root` commits to. */
export function verifyMerklePath(
  root: Uint8Array,
  proof: { leaf: Uint8Array; index: number; bytes: number; path: readonly Uint8Array[] },
): boolean {
  const { leaf, index, bytes, path } = proof
  const count = leafCount(bytes)
  if (!Number.isSafeInteger(index) || index < 0 || index >= count) return false
  if (leaf.length !== Math.min(leafBytes, bytes - index * leafBytes)) return false
  const found = climb(leafHash(leaf), index, count, [...path])
  return found !== undefined && equal(found, root)
}

function rootOf(content: Uint8Array, start: number, count: number): Uint8Array {
  if (count === 1) return leafHash(leafAt(content, start))
  const left = splitPoint(count)
  return nodeHash(rootOf(content, start, left), rootOf(content, start + left, count - left))
}

function pathOf(content: Uint8Array, index: number, start: number, count: number): Uint8Array[] {
  if (count === 1) return []
  const left = splitPoint(count)
  if (index < left) {
    return [...pathOf(content, index, start, left), rootOf(content, start + left, count - left)]
  }
  return [...pathOf(content, index - left, start + left, count - left), rootOf(content, start, left)]
}

/** Walks down to the leaf and combines on the way back, consuming the path from its root end; undefined if its length is wrong. */
function climb(leaf: Uint8Array, index: number, count: number, path: Uint8Array[]): Uint8Array | undefined {
  if (count === 1) return path.length === 0 ? leaf : undefined
  const sibling = path.pop()
  if (sibling === undefined) return undefined
  const left = splitPoint(count)
  const below = index < left ? climb(leaf, index, left, path) : climb(leaf, index - left, count - left, path)
  if (below === undefined) return undefined
  return index < left ? nodeHash(below, sibling) : nodeHash(sibling, below)
}

/** The largest power of two below `count` (RFC 6962: the left subtree is full). */
const splitPoint = (count: number): number => 2 ** Math.floor(Math.log2(count - 1))
