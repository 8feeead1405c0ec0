/** What the RPC says of transactions and their outputs, in the words of SV Node. */
import { z } from 'zod'
import { toHex } from '../../../market/bytes.ts'
import { p2pkhHash } from '../../transaction/script.ts'
import { nullTxid, type Output, parseTransaction, type Txid } from '../../transaction/transaction.ts'
import { leastFeeRate } from '../chain.ts'
import type { Entry } from './mempool.ts'
import { coinsOf, count, flag, hash, hex, type Method, method, none, reading } from './method.ts'
import type { DevnetNode } from './node.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'

export const transactionMethods: Record<string, Method> = {
  sendrawtransaction: method(
    z.tuple([hex, z.boolean().default(false), z.boolean().default(false)]),
    (node, bytes) => node.submit(bytes),
  ),
  getrawtransaction: reading(z.tuple([hash, flag.default(false)]), (node, txid, isVerbose) => {
    const found = find(node, txid)
    if (found === undefined) throw new RpcError(rpcCodes.invalidAddressOrKey, unknownTransaction)
    if (!isVerbose) return toHex(found.bytes)
    return {
      ...describeTransaction(txid, found.bytes),
      ...describePlace(node, txid),
      hex: toHex(found.bytes),
    }
  }),
  gettxout: reading(z.tuple([hash, count, z.boolean().default(true)]), (node, txid, vout, withMempool) => {
    const { chain, mempool } = node
    const outpoint = { txid, vout }
    if (withMempool && mempool.spenderOf(outpoint) !== undefined) return null
    const mined = chain.coins.coin(outpoint)
    const coin = mined ?? (withMempool ? mempool.output(outpoint, 0) : undefined)
    if (coin === undefined) return null
    return {
      bestblock: chain.tip.hash,
      confirmations: mined === undefined ? 0 : chain.tip.height - mined.height + 1,
      value: coinsOf(coin.satoshis),
      scriptPubKey: describeScript(coin),
      coinbase: coin.isCoinbase,
      confiscation: false,
    }
  }),
  getrawmempool: reading(z.tuple([z.boolean().default(false)]), ({ mempool }, isVerbose) => {
    const entries = [...mempool.entries()]
    if (!isVerbose) return entries.map(({ txid }) => txid)
    return Object.fromEntries(entries.map((entry) => [entry.txid, describeEntry(entry)]))
  }),
  getmempoolinfo: reading(none, ({ mempool }) => ({
    size: mempool.size,
    journalsize: mempool.size,
    nonfinalsize: 0,
    bytes: mempool.bytes,
    usage: mempool.bytes,
    mempoolminfee: coinsOf(leastFeeRate),
  })),
  getmempoolentry: reading(z.tuple([hash]), ({ mempool }, txid) => {
    const entry = mempool.get(txid)
    if (entry === undefined) throw new RpcError(rpcCodes.invalidAddressOrKey, 'Transaction not in mempool')
    return describeEntry(entry)
  }),
}

const unknownTransaction =
  'No such mempool or blockchain transaction. Use gettransaction for wallet transactions.'

function find({ chain, mempool }: DevnetNode, txid: Txid): { bytes: Uint8Array } | undefined {
  const place = chain.placeOf(txid)
  return mempool.get(txid) ?? place?.block.members[place.index]
}

function describePlace({ chain }: DevnetNode, txid: Txid) {
  const place = chain.placeOf(txid)
  if (place === undefined) return {}
  const { hash, height, header } = place.block
  const confirmations = chain.tip.height - height + 1
  return { blockhash: hash, confirmations, time: header.time, blocktime: header.time, blockheight: height }
}

export function describeTransaction(txid: Txid, bytes: Uint8Array) {
  const { version, inputs, outputs, lockTime } = parseTransaction(bytes)
  return {
    txid,
    hash: txid,
    version: version | 0,
    size: bytes.length,
    locktime: lockTime,
    vin: inputs.map((input) =>
      input.txid === nullTxid
        ? { coinbase: toHex(input.script), sequence: input.sequence }
        : {
            txid: input.txid,
            vout: input.vout,
            scriptSig: { hex: toHex(input.script) },
            sequence: input.sequence,
          },
    ),
    vout: outputs.map((output, n) => ({
      value: coinsOf(output.satoshis),
      n,
      scriptPubKey: describeScript(output),
    })),
  }
}

const describeScript = ({ script }: Output) => ({
  hex: toHex(script),
  type: p2pkhHash(script) === undefined ? 'nonstandard' : 'pubkeyhash',
})

const describeEntry = ({ bytes, feeSatoshis, time, height, parents }: Entry) => ({
  size: bytes.length,
  fee: coinsOf(feeSatoshis),
  modifiedfee: coinsOf(feeSatoshis),
  time,
  height,
  depends: parents,
})
