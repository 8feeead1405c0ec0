/**
 * How other hosts are reached. A domain that a stranger's token names leads by https to the open internet alone: its addresses
 * are judged, and a judged one is connected to (docs/protocol.md §8.1). What the operator names himself may be anywhere.
 */
import { Resolver } from 'node:dns/promises'
import http, { type Agent, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import https from 'node:https'
import { isIP } from 'node:net'
import { fromUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import {
  type Lookup,
  PlainAgent,
  type Route,
  SecureAgent,
  systemLookup,
  type Target,
} from '../../market/way/agents.ts'
import { isPublic } from '../../market/way/ranges.ts'

const wayLimits = {
  /** Until there is a connection: names, TCP and TLS. */
  connectMs: 5000,
  /** Of one exchange, from its beginning to the last byte of its answer. */
  exchangeMs: 15_000,
  replyBytes: 64 * 1024,
  /** Of the head of an answer. */
  headBytes: 16 * 1024,
} as const
type WayLimits = Record<keyof typeof wayLimits, number>
/** Of one question for a name; each is asked twice, the second time for twice as long. */
const nameMs = 1000
/** Addresses of one name that are tried. */
const mostAddresses = 8

const pool = {
  keepAlive: true,
  /** Connections to one host, … */
  maxSockets: 16,
  maxFreeSockets: 2,
  /** … and to all. */
  maxTotalSockets: 512,
  /** How long an idle one is kept, milliseconds. */
  timeout: 10_000,
} as const

export interface WayOptions {
  /** DOMAIN → URL, by the operator's own word: it may be http, private, this machine. */
  readonly reach: ReadonlyMap<string, string>
  /** Other URLs that he named: the same holds for them. */
  readonly named?: readonly string[]
  /** All addresses of a name; unless given, of the system for what the operator named, and of its name servers for the rest. */
  readonly lookup?: Lookup
  readonly limits?: Partial<WayLimits>
}

export interface Exchange {
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array
  readonly timeoutMs?: number
  readonly maxReplyBytes?: number
  readonly signal?: AbortSignal | undefined
  /** What the other side is called in errors; else its host. */
  readonly shown?: string
}

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export class Way {
  readonly #reach: ReadonlyMap<string, string>
  /** Origins. */
  readonly #named: ReadonlySet<string>
  readonly #limits: Readonly<WayLimits>
  readonly #agents: { readonly strange: Agent; readonly plain: Agent; readonly secure: Agent }
  #isClosed = false

  constructor({ reach, named = [], lookup, limits }: WayOptions) {
    this.#reach = reach
    this.#named = new Set([...reach.values(), ...named].map((url) => new URL(url).origin))
    this.#limits = { ...wayLimits, ...limits }
    const anywhere = { route: (to: Target) => this.#route(to, lookup ?? systemLookup, () => true) }
    const outside = { route: (to: Target) => this.#route(to, lookup ?? askNameServers, isPublic) }
    this.#agents = {
      strange: new SecureAgent(outside, pool),
      plain: new PlainAgent(anywhere, pool),
      secure: new SecureAgent(anywhere, pool),
    }
  }

  /** Where a host of a token is asked, without slash at the end. */
  urlOf(domain: string): string {
    return (this.#reach.get(domain) ?? `https://${domain}`).replace(/\/+$/, '')
  }

  /** Whether a domain is an address in disguise, which might be one that the operator named for something else. */
  isAddress(domain: string): boolean {
    if (this.#reach.has(domain)) return false
    return isIP(new URL(`https://${domain}`).hostname.replace(/^\[|\]$/g, '')) !== 0
  }

  /** @throws ERR_BUSY for http to where the operator did not say so */
  #agentFor(url: string): Agent {
    const { protocol, origin, host } = new URL(url)
    if (!this.#named.has(origin)) {
      if (protocol === 'https:') return this.#agents.strange
      throw unreachable(host, 'a stranger is asked by https alone')
    }
    return protocol === 'https:' ? this.#agents.secure : this.#agents.plain
  }

  /**
   * One exchange. It may reach the other side twice, where a connection that was kept turns out to be gone.
   * @throws ERR_BUSY without an answer in time, for one that is too large, and for a redirect; the reason of `signal`
   */
  async post(url: string, exchange: Exchange): Promise<Reply> {
    const { signal, shown = new URL(url).host } = exchange
    signal?.throwIfAborted()
    const { connectMs, exchangeMs, replyBytes } = this.#limits
    const { timeoutMs = exchangeMs, maxReplyBytes = replyBytes } = exchange
    const stop = new AbortController()
    const endsIn = (ms: number, what: string) =>
      setTimeout(() => stop.abort(new Error(`no ${what} within ${ms} ms`)), ms)
    const connecting = endsIn(connectMs, 'connection')
    const answering = endsIn(timeoutMs, 'answer')
    const onAbort = () => stop.abort()
    signal?.addEventListener('abort', onAbort)
    try {
      const connected = () => clearTimeout(connecting)
      const response = await this.#send(url, exchange, { signal: stop.signal, connected })
      const status = response.statusCode ?? 0 // set in every answer
      if (status >= 300 && status < 400) {
        response.destroy()
        throw new Error('a redirect, which is not followed')
      }
      return { status, headers: response.headers, body: await bodyOf(response, maxReplyBytes) }
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof MarketError) throw error
      throw unreachable(shown, reasonOf(stop.signal.aborted ? stop.signal.reason : error), error)
    } finally {
      clearTimeout(connecting)
      clearTimeout(answering)
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Ends every exchange. */
  close(): void {
    this.#isClosed = true
    for (const agent of Object.values(this.#agents)) agent.destroy()
  }

  /** The head of the answer. */
  #send(
    url: string,
    { headers, body }: Exchange,
    on: { readonly signal: AbortSignal; connected(): void },
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const isSecure = url.startsWith('https:')
      const request = (isSecure ? https : http).request(url, {
        method: 'POST',
        agent: this.#agentFor(url),
        headers: { ...headers, 'content-length': Buffer.byteLength(body) },
        maxHeaderSize: this.#limits.headBytes,
        signal: on.signal,
      })
      request.on('socket', (socket) => {
        if (request.reusedSocket) on.connected()
        else socket.once(isSecure ? 'secureConnect' : 'connect', on.connected)
      })
      request.once('response', (response) => {
        request.off('error', failed).on('error', () => undefined)
        resolve(response)
      })
      const failed = (error: NodeJS.ErrnoException) => {
        // The other side ended it just when we began: that says nothing of whether it can be reached.
        const wasIdle = request.reusedSocket && error.code === 'ECONNRESET' && !on.signal.aborted
        if (wasIdle) resolve(this.#send(url, { headers, body }, on))
        else reject(error)
      }
      request.on('error', failed)
      // Where the other side switches protocols, say, nothing else is told.
      request.once('close', () => reject(new Error('it ends without an answer')))
      request.end(body)
    })
  }

  async #route({ host }: Target, lookup: Lookup, isAllowed: (address: string) => boolean): Promise<Route> {
    const found = isIP(host) === 0 ? await lookup(host) : [host]
    const addresses = found.filter(isAllowed).slice(0, mostAddresses)
    if (this.#isClosed) throw new Error('the relay stops')
    if (addresses.length > 0) return { addresses }
    throw new Error(found.length === 0 ? 'it has no address' : 'its address is inside of a network')
  }
}

/** Not by way of the system, whose threads it would hold for as long as a stranger's name server likes: files and keys need them. */
const askNameServers: Lookup = async (host) => {
  const resolver = new Resolver({ timeout: nameMs, tries: 2 })
  const asked = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)])
  return asked.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
}

async function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length
    if (length > maxBytes) throw new Error(`an answer of more than ${maxBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts, length)
}

/** What it says; `undefined` for what is no JSON. */
export function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(fromUtf8(bytes))
  } catch {
    return undefined
  }
}

/** Without the address: who is told of it need not know where the operator's own hosts are. */
const reasonOf = (error: unknown): string => {
  const { code, message } = error as NodeJS.ErrnoException
  return code ?? message
}

export const unreachable = (host: string, why: string, cause?: unknown): MarketError =>
  new MarketError('ERR_BUSY', `${host} cannot be reached: ${why}`, { cause })
