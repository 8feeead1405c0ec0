/** Blocks as nodes hand them out. */
import { concat } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { doubleSha256 } from '../../market/hash.ts'
import {
  compactSize,
  hashOfTxid,
  Reader,
  readTransaction,
  serializeTransaction,
  type Transaction,
  type Txid,
  txidOf,
  txidOfHash,
  uint32,
} from './transaction.ts'

export interface Header {
  readonly version: number
  readonly previous: Txid
  readonly root: Txid
  /** Unix seconds, as the miner had them. */
  readonly time: number
  readonly bits: number
  readonly nonce: number
}

export interface BlockTransaction {
  readonly txid: Txid
  /** A view into those of the block. */
  readonly bytes: Uint8Array
  readonly transaction: Transaction
}

export const headerBytes = 80

export function readHeader(reader: Reader): Header {
  const version = reader.uint32()
  const previous = txidOfHash(reader.bytes(32))
  const root = txidOfHash(reader.bytes(32))
  return { version, previous, root, time: reader.uint32(), bits: reader.uint32(), nonce: reader.uint32() }
}

export const serializeHeader = ({ version, previous, root, time, bits, nonce }: Header): Uint8Array =>
  concat(uint32(version), hashOfTxid(previous), hashOfTxid(root), uint32(time), uint32(bits), uint32(nonce))

/** A block is named by the hash of its header. */
export const blockHash = (header: Uint8Array): Txid =>
  txidOfHash(doubleSha256(header.subarray(0, headerBytes)))

/** Whether the hash of a header is below the target that its `bits` stand for. */
export function hasWork(header: Uint8Array, bits: number): boolean {
  const target = BigInt(bits & 0x7fffff) << BigInt(8 * ((bits >>> 24) - 3))
  return BigInt(`0x${blockHash(header)}`) <= target
}

export function serializeBlock(header: Header, transactions: readonly Transaction[]): Uint8Array {
  return concat(
    serializeHeader(header),
    compactSize(transactions.length),
    ...transactions.map(serializeTransaction),
  )
}

/** A block, its transactions one at a time, so that a large one never stands in memory twice. @throws ERR_MALFORMED */
export function readBlock(bytes: Uint8Array): { header: Header; transactions: Iterable<BlockTransaction> } {
  const reader = new Reader(bytes)
  const header = readHeader(reader)
  const count = reader.count(10)
  return { header, transactions: readTransactions(bytes, reader, count) }
}

function* readTransactions(bytes: Uint8Array, reader: Reader, count: number): Iterable<BlockTransaction> {
  for (let left = count; left > 0; left--) {
    const from = reader.at
    const transaction = readTransaction(reader)
    const own = bytes.subarray(from, reader.at)
    yield { txid: txidOf(own), bytes: own, transaction }
  }
  if (reader.at !== bytes.length) throw new MarketError('ERR_MALFORMED', 'bytes are left over behind a block')
}
