/** Headers from a Block Headers Service (github.com/bitcoin-sv/block-headers-service), through the class the sdk has for it. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { Hash } from '../../market/units.ts'
import { loadSdk } from '../transaction/sdk.ts'
import { blockHash, serializeHeader } from '../transaction/block.ts'
import type { Txid } from '../transaction/transaction.ts'
import type { Place, Tip } from './chain.ts'
import type { HeaderSource } from './header-source.ts'
import { type Address, type Answer, type HttpOptions, HttpServer, parseJson } from './http.ts'
import { sdkHttp } from './sdk-http.ts'

/** Blocks whose median is the time past. */
const medianBlocks = 11
/** Of an answer: blocks that were mined in vain may stand among those asked for. */
const mostHeaders = 100

const Uint32 = z.int().min(0).max(0xffffffff)
const ServedHeader = z.object({
  hash: Hash,
  version: z.int(),
  prevBlockHash: Hash,
  merkleRoot: Hash,
  creationTimestamp: Uint32,
  difficultyTarget: Uint32,
  nonce: Uint32,
})
type ServedHeader = z.infer<typeof ServedHeader>
const HeaderState = z.object({ header: ServedHeader, state: z.string(), height: Uint32 })
/** For the sdk, which looks at the state, or at the height. */
const Verified = z.object({ confirmationState: z.enum(['CONFIRMED', 'UNABLE_TO_VERIFY', 'INVALID']) })
const Longest = z.object({ height: Uint32 })

export class BlockHeaders implements HeaderSource {
  readonly shown: string
  readonly #server: HttpServer
  readonly #key: string

  constructor({ url, user, password }: Address, options: HttpOptions = {}) {
    this.#server = new HttpServer({ url, ...options })
    this.#key = password || user
    this.shown = `block headers service ${this.#server.shown}`
  }

  async isValidRootForHeight(root: Txid, height: number): Promise<boolean> {
    return (await this.#tracker(Verified)).isValidRootForHeight(root, height).catch(this.#unavailable)
  }

  async currentHeight(): Promise<number> {
    return (await this.#tracker(Longest)).currentHeight().catch(this.#unavailable)
  }

  async tip(): Promise<Tip> {
    const { header, height } = this.#parse(HeaderState, await this.#get('/chain/tip/longest'))
    this.#check(header)
    const first = Math.max(0, height - medianBlocks + 1)
    const served = await this.#byHeight(first, height - first + 1)
    const byHash = new Map(served.map((header) => [header.hash, header]))
    const times = [header.creationTimestamp]
    for (let below = byHash.get(header.prevBlockHash); below && times.length < medianBlocks; ) {
      times.push(below.creationTimestamp)
      below = byHash.get(below.prevBlockHash)
    }
    if (times.length !== height - first + 1)
      throw this.#incredible('its newest headers do not follow on each other')
    times.sort((a, b) => a - b)
    return { height, hash: header.hash, medianTime: times[times.length >> 1]! } // never empty
  }

  async placeAt(height: number): Promise<Place | undefined> {
    const header = await this.#headerAt(height)
    return header && { height, hash: header.hash }
  }

  async header(height: number): Promise<Uint8Array | undefined> {
    const header = await this.#headerAt(height)
    return header && bytesOf(header)
  }

  close(): void {
    this.#server.close()
  }

  async #headerAt(height: number): Promise<ServedHeader | undefined> {
    for (const header of await this.#byHeight(height, 1)) {
      const found = this.#parse(HeaderState, await this.#get(`/chain/header/state/${header.hash}`))
      // It hands out blocks that were mined in vain too.
      if (found.state === 'LONGEST_CHAIN' && found.height === height && found.header.hash === header.hash)
        return header
    }
    return undefined
  }

  async #byHeight(height: number, count: number): Promise<ServedHeader[]> {
    const answer = await this.#get(`/chain/header/byHeight?height=${height}&count=${count}`)
    if (answer.status === 404) return []
    const headers = this.#parse(z.array(ServedHeader).max(mostHeaders), answer)
    for (const header of headers) this.#check(header)
    return headers
  }

  #check(header: ServedHeader): void {
    if (blockHash(bytesOf(header)) !== header.hash)
      throw this.#incredible(`what it sends is not the header of ${header.hash}`)
  }

  #get(path: string): Promise<Answer> {
    const headers = { authorization: `Bearer ${this.#key}` }
    return this.#server.ask({ method: 'GET', path: `/api/v1${path}`, headers, again: true })
  }

  #parse<T>(schema: z.ZodType<T>, answer: Answer): T {
    if (answer.status !== 200) throw this.#server.unavailable(`answers with status ${answer.status}`)
    const parsed = schema.safeParse(parseJson(this.#server, answer))
    if (!parsed.success) throw this.#incredible('its answer is not of the expected form')
    return parsed.data
  }

  async #tracker(schema: z.ZodType) {
    const { BlockHeadersService } = await loadSdk()
    const httpClient = sdkHttp(this.#server, schema, { again: true })
    return new BlockHeadersService(this.#server.shown, { apiKey: this.#key, httpClient })
  }

  readonly #unavailable = (error: unknown): never => {
    throw this.#server.unavailable('does not tell its headers', error)
  }

  #incredible(sentence: string): MarketError {
    return new MarketError('ERR_INTERNAL', `${this.shown}: ${sentence}`)
  }
}

const bytesOf = (header: ServedHeader): Uint8Array =>
  serializeHeader({
    version: header.version,
    previous: header.prevBlockHash,
    root: header.merkleRoot,
    time: header.creationTimestamp,
    bits: header.difficultyTarget,
    nonce: header.nonce,
  })
