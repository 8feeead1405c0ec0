/** Headers, transactions, proofs and unspent outputs from a service with the API of WhatsOnChain. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { Hash } from '../../market/units.ts'
import type { MerklePath } from '../transaction/merkle-path.ts'
import { type Outpoint, parseTransaction, type Txid, txidOf, txidOfHash } from '../transaction/transaction.ts'
import type { Place, Tip } from './chain.ts'
import type { Facts, HeaderSource } from './header-source.ts'
import { type Address, type Answer, type HttpOptions, HttpServer, parseJson } from './http.ts'
import { BlockchainInfo, hashOfHeader, HeaderInfo, headerOf, Hex } from './node-answers.ts'
import { leadsTo, pathOf, TscProof } from './tsc-proof.ts'

const Unspent = z.object({
  script: Hash,
  result: z.array(z.object({ tx_hash: Hash, tx_pos: z.int().min(0), isSpentInMempoolTx: z.boolean() })),
  error: z.string().optional(),
  nextPageToken: z.string().optional(),
})

export class WhatsOnChain implements HeaderSource, Facts {
  readonly shown: string
  readonly facts = this
  readonly #server: HttpServer
  readonly #key: string

  /** @param address down to the network: https://api.whatsonchain.com/v1/bsv/main */
  constructor({ url, user, password }: Address, options: HttpOptions = {}) {
    this.#server = new HttpServer({ url, ...options })
    this.#key = password || user
    this.shown = `WhatsOnChain at ${this.#server.shown}`
  }

  async tip(): Promise<Tip> {
    const info = this.#parse(BlockchainInfo, await this.#get('/chain/info'))
    return { height: info.blocks, hash: info.bestblockhash, medianTime: info.mediantime }
  }

  async currentHeight(): Promise<number> {
    return (await this.tip()).height
  }

  async placeAt(height: number): Promise<Place | undefined> {
    const header = await this.#headerAt(height)
    return header === undefined ? undefined : { height, hash: hashOfHeader(header) }
  }

  async header(height: number): Promise<Uint8Array | undefined> {
    const header = await this.#headerAt(height)
    return header && headerOf(header)
  }

  async isValidRootForHeight(root: Txid, height: number): Promise<boolean> {
    return (await this.#headerAt(height))?.merkleroot === root
  }

  async transaction(txid: Txid): Promise<Uint8Array | undefined> {
    const answer = await this.#get(`/tx/${txid}/hex`)
    if (answer.status === 404) return undefined
    this.#demand(answer)
    const bytes = Hex.safeParse(answer.body.toString('latin1').trim())
    if (!bytes.success || txidOf(bytes.data) !== txid)
      throw this.#incredible(`what it sends is not the transaction ${txid}`)
    return bytes.data
  }

  async proof(txid: Txid): Promise<MerklePath | undefined> {
    const answer = await this.#get(`/tx/${txid}/proof/tsc`)
    if (answer.status === 404) return undefined
    const [proof] = this.#parse(z.array(TscProof).nullable(), answer) ?? []
    if (proof === undefined) return undefined
    const block = this.#parse(HeaderInfo, await this.#get(`/block/${proof.target}/header`))
    // Mined in vain, or about to be.
    if ((await this.placeAt(block.height))?.hash !== proof.target) return undefined
    const path = pathOf(proof, txid, block.height)
    if (path !== undefined && hashOfHeader(block) === proof.target && leadsTo(path, txid, block.merkleroot))
      return path
    throw this.#incredible(`its proof of ${txid} does not lead to block ${proof.target}`)
  }

  /** An output counts as unspent when it is listed as that: what is missing, for whatever reason, counts as spent. */
  async isUnspent({ txid, vout }: Outpoint): Promise<boolean> {
    const bytes = await this.transaction(txid)
    const output = bytes && parseTransaction(bytes).outputs[vout]
    if (output === undefined) return false
    const script = txidOfHash(sha256(output.script))
    const answer = await this.#get(`/script/${script}/unspent/all`)
    if (answer.status === 404) return false
    const page = this.#parse(Unspent, answer)
    if (page.script !== script || (page.error ?? '') !== '')
      throw this.#server.unavailable(`does not list what is unspent: ${page.error ?? ''}`)
    const found = page.result.find(({ tx_hash, tx_pos }) => tx_hash === txid && tx_pos === vout)
    if (found === undefined && (page.nextPageToken ?? '') !== '')
      throw this.#server.unavailable('has too many outputs with the same script to tell')
    return found !== undefined && !found.isSpentInMempoolTx
  }

  close(): void {
    this.#server.close()
  }

  async #headerAt(height: number): Promise<HeaderInfo | undefined> {
    const answer = await this.#get(`/block/${height}/header`)
    if (answer.status === 404) return undefined
    const header = this.#parse(HeaderInfo, answer)
    if (header.height !== height)
      throw this.#incredible(`what it sends is not the header of height ${height}`)
    return header
  }

  #get(path: string): Promise<Answer> {
    const headers = { ...(this.#key !== '' && { authorization: this.#key }) }
    return this.#server.ask({ method: 'GET', path, headers, again: true })
  }

  #demand({ status }: Answer): void {
    if (status !== 200) throw this.#server.unavailable(`answers with status ${status}`)
  }

  #parse<T>(schema: z.ZodType<T>, answer: Answer): T {
    this.#demand(answer)
    const parsed = schema.safeParse(parseJson(this.#server, answer))
    if (!parsed.success) throw this.#incredible('its answer is not of the expected form')
    return parsed.data
  }

  #incredible(sentence: string): MarketError {
    return new MarketError('ERR_INTERNAL', `${this.shown}: ${sentence}`)
  }
}
