/** What an SV Node answers, as far as we read it, and what of that can be checked. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { Hash } from '../../market/units.ts'
import { blockHash, headerBytes, readBlock, serializeHeader } from '../transaction/block.ts'
import { merkleRoot } from '../transaction/merkle-path.ts'
import { type RpcError, rpcCodes } from './rpc-error.ts'
import type { Refusal } from './chain.ts'
import { nullTxid, type Txid } from '../transaction/transaction.ts'

/** Decoded without a pattern: a block is too long for one. */
export const Hex = z.string().transform((text, context) => {
  const bytes = Buffer.from(text, 'hex')
  if (text === '' || 2 * bytes.length !== text.length) context.addIssue('not hex')
  return bytes
})
const Height = z.int().min(0).max(0xffffffff)
const Seconds = z.int().min(0).max(0xffffffff)
export const BlockchainInfo = z.object({ blocks: Height, bestblockhash: Hash, mediantime: Seconds })
export const HeaderInfo = z.object({
  height: Height,
  /** -1 outside the best chain. */
  confirmations: z.int(),
  version: z.int(),
  merkleroot: Hash,
  time: Seconds,
  nonce: z.int().min(0).max(0xffffffff),
  bits: z.string().regex(/^[0-9a-f]{8}$/),
  /** The first block has none. */
  previousblockhash: z.union([Hash, z.literal('')]).optional(),
})
export type HeaderInfo = z.infer<typeof HeaderInfo>
export const TransactionInfo = z.object({
  hex: Hex,
  blockhash: Hash.optional(),
  confirmations: z.int().optional(),
  blockheight: Height.optional(),
})
export type TransactionInfo = z.infer<typeof TransactionInfo>
/** Coins for 1000 bytes, as a decimal fraction. */
export const Fee = z.number().min(0).max(1)

/** A header that was sent in parts, as it is hashed. */
export const headerOf = (info: HeaderInfo): Uint8Array =>
  serializeHeader({
    version: info.version,
    previous: info.previousblockhash || nullTxid,
    root: info.merkleroot,
    time: info.time,
    bits: Number.parseInt(info.bits, 16),
    nonce: info.nonce,
  })
/** It has the hash of the whole. */
export const hashOfHeader = (info: HeaderInfo): Txid => blockHash(headerOf(info))

/** Whether these are the header of that hash and the transactions of its root. */
export function isBlock(bytes: Uint8Array, hash: Txid): boolean {
  if (bytes.length <= headerBytes || blockHash(bytes) !== hash) return false
  try {
    const { header, transactions } = readBlock(bytes)
    return merkleRoot(Array.from(transactions, ({ txid }) => txid)) === header.root
  } catch (error) {
    if (error instanceof MarketError) return false
    throw error
  }
}

/** Codes of reject messages: of what may be otherwise in a moment. */
const passing = new Set([
  18, // another one that spends the same is being checked
  68, // too busy
  69, // too often
  257, // known: but we asked, and it was not there; it waits in the pool of the locked
  259, // the pool of the locked is full
])
const refusals: Readonly<Record<number, Refusal>> = { 66: 'fee', 258: 'conflict' }

/** Why a node does not take a transaction; undefined when it does not follow that it never will. */
export function refusalOf({ code, message }: RpcError): Refusal | undefined {
  if (code === rpcCodes.deserializationError) return 'invalid'
  if (code === rpcCodes.verifyError) return /^missing inputs/i.test(message) ? 'missing-inputs' : undefined
  if (code !== rpcCodes.verifyRejected) return undefined
  const reason = Number(/^(\d+):/.exec(message)?.[1] ?? 0)
  return passing.has(reason) ? undefined : (refusals[reason] ?? 'invalid')
}
