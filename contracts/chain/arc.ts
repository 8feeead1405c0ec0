/** Sending through ARC; headers, and what else there is, from another named service. Blocks cannot be read this way. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { fromHex } from '../../market/bytes.ts'
import { type MerklePath, parsePath, rootOf } from '../transaction/merkle-path.ts'
import { loadSdk } from '../transaction/sdk.ts'
import type { Outpoint, Txid } from '../transaction/transaction.ts'
import { broadcast, Rejection } from './broadcast.ts'
import {
  type BlockAt,
  type Chain,
  leastFeeRate,
  mostFeeRate,
  type Network,
  type Place,
  type Refusal,
  type Tip,
  type TransactionStatus,
} from './chain.ts'
import type { Facts, HeaderSource } from './header-source.ts'
import { type Address, type Answer, type HttpOptions, HttpServer, parseJson, reasonOf } from './http.ts'
import { sdkHttp } from './sdk-http.ts'

/** Of ARC, for a transaction to be seen in the mempool of a node (it allows 30). */
const waitSeconds = 10

const Status = z.object({
  txid: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/)
    .toLowerCase(),
  txStatus: z.string(),
  /** Absent, null and empty are the same. */
  extraInfo: z
    .string()
    .nullish()
    .transform((text) => text ?? ''),
  blockHash: z.string().nullish(),
  merklePath: z.string().nullish(),
})
type Status = z.infer<typeof Status>
const Policy = z.object({
  policy: z.object({ miningFee: z.object({ satoshis: z.int().min(0), bytes: z.int().min(1) }) }),
})

/** A node has it. Of those before (STORED, SENT_TO_NETWORK …) ARC itself does not know yet what becomes of them. */
const inMempool = ['ACCEPTED_BY_NETWORK', 'SEEN_ON_NETWORK', 'SEEN_MULTIPLE_NODES']
/**
 * It will not be taken. Not among these, because not decided: DOUBLE_SPEND_ATTEMPTED (one of the two will be mined),
 * SEEN_IN_ORPHAN_MEMPOOL (it waits for its parents), MINED_IN_STALE_BLOCK.
 */
const refusedStatuses = ['REJECTED', 'INVALID', 'MALFORMED']
/** Of answers with an HTTP status of their own: ARC numbers what is wrong with a transaction from 460 on. */
const refusalsByCode: Readonly<Record<string, Refusal>> = {
  '400': 'invalid',
  '422': 'invalid',
  '460': 'missing-inputs',
  '465': 'fee',
  '466': 'conflict',
  '467': 'missing-inputs',
  '473': 'fee',
}

export class ArcChain implements Chain {
  readonly network: Network
  readonly name: string
  readonly canScan = false
  readonly #arc: HttpServer
  readonly #key: string
  readonly #headers: HeaderSource

  /** @param address with the API key, if there is one, in the place of the password */
  constructor(
    { url, user, password }: Address,
    { network, headers, ...options }: HttpOptions & { network: Network; headers: HeaderSource },
  ) {
    this.#arc = new HttpServer({ url, ...options })
    this.#key = password || user
    this.#headers = headers
    this.network = network
    this.name = `${network} ARC at ${this.#arc.shown} with ${headers.shown}`
  }

  tip(): Promise<Tip> {
    return this.#headers.tip()
  }

  currentHeight(): Promise<number> {
    return this.#headers.currentHeight()
  }

  placeAt(height: number): Promise<Place | undefined> {
    return this.#headers.placeAt(height)
  }

  header(height: number): Promise<Uint8Array | undefined> {
    return this.#headers.header(height)
  }

  isValidRootForHeight(root: Txid, height: number): Promise<boolean> {
    return this.#headers.isValidRootForHeight(root, height)
  }

  broadcast(transaction: Uint8Array): Promise<Txid> {
    return broadcast(transaction, {
      tip: () => this.tip(),
      status: (txid) => this.status(txid),
      send: () => this.#send(transaction),
      shown: this.#arc.shown,
    })
  }

  /** Mined only where the headers bear it out: else ARC knows of a block that others do not, or not any more. */
  async status(txid: Txid): Promise<TransactionStatus> {
    const status = await this.#status(txid)
    if (status === undefined) return { state: 'unknown' }
    if (status.txStatus !== 'MINED')
      return { state: inMempool.includes(status.txStatus) ? 'mempool' : 'unknown' }
    const path = await this.#provenPath(status)
    const place = path && (await this.placeAt(path.height))
    const height = await this.currentHeight()
    if (place === undefined || height < place.height) return { state: 'mempool' }
    return { state: 'mined', depth: height - place.height + 1, ...place }
  }

  async proof(txid: Txid): Promise<MerklePath | undefined> {
    const status = await this.#status(txid)
    const path = status?.txStatus === 'MINED' ? await this.#provenPath(status) : undefined
    if (path !== undefined) return path
    // ARC knows only what was sent through it.
    return status === undefined
      ? await this.#facts('proofs of transactions that others have sent').proof(txid)
      : undefined
  }

  async transaction(txid: Txid): Promise<Uint8Array | undefined> {
    return await this.#facts('the bytes of transactions').transaction(txid)
  }

  async isUnspent(outpoint: Outpoint): Promise<boolean | undefined> {
    return await this.#headers.facts?.isUnspent(outpoint)
  }

  async feeRate(): Promise<number> {
    const { miningFee } = this.#parse(Policy, await this.#get('/v1/policy')).policy
    const asked = Math.ceil((miningFee.satoshis * 1000) / miningFee.bytes)
    if (asked > mostFeeRate) throw this.#incredible(`it asks for ${asked} satoshi for 1000 bytes`)
    return Math.max(leastFeeRate, asked)
  }

  block(): Promise<BlockAt | undefined> {
    return Promise.reject(this.#missing('blocks'))
  }

  mempool(): Promise<readonly Txid[]> {
    return Promise.reject(this.#missing('the mempool'))
  }

  async close(): Promise<void> {
    this.#arc.close()
    this.#headers.close()
  }

  /** Through the class of the sdk, whose success may still be less than we need. */
  async #send(bytes: Uint8Array): Promise<Txid> {
    const { ARC, Transaction } = await loadSdk()
    const arc = new ARC(this.#arc.shown, {
      httpClient: sdkHttp(this.#arc, Status, { again: false }),
      ...(this.#key !== '' && { apiKey: this.#key }),
      headers: { 'X-WaitFor': 'SEEN_ON_NETWORK', 'X-MaxTimeout': String(waitSeconds) },
    })
    const answer = await arc.broadcast(Transaction.fromBinary([...bytes]))
    if (answer.status === 'success') {
      const [status = ''] = answer.message.split(' ')
      if (status === 'MINED' || inMempool.includes(status)) return answer.txid
      throw new Error(`ARC says ${reasonOf(status)}`)
    }
    const reason = reasonOf(`${answer.code} ${answer.description}`)
    const refusal = refusalOf(answer.code)
    throw refusal === undefined ? new Error(`ARC says ${reason}`) : new Rejection(refusal, reason)
  }

  async #status(txid: Txid): Promise<Status | undefined> {
    const answer = await this.#get(`/v1/tx/${txid}`)
    if (answer.status === 404) return undefined
    const status = this.#parse(Status, answer)
    if (status.txid !== txid) throw this.#incredible(`asked for ${txid}, it tells of another transaction`)
    return status
  }

  /** @throws ERR_INTERNAL when it is not a path of the transaction */
  async #provenPath({ txid, merklePath }: Status): Promise<MerklePath | undefined> {
    if (!merklePath) return undefined
    const { path, root } = this.#pathOf(txid, merklePath)
    return (await this.isValidRootForHeight(root, path.height)) ? path : undefined
  }

  #pathOf(txid: Txid, hex: string): { path: MerklePath; root: Txid } {
    try {
      const path = parsePath(fromHex(hex.toLowerCase()))
      return { path, root: rootOf(path, txid).root }
    } catch (error) {
      if (error instanceof MarketError) throw this.#incredible(`its Merkle path of ${txid} is not one`)
      throw error
    }
  }

  #get(path: string): Promise<Answer> {
    const headers = { ...(this.#key !== '' && { authorization: `Bearer ${this.#key}` }) }
    return this.#arc.ask({ method: 'GET', path, headers, again: true })
  }

  #parse<T>(schema: z.ZodType<T>, answer: Answer): T {
    if (answer.status === 401 || answer.status === 403)
      throw this.#arc.unavailable('does not accept the API key')
    if (answer.status !== 200) throw this.#arc.unavailable(`answers with status ${answer.status}`)
    const parsed = schema.safeParse(parseJson(this.#arc, answer))
    if (!parsed.success) throw this.#incredible('its answer is not of the expected form')
    return parsed.data
  }

  #facts(what: string): Facts {
    if (this.#headers.facts === undefined) throw this.#missing(what)
    return this.#headers.facts
  }

  #missing(what: string): MarketError {
    return new MarketError('ERR_CHAIN_UNAVAILABLE', `${this.name} does not tell ${what}`)
  }

  #incredible(sentence: string): MarketError {
    return new MarketError('ERR_INTERNAL', `${this.#arc.shown}: ${sentence}`)
  }
}

function refusalOf(code: string): Refusal | undefined {
  if (refusedStatuses.includes(code.toUpperCase())) return 'invalid'
  return refusalsByCode[code] ?? (/^4[67]\d$/.test(code) ? 'invalid' : undefined)
}
