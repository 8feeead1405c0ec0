/**
 * On which hosts somebody takes messages (BRC-34; docs/protocol.md §14.3), as tokens say that he and they signed: those of our own
 * overlay, and those that lookup hosts of the operator know.
 */
import type { Chain } from '../../contracts/chain/chain.ts'
import { parsePattern } from '../../contracts/overlay/box-pattern.ts'
import { OutputList, outputOf } from '../../contracts/overlay/output-list.ts'
import { type Phip, phipServices, readPhip } from '../../contracts/overlay/phip.ts'
import type { Outpoint } from '../../contracts/transaction/transaction.ts'
import { MarketError } from '../../market/errors.ts'
import { putBounded } from '../../market/lru.ts'
import type { Key } from '../../market/units.ts'
import type { Overlay } from '../overlay/overlay.ts'
import type { Host } from '../../contracts/overlay/host.ts'
import { jsonOf, type Way } from './way.ts'

export interface HostsOptions {
  /** Ourselves. */
  readonly own: Key
  /** Hosts whose tokens are not taken. */
  readonly denied: ReadonlySet<Key>
  /** What we host; what it holds was verified when it was admitted. */
  readonly overlay: Pick<Overlay, 'hostsOf'> | undefined
  /** URLs without a slash at the end, by the operator's own word. */
  readonly lookups: readonly string[]
  readonly way: Pick<Way, 'post'>
  /** @throws ERR_BUSY while there is none */
  readonly chain: () => Pick<Chain, 'isUnspent'>
  readonly now: () => number
  readonly log: { warn(facts: object, message: string): void }
  readonly limits?: Partial<HostLimits>
}

const hostLimits = {
  /** About one user, the newest: whoever sends him anything has the patterns of all of them tested. */
  tokens: 8,
  /** Of one answer: each costs two signatures, and strangers' a question to the chain. */
  outputs: 32,
  /** Who is remembered, … */
  users: 4096,
  rememberMs: 60_000,
  /** … and for how long after somebody did not answer. */
  retryMs: 10_000,
  /** Users about whom lookup hosts are asked at once: more than one message has recipients. */
  asking: 256,
  /** As JSON a byte of a transaction takes up to four. */
  answerBytes: 2 << 20,
  answerMs: 3500,
  chainMs: 1000,
  /** Until all that was asked has answered, or failed. */
  inAllMs: 5000,
} as const
type HostLimits = { readonly [name in keyof typeof hostLimits]: number }

/** What counts of a token here. */
type Token = Pick<Phip, 'host' | 'domain' | 'boxes'>

interface Answered {
  readonly tokens: readonly Token[]
  /** Everybody who was asked has answered. */
  readonly isSure: boolean
}

interface Known {
  readonly at: number
  forMs: number
  readonly answered: Promise<Answered>
}

export class Hosts {
  readonly #options: HostsOptions
  readonly #limits: HostLimits
  readonly #known = new Map<Key, Known>()
  /** By who did not answer: why, as the log has it. */
  readonly #troubles = new Map<string, string>()
  #asking = 0

  constructor(options: HostsOptions) {
    this.#options = options
    this.#limits = { ...hostLimits, ...options.limits }
  }

  /**
   * Other hosts that take this box of his, each once, by its newest token; undefined where there are none that are known, and
   * somebody who was asked did not answer. Rejects never, resolves within `inAllMs`.
   */
  async of(user: Key, box: string): Promise<readonly Host[] | undefined> {
    const found = new Map<Key, Host>()
    const { tokens, isSure } = await this.#tokensOf(user)
    for (const { host: key, domain, boxes } of tokens) {
      if (key === this.#options.own || found.has(key)) continue
      if (boxes === undefined || parsePattern(boxes)?.test(box)) found.set(key, { key, domain })
    }
    return found.size > 0 || isSure ? [...found.values()] : undefined
  }

  async #tokensOf(user: Key): Promise<{ tokens: readonly Token[]; isSure: boolean }> {
    const [own, others] = await Promise.all([this.#own(user), this.#othersOf(user)])
    const tokens = distinct([...(own ?? []), ...others.tokens]).slice(0, this.#limits.tokens)
    return { tokens, isSure: own !== undefined && others.isSure }
  }

  /** Not remembered: it costs nothing, and is new at once. */
  async #own(user: Key): Promise<readonly Token[] | undefined> {
    const { overlay, denied } = this.#options
    if (overlay === undefined) return []
    const held = await this.#heard('self', overlay.hostsOf(user))
    return held?.filter(({ host }) => !denied.has(host))
  }

  #othersOf(user: Key): Promise<Answered> | Answered {
    if (this.#options.lookups.length === 0) return { tokens: [], isSure: true }
    const now = this.#options.now()
    const known = this.#known.get(user)
    const isFresh = known !== undefined && now >= known.at && now < known.at + known.forMs
    const kept = isFresh ? known : this.#ask(user, now, known)
    putBounded(this.#known, user, kept, this.#limits.users)
    return kept.answered
  }

  /** What was known before holds until it is known better. */
  #ask(user: Key, at: number, before: Known | undefined): Known {
    const { rememberMs, retryMs } = this.#limits
    const answered = this.#answers(user).then(async (found) => {
      const isSure = !found.includes(undefined)
      if (!isSure) known.forMs = retryMs
      const former = isSure ? [] : ((await before?.answered)?.tokens ?? [])
      return { tokens: distinct([...found.flatMap((some) => some ?? []), ...former]), isSure }
    })
    const known: Known = { at, forMs: rememberMs, answered }
    return known
  }

  /** Of each who is asked, undefined where he does not answer. */
  async #answers(user: Key): Promise<(readonly Token[] | undefined)[]> {
    if (this.#asking >= this.#limits.asking) return [undefined]
    this.#asking++
    try {
      const { lookups } = this.#options
      return await Promise.all(lookups.map((url) => this.#heard(url, this.#strangers(url, user))))
    } finally {
      this.#asking--
    }
  }

  async #heard<T>(lookup: string, answer: Promise<T>): Promise<T | undefined> {
    try {
      const heard = await inTime(answer, this.#limits.inAllMs)
      this.#troubles.delete(lookup)
      return heard
    } catch (error) {
      const { message: reason } = error as Error // everything thrown here is an Error
      if (this.#troubles.get(lookup) !== reason)
        this.#options.log.warn({ lookup, reason }, 'it is not told where people take messages')
      this.#troubles.set(lookup, reason)
      return undefined
    }
  }

  async #strangers(url: string, user: Key): Promise<Phip[]> {
    const { answerMs, answerBytes } = this.#limits
    const { status, body } = await this.#options.way.post(`${url}/lookup`, {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ service: phipServices[0], query: { user } }),
      timeoutMs: answerMs,
      maxReplyBytes: answerBytes,
    })
    if (status !== 200) throw new MarketError('ERR_BUSY', `it answers with status ${status}`)
    const { data } = OutputList.safeParse(jsonOf(body))
    if (data === undefined) throw new MarketError('ERR_BUSY', 'it answers with no list of outputs')
    const found = this.#read(data.outputs, user)
    const isGone = await Promise.all(found.map(({ outpoint }) => this.#isGone(outpoint)))
    return found.flatMap(({ token }, at) => (isGone[at] ? [] : [token]))
  }

  #read(
    outputs: readonly Parameters<typeof outputOf>[0][],
    user: Key,
  ): { token: Phip; outpoint: Outpoint }[] {
    return outputs.slice(0, this.#limits.outputs).flatMap((found) => {
      const output = outputOf(found)
      const token = output && readPhip(output.script)
      const isWanted = token?.user === user && !this.#options.denied.has(token.host)
      return output !== undefined && token !== undefined && isWanted ? [{ token, outpoint: output }] : []
    })
  }

  /** Spent, or never there; what the chain does not tell now is taken. */
  async #isGone({ txid, vout }: Outpoint): Promise<boolean> {
    try {
      const { chain } = this.#options
      return (await inTime(chain().isUnspent({ txid, vout }), this.#limits.chainMs)) === false
    } catch (error) {
      if (error instanceof MarketError) return false
      throw error
    }
  }
}

/** Those that say what another said before are left out. */
function distinct(tokens: readonly Token[]): Token[] {
  const said = new Map<string, Token>()
  for (const token of tokens) {
    const what = `${token.host} ${token.domain} ${token.boxes ?? ''}`
    if (!said.has(what)) said.set(what, token)
  }
  return [...said.values()]
}

/** @throws ERR_BUSY when it takes longer */
async function inTime<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new MarketError('ERR_BUSY', `no answer within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
