/**
 * On which hosts somebody takes messages (BRC-34; docs/protocol.md §14.3), as tokens say that he and they signed: those of our own
 * overlay, and those that lookup hosts of the operator know.
 */
import type { Chain } from '../../contracts/chain/chain.ts'
import { parsePattern } from '../../contracts/overlay/box-pattern.ts'
import { OutputList, outputOf } from '../../contracts/overlay/output-list.ts'
import { parsePhip, type Phip, phipServices, readPhip } from '../../contracts/overlay/phip.ts'
import type { Outpoint } from '../../contracts/transaction/transaction.ts'
import { MarketError } from '../../market/errors.ts'
import { putBounded } from '../../market/lru.ts'
import type { Key } from '../../market/units.ts'
import type { Overlay } from '../overlay/overlay.ts'
import type { Host } from './host.ts'
import { jsonOf, type Way } from './way.ts'

export interface HostsOptions {
  /** Ourselves. */
  readonly own: Key
  /** Hosts whose tokens are not taken. */
  readonly denied: ReadonlySet<Key>
  /** What we host; what it holds was verified when it was admitted. */
  readonly overlay: Pick<Overlay, 'lookup'> | undefined
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

interface Known {
  readonly at: number
  forMs: number
  readonly tokens: Promise<readonly Phip[]>
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

  /** Other hosts that take this box of his, each once, by its newest token. Rejects never, resolves within `inAllMs`. */
  async of(user: Key, box: string): Promise<readonly Host[]> {
    const found = new Map<Key, Host>()
    for (const { host: key, domain, boxes } of await this.#tokensOf(user)) {
      if (key === this.#options.own || found.has(key)) continue
      if (boxes === undefined || parsePattern(boxes)?.test(box)) found.set(key, { key, domain })
    }
    return [...found.values()]
  }

  #tokensOf(user: Key): Promise<readonly Phip[]> {
    const now = this.#options.now()
    const known = this.#known.get(user)
    const isFresh = known !== undefined && now >= known.at && now < known.at + known.forMs
    const kept = isFresh ? known : this.#ask(user, now)
    putBounded(this.#known, user, kept, this.#limits.users)
    return kept.tokens
  }

  #ask(user: Key, at: number): Known {
    const { rememberMs, retryMs, tokens } = this.#limits
    const answers = this.#answers(user).then((found) => {
      if (found.includes(undefined)) known.forMs = retryMs
      return distinct(found.flatMap((some) => some ?? [])).slice(0, tokens)
    })
    const known: Known = { at, forMs: rememberMs, tokens: answers }
    return known
  }

  /** Of each who is asked, undefined where he does not answer. */
  async #answers(user: Key): Promise<(readonly Phip[] | undefined)[]> {
    const { overlay, lookups } = this.#options
    const asked: Promise<readonly Phip[] | undefined>[] = []
    if (overlay !== undefined) asked.push(this.#heard('self', this.#own(overlay, user)))
    if (lookups.length === 0) return Promise.all(asked)
    if (this.#asking >= this.#limits.asking) return [...(await Promise.all(asked)), undefined]
    this.#asking++
    try {
      return await Promise.all([
        ...asked,
        ...lookups.map((url) => this.#heard(url, this.#strangers(url, user))),
      ])
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

  async #own(overlay: Pick<Overlay, 'lookup'>, user: Key): Promise<Phip[]> {
    const { outputs } = await overlay.lookup(questionAbout(user))
    return this.#read(outputs, user, parsePhip).map(({ token }) => token)
  }

  async #strangers(url: string, user: Key): Promise<Phip[]> {
    const { answerMs, answerBytes } = this.#limits
    const { status, body } = await this.#options.way.post(`${url}/lookup`, {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(questionAbout(user)),
      timeoutMs: answerMs,
      maxReplyBytes: answerBytes,
    })
    if (status !== 200) throw new MarketError('ERR_BUSY', `it answers with status ${status}`)
    const { data } = OutputList.safeParse(jsonOf(body))
    if (data === undefined) throw new MarketError('ERR_BUSY', 'it answers with no list of outputs')
    const found = this.#read(data.outputs, user, readPhip)
    const isGone = await Promise.all(found.map(({ outpoint }) => this.#isGone(outpoint)))
    return found.flatMap(({ token }, at) => (isGone[at] ? [] : [token]))
  }

  #read(
    outputs: readonly Parameters<typeof outputOf>[0][],
    user: Key,
    read: (script: Uint8Array) => Phip | undefined,
  ): { token: Phip; outpoint: Outpoint }[] {
    return outputs.slice(0, this.#limits.outputs).flatMap((found) => {
      const output = outputOf(found)
      const token = output && read(output.script)
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

const questionAbout = (user: Key) => ({ service: phipServices[0], query: { user } })

/** Those that say what another said before are left out. */
function distinct(tokens: readonly Phip[]): Phip[] {
  const said = new Map<string, Phip>()
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
