/** What the RPC says of the chain and its blocks, in the words of SV Node. */
import { z } from 'zod'
import { toHex } from '../../../market/bytes.ts'
import { headerBytes } from '../../transaction/block.ts'
import { makePath } from '../../transaction/merkle-path.ts'
import { type Txid, txidOfHash } from '../../transaction/transaction.ts'
import { leastFeeRate } from '../chain.ts'
import type { Block, ChainState, Place } from './chain-state.ts'
import { coinsOf, count, flag, hash, type Method, none, reading } from './method.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'
import { describeTransaction } from './rpc-transactions.ts'

export const blockMethods: Record<string, Method> = {
  getblockchaininfo: reading(none, ({ chain }) => ({
    chain: 'devnet',
    blocks: chain.tip.height,
    headers: chain.tip.height,
    bestblockhash: chain.tip.hash,
    difficulty,
    mediantime: chain.tip.medianTime,
    verificationprogress: 1,
    chainwork: chainWork(chain.tip),
    pruned: false,
    softforks: [],
    warnings: worthless,
  })),
  getnetworkinfo: reading(none, () => ({
    version: 101020200,
    subversion: '/devnet:1.2.2/',
    protocolversion: 70016,
    localrelay: true,
    timeoffset: 0,
    networkactive: false,
    connections: 0,
    networks: [],
    relayfee: coinsOf(leastFeeRate),
    localaddresses: [],
    warnings: worthless,
  })),
  getblockcount: reading(none, ({ chain }) => chain.tip.height),
  getbestblockhash: reading(none, ({ chain }) => chain.tip.hash),
  getblockhash: reading(z.tuple([count]), ({ chain }, height) => {
    const block = chain.at(height)
    if (block === undefined) throw new RpcError(rpcCodes.invalidParameter, 'Block height out of range')
    return block.hash
  }),
  getblockheader: reading(z.tuple([hash, flag.default(true)]), ({ chain }, id, isVerbose) => {
    const block = blockOf(chain, id)
    return isVerbose ? describeHeader(chain, block) : toHex(block.bytes.subarray(0, headerBytes))
  }),
  getblock: reading(z.tuple([hash, z.unknown().optional()]), ({ chain }, id, verbosity) => {
    const block = blockOf(chain, id)
    const level = verbosityOf(verbosity)
    if (level === 0) return toHex(block.bytes)
    const members = level === 3 ? block.members.slice(0, 1) : block.members
    return {
      ...describeHeader(chain, block),
      size: block.bytes.length,
      tx: members.map(({ txid, bytes }) =>
        level === 1 ? txid : { ...describeTransaction(txid, bytes), hex: toHex(bytes) },
      ),
    }
  }),
  getmerkleproof2: reading(
    z.tuple([
      z.union([z.literal(''), hash]),
      hash,
      z.boolean().default(false),
      z.enum(['hash', 'header', 'merkleroot']).default('hash'),
      z.literal('json').default('json'),
    ]),
    ({ chain }, id, txid, isFull, targetType) => {
      const place = id === '' ? chain.placeOf(txid) : placeIn(blockOf(chain, id), txid)
      if (place === undefined) throw new RpcError(rpcCodes.invalidAddressOrKey, notInBlock)
      const { block, index } = place
      const member = block.members[index]! // a place is one of a member
      return {
        index,
        txOrId: isFull ? toHex(member.bytes) : txid,
        ...(targetType !== 'hash' && { targetType }),
        target: targetOf(block, targetType),
        nodes: nodesOf(block, index),
      }
    },
  ),
}

const worthless = 'This is a devnet: a simulated chain. Its coins are worth nothing.'
const notInBlock =
  'Transaction not yet in block, -txindex is not enabled, or the block containing the transaction has been pruned'
const difficulty = 4.656542373906925e-10
/** By its bits, a header takes two attempts. */
const chainWork = ({ height }: Block): string => (2 * (height + 1)).toString(16).padStart(64, '0')

function blockOf(chain: ChainState, id: Txid): Block {
  const block = chain.block(id)
  if (block === undefined) throw new RpcError(rpcCodes.invalidAddressOrKey, 'Block not found')
  return block
}

/** Also in a block that is no longer in the best chain. */
function placeIn(block: Block, txid: Txid): Place {
  const index = block.members.findIndex((member) => member.txid === txid)
  if (index < 0)
    throw new RpcError(rpcCodes.invalidAddressOrKey, 'Transaction(s) not found in provided block')
  return { block, index }
}

const confirmationsOf = (chain: ChainState, block: Block): number =>
  chain.isActive(block) ? chain.tip.height - block.height + 1 : -1

function describeHeader(chain: ChainState, block: Block) {
  const { height, hash, header, medianTime, members } = block
  const next = chain.isActive(block) ? chain.at(height + 1) : undefined
  return {
    hash,
    confirmations: confirmationsOf(chain, block),
    height,
    version: header.version,
    versionHex: header.version.toString(16).padStart(8, '0'),
    merkleroot: header.root,
    num_tx: members.length,
    time: header.time,
    mediantime: medianTime,
    nonce: header.nonce,
    bits: header.bits.toString(16).padStart(8, '0'),
    difficulty,
    chainwork: chainWork(block),
    ...(height > 0 && { previousblockhash: header.previous }),
    ...(next && { nextblockhash: next.hash }),
  }
}

const verbosities = ['RAW_BLOCK', 'DECODE_HEADER', 'DECODE_TRANSACTIONS', 'DECODE_HEADER_AND_COINBASE']

/** 0 hex, 1 ids, 2 transactions, 3 only the first transaction; names and booleans stand for these as on a node. */
function verbosityOf(given: unknown): number {
  const level = typeof given === 'string' ? verbosities.indexOf(given) : Number(given ?? 1)
  if (level === 0 || level === 1 || level === 2 || level === 3) return level
  throw new RpcError(rpcCodes.invalidParameter, 'Verbosity value out of range')
}

function targetOf({ hash, header, bytes }: Block, type: 'hash' | 'header' | 'merkleroot'): string {
  if (type === 'hash') return hash
  return type === 'header' ? toHex(bytes.subarray(0, headerBytes)) : header.root
}

/** From the bottom to the top; `*` where a row is odd and its last one stands twice. */
function nodesOf({ height, members }: Block, index: number): string[] {
  const txids = members.map(({ txid }) => txid)
  return makePath(height, txids, index).levels.flatMap((level, row) => {
    const sibling = level.get(Math.floor(index / 2 ** row) ^ 1)
    if (sibling === undefined) return []
    return [sibling.hash === undefined ? '*' : txidOfHash(sibling.hash)]
  })
}
