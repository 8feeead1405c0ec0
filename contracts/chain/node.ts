/** The chain as an SV Node (v1.2.2, `txindex=1`) sees it, over its JSON-RPC. Also what a devnet speaks. */
import { z } from 'zod'
import { toHex } from '../../market/bytes.ts'
import { Hash } from '../../market/units.ts'
import { makePath, type MerklePath } from '../transaction/merkle-path.ts'
import { type Outpoint, type Txid, txidOf } from '../transaction/transaction.ts'
import { broadcast, Rejection } from './broadcast.ts'
import {
  type BlockAt,
  type Chain,
  leastFeeRate,
  mostFeeRate,
  type Network,
  type Place,
  type Tip,
  type TransactionStatus,
} from './chain.ts'
import type { Address, HttpOptions } from './http.ts'
import { type CallOptions, JsonRpc } from './json-rpc.ts'
import { RpcError, rpcCodes } from './rpc-error.ts'
import {
  BlockchainInfo,
  Fee,
  hashOfHeader,
  headerOf,
  HeaderInfo,
  Hex,
  isBlock,
  refusalOf,
  TransactionInfo,
} from './node-answers.ts'
import { RootCache } from './root-cache.ts'
import { leadsTo, pathOf, TscProof } from './tsc-proof.ts'

const nodeLimits = {
  /** Of the largest block that is read; it travels as twice as many characters. */
  blockBytes: 192 << 20,
  blockTimeoutMs: 300_000,
} as const

export class NodeChain implements Chain {
  readonly network: Network
  readonly name: string
  readonly canScan = true
  readonly faucet: Chain['faucet']
  readonly #rpc: JsonRpc
  readonly #roots = new RootCache()

  constructor(address: Address, network: Network, options: HttpOptions = {}) {
    this.#rpc = new JsonRpc(address, options)
    this.network = network
    this.faucet = network === 'devnet' ? this.#payFrom : undefined
    this.name = `${network === 'devnet' ? 'devnet (worthless coins)' : `${network} node`} at ${this.#rpc.server.shown}`
  }

  /** Not asked again when the connection breaks: it would pay twice. */
  #payFrom = (address: string, satoshis: number): Promise<Txid> =>
    this.#rpc.call('faucet', [address, satoshis], Hash, { again: false })

  async tip(): Promise<Tip> {
    const { blocks, bestblockhash, mediantime } = await this.#ask('getblockchaininfo', [], BlockchainInfo)
    return { height: blocks, hash: bestblockhash, medianTime: mediantime }
  }

  async currentHeight(): Promise<number> {
    return (await this.tip()).height
  }

  async placeAt(height: number): Promise<Place | undefined> {
    const hash = await this.#find('getblockhash', [height], Hash, rpcCodes.invalidParameter)
    return hash === undefined ? undefined : { height, hash }
  }

  broadcast(transaction: Uint8Array): Promise<Txid> {
    return broadcast(transaction, {
      tip: () => this.tip(),
      status: (txid) => this.status(txid),
      send: () => this.#send(transaction),
      shown: this.#rpc.server.shown,
    })
  }

  async status(txid: Txid): Promise<TransactionStatus> {
    const info = await this.#info(txid)
    if (info === undefined) return { state: 'unknown' }
    if (info.blockhash === undefined) return { state: 'mempool' }
    const depth = info.confirmations ?? 0
    // In a block that was mined in vain, and not in the mempool either.
    if (depth < 1) return { state: 'unknown' }
    const height = info.blockheight ?? (await this.#header(info.blockhash)).height
    return { state: 'mined', depth, height, hash: info.blockhash }
  }

  async transaction(txid: Txid): Promise<Uint8Array | undefined> {
    const bytes = await this.#find('getrawtransaction', [txid, false], Hex, rpcCodes.invalidAddressOrKey)
    if (bytes !== undefined) this.#check(txid, bytes)
    return bytes
  }

  async proof(txid: Txid): Promise<MerklePath | undefined> {
    const info = await this.#info(txid)
    if (info?.blockhash === undefined || (info.confirmations ?? 0) < 1) return undefined
    const header = await this.#header(info.blockhash)
    // It was taken back while we asked.
    if (header.confirmations < 1) return undefined
    const place = { height: header.height, hash: info.blockhash }
    const path = (await this.#nodeProof(txid, place)) ?? (await this.#blockProof(txid, place))
    if (leadsTo(path, txid, header.merkleroot)) return path
    throw this.#rpc.incredible(`its proof of ${txid} does not lead to block ${info.blockhash}`)
  }

  async isUnspent({ txid, vout }: Outpoint): Promise<boolean> {
    return (await this.#ask('gettxout', [txid, vout, true], z.looseObject({}).nullable())) !== null
  }

  async isValidRootForHeight(root: Txid, height: number): Promise<boolean> {
    const tip = await this.tip()
    if (!Number.isSafeInteger(height) || height < 0 || height > tip.height) return false
    const known = this.#roots.get(height, tip.hash)
    if (known !== undefined) return known === root
    const place = await this.placeAt(height)
    if (place === undefined) return false
    const header = await this.#header(place.hash)
    this.#roots.set({ height, root: header.merkleroot }, tip.hash)
    return header.merkleroot === root
  }

  async feeRate(): Promise<number> {
    const [{ relayfee }, { mempoolminfee }] = await Promise.all([
      this.#ask('getnetworkinfo', [], z.object({ relayfee: Fee })),
      this.#ask('getmempoolinfo', [], z.object({ mempoolminfee: Fee })),
    ])
    const asked = Math.round(Math.max(relayfee, mempoolminfee) * 1e8)
    if (asked > mostFeeRate) throw this.#rpc.incredible(`it asks for ${asked} satoshi for 1000 bytes`)
    return Math.max(leastFeeRate, asked)
  }

  async header(height: number): Promise<Uint8Array | undefined> {
    const place = await this.placeAt(height)
    return place && headerOf(await this.#header(place.hash))
  }

  async block(height: number): Promise<BlockAt | undefined> {
    const place = await this.placeAt(height)
    if (place === undefined) return undefined
    const { blockBytes, blockTimeoutMs } = nodeLimits
    const bounds = { answerBytes: 2 * blockBytes + 1024, timeoutMs: blockTimeoutMs }
    const bytes = await this.#ask('getblock', [place.hash, 0], Hex, bounds)
    if (!isBlock(bytes, place.hash)) throw this.#rpc.incredible(`what it sends is not block ${place.hash}`)
    return { ...place, bytes }
  }

  mempool(): Promise<readonly Txid[]> {
    return this.#ask('getrawmempool', [false], z.array(Hash))
  }

  async close(): Promise<void> {
    this.#rpc.server.close()
  }

  async #send(transaction: Uint8Array): Promise<Txid> {
    try {
      // Not asked again: whether it has arrived is what is asked then.
      return await this.#rpc.call('sendrawtransaction', [toHex(transaction)], Hash, { again: false })
    } catch (error) {
      const refusal = error instanceof RpcError ? refusalOf(error) : undefined
      if (refusal === undefined) throw error
      throw new Rejection(refusal, (error as RpcError).message) // what has a refusal
    }
  }

  async #info(txid: Txid): Promise<TransactionInfo | undefined> {
    const absent = rpcCodes.invalidAddressOrKey
    const info = await this.#find('getrawtransaction', [txid, true], TransactionInfo, absent)
    if (info !== undefined) this.#check(txid, info.hex)
    return info
  }

  #check(txid: Txid, bytes: Uint8Array): void {
    if (txidOf(bytes) !== txid) throw this.#rpc.incredible(`what it sends is not the transaction ${txid}`)
  }

  /** A header is what its hash says; where it stands is the word of the node. */
  async #header(hash: Txid): Promise<HeaderInfo> {
    const info = await this.#ask('getblockheader', [hash, true], HeaderInfo)
    if (hashOfHeader(info) !== hash) throw this.#rpc.incredible(`what it sends is not the header of ${hash}`)
    return info
  }

  /** Undefined when the node has no such method, or cannot find the block. */
  async #nodeProof(txid: Txid, { hash, height }: Place): Promise<MerklePath | undefined> {
    try {
      const proof = await this.#rpc.call('getmerkleproof2', [hash, txid], TscProof)
      const path = proof.target === hash ? pathOf(proof, txid, height) : undefined
      if (path === undefined) throw this.#rpc.incredible(`its proof of ${txid} has no sound form`)
      return path
    } catch (error) {
      if (error instanceof RpcError) return undefined
      throw error
    }
  }

  async #blockProof(txid: Txid, { hash, height }: Place): Promise<MerklePath> {
    const bounds = { answerBytes: 2 * nodeLimits.blockBytes, timeoutMs: nodeLimits.blockTimeoutMs }
    const { tx } = await this.#ask('getblock', [hash, 1], z.object({ tx: z.array(Hash).min(1) }), bounds)
    const index = tx.indexOf(txid)
    if (index < 0) throw this.#rpc.incredible(`block ${hash} does not have the transaction ${txid}`)
    return makePath(height, tx, index)
  }

  async #ask<T>(
    method: string,
    params: readonly unknown[],
    schema: z.ZodType<T>,
    options: CallOptions = {},
  ): Promise<T> {
    try {
      return await this.#rpc.call(method, params, schema, options)
    } catch (error) {
      if (!(error instanceof RpcError)) throw error
      throw this.#rpc.server.unavailable(`does not answer ${method}: ${error.message}`, error)
    }
  }

  /** Undefined where the node answers with `absent`: that there is none. */
  async #find<T>(
    method: string,
    params: readonly unknown[],
    schema: z.ZodType<T>,
    absent: number,
  ): Promise<T | undefined> {
    try {
      return await this.#ask(method, params, schema)
    } catch (error) {
      const { cause } = error as Error // nothing else is thrown
      if (cause instanceof RpcError && cause.code === absent) return undefined
      throw error
    }
  }
}
