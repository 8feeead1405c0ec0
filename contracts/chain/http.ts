/** One server, asked over HTTP: with a password nobody gets to see, and with bounds on how long, how much and how often. */
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import { MarketError } from '../../market/errors.ts'

const httpLimits = {
  timeoutMs: 30_000,
  /** Of an answer that is not a block. */
  answerBytes: 64 << 20,
  /** Requests under way to one server; SV Node works on four at a time unless told otherwise. */
  concurrent: 8,
  /** Requests that wait for their turn. */
  waiting: 1000,
  /** Of the text of an error that is passed on. */
  reasonCharacters: 300,
} as const

export interface Ask {
  readonly method: 'GET' | 'POST'
  /** Below the address of the server. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly answerBytes?: number
  /** From asking to the end of the answer, its turn waited for and a second try included. */
  readonly timeoutMs?: number
  /** Whether it is asked once more when the connection breaks: for questions only. */
  readonly again: boolean
}

export interface Answer {
  readonly status: number
  readonly body: Buffer
}

/** What of an address may be shown, and what may not. */
export interface Address {
  readonly url: URL
  readonly user: string
  readonly password: string
}

/** @throws ERR_MALFORMED, which does not repeat the text: it may hold a password */
export function parseAddress(text: string): Address {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new MarketError('ERR_MALFORMED', 'the address of a server begins with http:// or https://')
  if (url.search !== '' || url.hash !== '')
    throw new MarketError('ERR_MALFORMED', `the address of ${url.host} has no ? and no #`)
  const [user, password] = [decode(url.username), decode(url.password)]
  url.username = ''
  url.password = ''
  return { url, user, password }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new MarketError('ERR_MALFORMED', 'the name or the password in an address is not percent-encoded')
  }
}

/** Makes the agent of one server, which is destroyed with it; it may lead through a proxy. */
export type AgentOf = (url: URL, options: http.AgentOptions) => http.Agent

export interface HttpOptions {
  readonly timeoutMs?: number | undefined
  readonly agentOf?: AgentOf | undefined
}

const directly: AgentOf = ({ protocol }, options) => new (protocol === 'https:' ? https : http).Agent(options)

export class HttpServer {
  /** Without name and password. */
  readonly shown: string
  readonly #timeoutMs: number
  readonly #agent: http.Agent
  readonly #waiting = new Set<Waiter>()
  #underWay = 0
  #closed = false

  constructor({ url, timeoutMs = httpLimits.timeoutMs, agentOf = directly }: HttpOptions & { url: URL }) {
    this.shown = url.href.replace(/\/$/, '')
    this.#timeoutMs = timeoutMs
    this.#agent = agentOf(url, { keepAlive: true, maxSockets: httpLimits.concurrent })
  }

  /** @throws ERR_CHAIN_UNAVAILABLE without an answer in time, or when it is longer than agreed */
  async ask(ask: Ask): Promise<Answer> {
    const timeoutMs = ask.timeoutMs ?? this.#timeoutMs
    const within: Within = { timeoutMs, untilMs: performance.now() + timeoutMs }
    await this.#turn(within)
    try {
      return await this.#exchange(ask, within).catch((error: unknown) => {
        // A server may close an idle connection in the moment in which we use it.
        if (ask.again && error instanceof Broken && !this.#closed) return this.#exchange(ask, within)
        throw error
      })
    } catch (error) {
      if (error instanceof MarketError) throw error
      throw this.unavailable('does not answer', error)
    } finally {
      this.#pass()
    }
  }

  /** `sentence` follows the address of the server. */
  unavailable(sentence: string, cause?: unknown): MarketError {
    return new MarketError('ERR_CHAIN_UNAVAILABLE', `${this.shown} ${sentence}`, { cause })
  }

  close(): void {
    this.#closed = true
    for (const { reject } of this.#waiting) reject(this.#gone())
    this.#waiting.clear()
    this.#agent.destroy()
  }

  /** A turn that is over goes to whoever waits longest; nobody who comes in between takes it. */
  #pass(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#underWay--
      return
    }
    this.#waiting.delete(next)
    next.resolve()
  }

  async #turn(within: Within): Promise<void> {
    if (this.#closed) throw this.#gone()
    if (this.#underWay < httpLimits.concurrent) {
      this.#underWay++
      return
    }
    if (this.#waiting.size >= httpLimits.waiting) throw this.unavailable('has too many questions to answer')
    let waiter: Waiter | undefined
    const timer = setTimeout(() => {
      if (waiter !== undefined && this.#waiting.delete(waiter)) waiter.reject(this.#late(within))
    }, within.timeoutMs)
    const turn = new Promise<void>((resolve, reject) => {
      waiter = { resolve, reject }
      this.#waiting.add(waiter)
    })
    await turn.finally(() => clearTimeout(timer))
  }

  #gone(): MarketError {
    return this.unavailable('is not asked any more: it was closed')
  }

  #late({ timeoutMs }: Within): MarketError {
    return this.unavailable(`did not answer within ${timeoutMs} ms`)
  }

  #exchange(ask: Ask, within: Within): Promise<Answer> {
    const url = new URL(this.shown + ask.path)
    const headers = {
      accept: 'application/json',
      ...ask.headers,
      ...(ask.body !== undefined && { 'content-length': Buffer.byteLength(ask.body) }),
    }
    return new Promise<Answer>((resolve, reject) => {
      const { request: open } = url.protocol === 'https:' ? https : http
      const request = open(url, { method: ask.method, agent: this.#agent, headers })
      const timer = setTimeout(() => {
        // First the error, so that a body that is cut off by us is not taken for an answer, nor asked for again.
        reject(this.#late(within))
        request.destroy()
      }, within.untilMs - performance.now())
      request.on('close', () => clearTimeout(timer))
      request.on('error', (error) => reject(broken(error)))
      request.on('response', (response) => {
        const fail = (error: unknown) => {
          request.destroy()
          reject(error)
        }
        this.#read(response, ask.answerBytes ?? httpLimits.answerBytes).then(resolve, fail)
      })
      request.end(ask.body)
    })
  }

  async #read(response: IncomingMessage, answerBytes: number): Promise<Answer> {
    const parts: Buffer[] = []
    let length = 0
    try {
      for await (const part of response as AsyncIterable<Buffer>) {
        length += part.length
        if (length > answerBytes) throw this.unavailable(`answers with more than ${answerBytes} bytes`)
        parts.push(part)
      }
    } catch (error) {
      throw broken(error as Error) // streams fail with Errors
    }
    return { status: response.statusCode ?? 0, body: Buffer.concat(parts, length) }
  }
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: MarketError) => void
}

interface Within {
  readonly timeoutMs: number
  readonly untilMs: number
}

/** A connection that ended before the answer did. */
class Broken extends Error {}

function broken(error: NodeJS.ErrnoException): Error {
  if (error instanceof MarketError) return error
  return ['ECONNRESET', 'EPIPE', 'ECONNABORTED'].includes(error.code ?? '')
    ? new Broken(error.message, { cause: error })
    : error
}

/** @throws ERR_CHAIN_UNAVAILABLE when it is not JSON: something else than the server answers */
export function parseJson(server: HttpServer, { body, status }: Answer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw server.unavailable(`answers with status ${status} and something that is not JSON`, error)
  }
}

/** What a server says of itself, fit for one line of an error. */
export const reasonOf = (text: string): string =>
  text.replaceAll(/\p{C}+/gu, ' ').slice(0, httpLimits.reasonCharacters)
