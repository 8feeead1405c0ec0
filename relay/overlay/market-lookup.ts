/** `ls_relay_market`: which tokens of relays there are (docs/protocol.md §12.7), newest first. All of them in memory, bounded. */
import type { LookupQuestion } from '@bsv/sdk'
import type { LookupFormula } from '@bsv/overlay/LookupFormula.ts'
import type { LookupService, OutputAdmittedByTopic, OutputSpent } from '@bsv/overlay/LookupService.ts'
import { z } from 'zod'
import { marketService, readToken } from '../../contracts/overlay/token.ts'
import { formatOutpoint, type Outpoint, parseOutpoint } from '../../contracts/transaction/transaction.ts'
import { AdvertNetwork, forgottenAt, type SealedAdvert } from '../../market/advert.ts'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { Key } from '../../market/units.ts'
import { oneOf, row, text, uint } from '../store/codec.ts'
import { version } from '../version.ts'
import type { Rows } from './rows.ts'

const marketIndexLimits = {
  /** Relays; about 5 MB in memory. When full, the fewest bits go first, of those the oldest. */
  relays: 10_000,
  page: 100,
  /** BEEF of one page; the engine makes an array of numbers of each. */
  pageBytes: 256 << 10,
} as const

/** `since` and `before` are numbers that earlier answers gave as `context`, or milliseconds. */
const MarketQuery = z.strictObject({
  relay: Key.optional(),
  network: AdvertNetwork.nullable().optional(),
  /** Only what was admitted after it. */
  since: z.int().min(0).optional(),
  /** Only what was admitted before it: the next page. */
  before: z.int().min(0).optional(),
  limit: z.int().min(1).max(marketIndexLimits.page).default(marketIndexLimits.page),
})

const states = ['held', 'spent', 'away'] as const
const TokenRow = row('token of a relay', 1, {
  outpoint: text,
  /** `away`: the chain does not have it at the moment. */
  state: oneOf(states, 'a token is in an unknown state'),
  seq: uint,
  bits: uint,
  timestamp: uint,
  /** Nothing is remembered of it then. */
  until: uint,
  network: text,
  /** Rises with every token that is admitted; milliseconds, or more where many came at once. */
  admitted: uint,
})
type Token = ReturnType<typeof TokenRow.decode>

export interface MarketIndexOptions {
  readonly rows: Rows
  readonly now: () => number
  /** Removes an output that is replaced, or has no room. */
  readonly remove: (outpoint: Outpoint) => void
  readonly beefBytes: (outpoint: Outpoint) => number
  /** Other than `marketIndexLimits.relays`, for tests. */
  readonly most?: number | undefined
}

export class MarketIndex implements LookupService {
  readonly admissionMode = 'locking-script'
  readonly spendNotificationMode = 'none'
  readonly #options: MarketIndexOptions
  /** In the order in which they were admitted. */
  readonly #tokens = new Map<Key, Token>()
  readonly #relayOf = new Map<string, Key>()
  #last = 0

  static async open(options: MarketIndexOptions): Promise<MarketIndex> {
    const index = new MarketIndex(options)
    const found: [Key, Token][] = []
    for await (const [key, value] of options.rows.under('m!'))
      found.push([key.slice(2), TokenRow.decode(value)])
    found.sort(([, one], [, other]) => one.admitted - other.admitted)
    for (const [relay, token] of found) index.#remember(relay, token)
    return index
  }

  private constructor(options: MarketIndexOptions) {
    this.#options = options
  }

  /** Whether it is news, and worth more than the least when there is no room. */
  hasRoomFor(sealed: SealedAdvert, outpoint: Outpoint): boolean {
    const known = this.#tokens.get(sealed.advert.serverPubKey)
    if (known === undefined) {
      if (this.#tokens.size < this.#most) return true
      const [, least] = this.#least()
      const { bits, advert } = sealed
      return bits === least.bits ? advert.timestamp > least.timestamp : bits > least.bits
    }
    const isBack = known.state === 'away' && known.outpoint === formatOutpoint(outpoint)
    return sealed.advert.seq > known.seq || (sealed.advert.seq === known.seq && isBack)
  }

  outputAdmittedByTopic(payload: OutputAdmittedByTopic): void {
    if (payload.mode !== 'locking-script') return
    const outpoint = { txid: payload.txid, vout: payload.outputIndex }
    const { advert, bits } = readToken(Uint8Array.from(payload.lockingScript.toBinary()))
    const { serverPubKey: relay, seq, timestamp, network } = advert
    const held = this.#tokens.get(relay)
    if (held?.state === 'held' && held.outpoint !== formatOutpoint(outpoint))
      this.#options.remove(parseOutpoint(held.outpoint))
    if (held === undefined && this.#tokens.size >= this.#most) this.#drop(...this.#least())
    this.#put(relay, {
      ...{ outpoint: formatOutpoint(outpoint), state: 'held', seq, bits, timestamp },
      ...{ until: forgottenAt(advert), network: network ?? '' },
      admitted: Math.max(this.#last + 1, this.#options.now()),
    })
  }

  outputSpent({ txid, outputIndex }: OutputSpent): void {
    this.#leave({ txid, vout: outputIndex }, 'spent')
  }

  outputEvicted(txid: string, outputIndex: number): void {
    this.#leave({ txid, vout: outputIndex }, 'away')
  }

  /** @throws ERR_MALFORMED */
  async lookup({ query }: LookupQuestion): Promise<LookupFormula> {
    const parsed = MarketQuery.safeParse(query ?? {})
    if (!parsed.success) throw new MarketError('ERR_MALFORMED', `the query: ${firstIssue(parsed.error)}`)
    const { relay, network, since = -1, before = Number.POSITIVE_INFINITY, limit } = parsed.data
    const now = this.#options.now()
    const found: LookupFormula = []
    let bytes = 0
    const candidates = relay === undefined ? [...this.#tokens.values()].reverse() : [this.#tokens.get(relay)]
    for (const token of candidates) {
      if (token === undefined || token.state !== 'held' || token.until <= now) continue
      if (network !== undefined && token.network !== (network ?? '')) continue
      if (token.admitted <= since || token.admitted >= before) continue
      const { txid, vout } = parseOutpoint(token.outpoint)
      bytes += this.#options.beefBytes({ txid, vout })
      if (found.length === limit || (bytes > marketIndexLimits.pageBytes && found.length > 0)) break
      found.push({ txid, outputIndex: vout, context: [...Buffer.from(String(token.admitted))] })
    }
    return found
  }

  held(): Outpoint[] {
    return [...this.#tokens.values()].flatMap(({ state, outpoint }) =>
      state === 'held' ? [parseOutpoint(outpoint)] : [],
    )
  }

  sweep(now: number): void {
    for (const [relay, token] of this.#tokens) if (token.until <= now) this.#drop(relay, token)
  }

  async getDocumentation(): Promise<string> {
    return serviceDocumentation
  }

  async getMetaData() {
    return { name: marketService, shortDescription: 'Which message relays there are', version }
  }

  get #most(): number {
    return this.#options.most ?? marketIndexLimits.relays
  }

  /** Only looked for when a stranger has paid for a token that needs its place. */
  #least(): [Key, Token] {
    const [first, ...others] = this.#tokens
    return others.reduce(
      (least, other) => (isLess(other[1], least[1]) ? other : least),
      first!, // only of an index that is full
    )
  }

  #leave(outpoint: Outpoint, state: 'spent' | 'away'): void {
    const relay = this.#relayOf.get(formatOutpoint(outpoint))
    const token = relay === undefined ? undefined : this.#tokens.get(relay)
    if (relay !== undefined && token?.state === 'held') this.#put(relay, { ...token, state })
  }

  #drop(relay: Key, token: Token): void {
    if (token.state === 'held') this.#options.remove(parseOutpoint(token.outpoint))
    this.#tokens.delete(relay)
    this.#relayOf.delete(token.outpoint)
    this.#options.rows.put(`m!${relay}`, undefined)
  }

  #put(relay: Key, token: Token): void {
    this.#remember(relay, token)
    this.#options.rows.put(`m!${relay}`, TokenRow.encode(token))
  }

  #remember(relay: Key, token: Token): void {
    const known = this.#tokens.get(relay)
    if (known !== undefined) this.#relayOf.delete(known.outpoint)
    if (known?.admitted !== token.admitted) this.#tokens.delete(relay)
    this.#tokens.set(relay, token)
    this.#relayOf.set(token.outpoint, relay)
    this.#last = Math.max(this.#last, token.admitted)
  }
}

const isLess = (one: Token, other: Token): boolean =>
  one.bits === other.bits ? one.timestamp < other.timestamp : one.bits < other.bits

const serviceDocumentation = `# ${marketService}

The tokens of tm_relay_market, newest first. A query is an object of any of

- \`relay\`: the key of one relay;
- \`network\`: \`main\`, \`test\`, \`regtest\`, \`devnet\`, or null for relays that take no coins;
- \`since\`: only what this host admitted after it, and \`before\`: only what it admitted before it. Both are numbers that it gave as
  \`context\` of an output (decimal, ASCII);
- \`limit\`: at most ${marketIndexLimits.page}.

An answer ends earlier when its transactions exceed ${marketIndexLimits.pageBytes} bytes: ask again with \`before\`.
`
