/**
 * Bytes cut where their own content says so: what is inserted at the front moves no cut behind it, so that pieces are known
 * again by their hashes. Who reads need not cut; it is the writer's choice where.
 */
import { createHash } from 'node:crypto'
import { sha256 } from '../../market/hash.ts'
import type { Piece } from '../../market/payload.ts'

/** Bytes. Cuts come after `least`, on average 2^bits further on, and at `most` in any case. */
interface Sizes {
  readonly least: number
  readonly bits: number
  readonly most: number
}

/** For files: small enough that several fit a record, large enough that a list stays short. */
export const fileSizes = { least: 16 * 1024, bits: 16, most: 128 * 1024 } as const satisfies Sizes
/** For lists: a change of one line should cost little, and the record that names all pieces stay short. */
export const indexSizes = (listBytes: number): Sizes => (listBytes <= shortList ? shortSizes : longSizes)

/** Bytes: of some hundred files. */
const shortList = 256 * 1024
const shortSizes = { least: 1024, bits: 10, most: 8 * 1024 } as const satisfies Sizes
const longSizes = { least: 4 * 1024, bits: 13, most: 32 * 1024 } as const satisfies Sizes

/** A number for each byte; all clients may have others, but not one client today and tomorrow. */
const gear = Int32Array.from({ length: 256 }, (_, byte) => {
  const [a = 0, b = 0, c = 0, d = 0] = sha256('gear', String(byte))
  return (a << 24) | (b << 16) | (c << 8) | d
})

/** Where the first piece of `bytes` ends. What is shorter than `most` is cut as if it ended there. */
export function firstCut(bytes: Uint8Array, { least, bits, most }: Sizes): number {
  const end = Math.min(bytes.length, most)
  let roll = 0
  for (let place = Math.max(0, least - 32); place < end; place++) {
    roll = ((roll << 1) + gear[bytes[place]!]!) | 0 // of 256
    if (place >= least && roll >>> (32 - bits) === 0) return place + 1
  }
  return end
}

/** The pieces of what is in memory, with their bytes. */
export function* cutBytes(bytes: Uint8Array, sizes: Sizes): Generator<{ piece: Piece; bytes: Uint8Array }> {
  for (let start = 0; start < bytes.length; ) {
    const length = firstCut(bytes.subarray(start, start + sizes.most), sizes)
    const part = bytes.subarray(start, start + length)
    yield { piece: { sha256: hashHex(part), length }, bytes: part }
    start += length
  }
}

export const hashHex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
