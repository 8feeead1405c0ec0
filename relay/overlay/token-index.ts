/** Which tokens of a kind there are, newest first (docs/protocol.md §14): all of them in memory, bounded; on disk they are outputs. */
import type { LookupQuestion } from '@bsv/sdk'
import type { LookupFormula } from '@bsv/overlay/LookupFormula.ts'
import type { LookupService, OutputAdmittedByTopic, OutputSpent } from '@bsv/overlay/LookupService.ts'
import { formatOutpoint, type Outpoint, parseOutpoint } from '../../contracts/transaction/transaction.ts'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { version } from '../version.ts'
import type { LevelStorage } from './storage.ts'
import type { Claim, TokenKind } from './token-kind.ts'

export const tokenLimits = {
  /** Of a topic: about 50 MB in memory. When full nothing new is admitted: what is there was paid for first. */
  tokens: 50_000,
  page: 200,
  /** BEEF of one page; the engine makes an array of numbers of each. */
  pageBytes: 256 << 10,
} as const

export class TokenIndex<C extends Claim> implements LookupService {
  readonly admissionMode = 'locking-script'
  readonly spendNotificationMode = 'none'
  readonly #kind: TokenKind<C>
  readonly #storage: LevelStorage
  readonly #most: number
  /** In the order in which they were admitted. */
  readonly #claims = new Map<string, C>()
  readonly #about = new Map<string, Set<string>>()
  readonly #makers = new Map<string, Set<string>>()

  static async open<C extends Claim>(
    kind: TokenKind<C>,
    storage: LevelStorage,
    most: number = tokenLimits.tokens,
  ): Promise<TokenIndex<C>> {
    const index = new TokenIndex(kind, storage, most)
    for (const { txid, outputIndex, outputScript } of await storage.findUTXOsForTopic(kind.topic)) {
      const claim = kind.parse(Uint8Array.from(outputScript))
      if (claim !== undefined) index.#add(formatOutpoint({ txid, vout: outputIndex }), claim)
    }
    return index
  }

  private constructor(kind: TokenKind<C>, storage: LevelStorage, most: number) {
    this.#kind = kind
    this.#storage = storage
    this.#most = most
  }

  /** Whether it is not held, and may be. */
  hasRoomFor({ maker }: C, outpoint: Outpoint): boolean {
    if (this.#claims.has(formatOutpoint(outpoint))) return false
    return this.#claims.size < this.#most || this.#isFull(maker)
  }

  outputAdmittedByTopic(payload: OutputAdmittedByTopic): void {
    if (payload.mode !== 'locking-script') return
    const claim = this.#kind.parse(Uint8Array.from(payload.lockingScript.toBinary()))
    if (claim === undefined) return
    if (this.#isFull(claim.maker)) {
      const [oldest] = this.#makers.get(claim.maker)!
      this.#forget(oldest!)
      this.#storage.remove(parseOutpoint(oldest!), this.#kind.topic)
    }
    this.#add(formatOutpoint({ txid: payload.txid, vout: payload.outputIndex }), claim)
  }

  outputSpent({ txid, outputIndex }: OutputSpent): void {
    this.#forget(formatOutpoint({ txid, vout: outputIndex }))
  }

  outputEvicted(txid: string, outputIndex: number): void {
    this.#forget(formatOutpoint({ txid, vout: outputIndex }))
  }

  /** @throws ERR_MALFORMED */
  async lookup({ query }: LookupQuestion): Promise<LookupFormula> {
    const parsed = this.#kind.query.safeParse(query ?? {})
    if (!parsed.success) throw new MarketError('ERR_MALFORMED', `the query: ${firstIssue(parsed.error)}`)
    const { about, fits, limit = tokenLimits.page, skip = 0 } = parsed.data
    const names =
      about === undefined
        ? [...this.#claims.keys()]
        : about.flatMap((one) => [...(this.#about.get(one) ?? [])])
    const found: LookupFormula = []
    let bytes = 0
    let skipped = 0
    for (const name of names.reverse()) {
      if (!fits(this.#claims.get(name)!)) continue // what is found by a name is held
      if (skipped++ < skip) continue
      const { txid, vout } = parseOutpoint(name)
      const beef = this.#storage.beefOf({ txid, vout }, this.#kind.topic)
      // What could not be written is not there.
      if (beef === undefined) continue
      bytes += beef.length
      if (found.length === limit || (bytes > tokenLimits.pageBytes && found.length > 0)) break
      found.push({ txid, outputIndex: vout })
    }
    return found
  }

  /** What is said about somebody, newest first. */
  claimsAbout(about: string): C[] {
    return [...(this.#about.get(about) ?? [])].reverse().map((name) => this.#claims.get(name)!) // what is found by a name is held
  }

  held(): Outpoint[] {
    return [...this.#claims.keys()].map(parseOutpoint)
  }

  async getDocumentation(): Promise<string> {
    return `# ${this.#kind.service}\n\n${this.#kind.documentation.service}\n`
  }

  async getMetaData() {
    return { name: this.#kind.service, shortDescription: this.#kind.about.service, version }
  }

  #isFull(maker: string): boolean {
    return (this.#makers.get(maker)?.size ?? 0) >= this.#kind.perMaker
  }

  #add(name: string, claim: C): void {
    this.#claims.set(name, claim)
    for (const [map, key] of this.#placesOf(claim)) {
      const names = map.get(key) ?? new Set()
      map.set(key, names.add(name))
    }
  }

  #forget(name: string): void {
    const claim = this.#claims.get(name)
    if (claim === undefined) return
    this.#claims.delete(name)
    for (const [map, key] of this.#placesOf(claim)) {
      const names = map.get(key)
      names?.delete(name)
      if (names?.size === 0) map.delete(key)
    }
  }

  #placesOf({ about, maker }: C): [Map<string, Set<string>>, string][] {
    return [
      [this.#about, about],
      [this.#makers, maker],
    ]
  }
}
