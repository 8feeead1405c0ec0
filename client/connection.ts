/** One relay over HTTP: sealed requests out, proven answers in (docs/protocol.md §2, §7.1). */
import { randomBytes } from 'node:crypto'
import { Info, type Request, type RequestOf } from '../contracts/api.ts'
import type { RelayAddress } from '../market/address.ts'
import { type Sealed, seal } from '../market/envelope.ts'
import { MarketError } from '../market/errors.ts'
import type { SealedRecord } from '../market/record.ts'
import { type Answer, type Outcome, openAnswer, openBatch, type Parties } from './answer.ts'
import { ClientError, isRetryable, messageOf, Refused } from './errors.ts'
import { fetchText } from './http.ts'
import { pauseBeforeRetry } from './retry.ts'
import type { Wallet } from './wallet.ts'

export const connectionLimits = {
  timeoutMs: 30_000,
  attempts: 3,
  backoff: { firstMs: 200, maxMs: 5_000 },
  replyBytes: 16 * 1024 * 1024,
  infoBytes: 64 * 1024,
  /** How wrong a relay's clock may be before we stop following it. */
  clockOffsetMs: 600_000,
} as const

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  readonly attempts?: number | undefined
}

export class Connection {
  readonly address: RelayAddress
  readonly #wallet: Wallet
  readonly #parties: Parties
  readonly #now: () => number
  #clockOffsetMs = 0
  #info: Promise<Info> | undefined

  constructor(address: RelayAddress, wallet: Wallet, now: () => number = Date.now) {
    this.address = address
    this.#wallet = wallet
    this.#parties = { relay: address.key, self: wallet.identity, url: address.url }
    this.#now = now
  }

  /** The relay's time, as far as a signed answer told us. */
  get now(): number {
    return this.#now() + this.#clockOffsetMs
  }

  /** What the relay publishes about itself, asked once. It is not signed: it may only make us ask for less. */
  async info(signal?: AbortSignal): Promise<Info> {
    this.#info ??= fetchInfo(this.address.url, signal)
    try {
      const info = await this.#info
      if (info.key === this.address.key) return info
    } catch (error) {
      this.#info = undefined
      throw error
    }
    throw new ClientError('ERR_UNTRUSTED', `${this.address.url} is another relay than the pinned one`)
  }

  /** Signs a request to this relay, by its clock. */
  seal<R extends Request>(request: R): Promise<Sealed<R>> {
    const nonce = randomBytes(8).toString('hex')
    return seal({ to: this.address.key, timestamp: this.now, nonce, request }, this.#wallet)
  }

  /** The proven answer of this relay to a message, wherever its text came from. @throws as `call` */
  open<R extends Request>(text: string, sent: Sealed<R>): Answer<R['type']> {
    return openAnswer<R['type']>(text, sent as unknown as Sealed<RequestOf<R['type']>>, this.#parties)
  }

  /**
   * Asks until the relay answers, as often as `attempts` says.
   * @throws Refused, ERR_UNREACHABLE, ERR_UNTRUSTED
   */
  async call<R extends Request>(request: R, options: CallOptions = {}): Promise<Answer<R['type']>> {
    let sealed: Sealed<R> | undefined
    return this.#retrying(options, async (failure) => {
      if (sealed === undefined || !keepsText(request, failure)) sealed = await this.seal(request)
      const first = failure === undefined
      try {
        return this.open(await this.#post(sealed.text, options.signal), sealed)
      } catch (error) {
        if (first || !isReplayed(error)) throw error
        // Repeating a read that a record answered gives the record again; so the lost answer held nothing.
        sealed = await this.seal(request)
        return this.open(await this.#post(sealed.text, options.signal), sealed)
      }
    })
  }

  /** Uploads a bare record, which only a fresh one survives. @throws as `call`; ERR_STALE when it is too old for that */
  async write(record: SealedRecord, options: CallOptions = {}): Promise<Answer<'write'>> {
    return this.#retrying(options, async (failure) => {
      // The record cannot be sealed again; what can be done is to `store` it by the clock just learnt.
      if (failure !== undefined && isStale(failure)) throw failure
      return openAnswer<'write'>(await this.#post(record.text, options.signal), record, this.#parties)
    })
  }

  /**
   * Asks many things in as few messages as the relay's limits allow. Every request has its own outcome, so
   * that what was answered before a failure is not lost. Never throws.
   */
  async callBatch<R extends Request>(
    requests: readonly R[],
    options: CallOptions = {},
  ): Promise<Outcome<R['type']>[]> {
    const outcomes: Outcome[] = requests.map(() => ({
      error: new ClientError('ERR_UNREACHABLE', 'was not asked'),
    }))
    let todo = requests.map((request, index) => ({ request, index, again: 0 }))
    while (todo.length > 0) {
      const { slice, answers } = await this.#nextSlice(todo, options)
      const asked = todo.slice(0, slice)
      todo = todo.slice(slice)
      asked.forEach((item, place) => {
        const outcome = answers[place]! // one for each asked
        outcomes[item.index] = outcome
        if (item.again < repeatsInBatch && 'error' in outcome && this.#mayAskAgain(outcome.error)) {
          todo.push({ ...item, again: item.again + 1 })
        }
      })
    }
    return outcomes as Outcome<R['type']>[]
  }

  async #nextSlice(todo: readonly { request: Request }[], options: CallOptions) {
    try {
      const { limits, features } = await this.info(options.signal)
      if (!features.includes('batch')) {
        const answer = await this.call(todo[0]!.request, options).catch((error: unknown) => error as Error)
        return { slice: 1, answers: [answer instanceof Error ? { error: answer } : { answer }] as Outcome[] }
      }
      const sealed: Sealed<Request>[] = []
      let bytes = 2
      for (const { request } of todo.slice(0, limits.batch)) {
        const next = await this.seal(request)
        bytes += next.text.length + 1
        if (sealed.length > 0 && bytes > limits.bodyBytes) break
        sealed.push(next)
      }
      return { slice: sealed.length, answers: await this.#postBatch(sealed, options) }
    } catch (error) {
      return { slice: todo.length, answers: todo.map(() => ({ error: error as Error })) as Outcome[] }
    }
  }

  #postBatch(first: readonly Sealed<Request>[], options: CallOptions): Promise<Outcome[]> {
    let sent = first
    return this.#retrying(options, async (failure) => {
      if (failure !== undefined) {
        sent = await Promise.all(
          sent.map((sealed) =>
            keepsText(sealed.msg.request, failure) ? sealed : this.seal(sealed.msg.request),
          ),
        )
      }
      const text = `[${sent.map((sealed) => sealed.text).join(',')}]`
      return openBatch(await this.#post(text, options.signal), { text, sent }, this.#parties)
    })
  }

  /** An element that was not carried out, or whose clock we now know, or whose lost answer held nothing. */
  #mayAskAgain(error: Error): boolean {
    if (!(error instanceof Refused)) return false
    if (isStale(error)) return this.followClock(error)
    return isReplayed(error) || (error.code === 'ERR_LIMIT' && error.extras.retryAfterMs === 0)
  }

  async #retrying<T>(options: CallOptions, work: (failure: unknown) => Promise<T>): Promise<T> {
    const { signal, attempts = connectionLimits.attempts } = options
    let failure: unknown
    let adjusted = false
    for (let attempt = 1; ; attempt++) {
      try {
        return await work(failure)
      } catch (error) {
        if (error === failure) throw error
        failure = error
        if (isStale(error)) {
          if (adjusted || !this.followClock(error)) throw error
          adjusted = true
          continue
        }
        if (attempt >= attempts || !isRetryable(error)) throw error
        await pauseBeforeRetry(error, attempt - 1, { ...connectionLimits.backoff, signal })
      }
    }
  }

  /** Believes a signed ERR_STALE about this relay's clock, within bounds; true when asking again makes sense. */
  followClock(error: unknown): boolean {
    if (!(error instanceof Refused)) return false
    const { time } = error.extras
    if (!error.signed || typeof time !== 'number') return false
    const offset = time - this.#now()
    if (Math.abs(offset) > connectionLimits.clockOffsetMs) return false
    this.#clockOffsetMs = Math.round(offset)
    return true
  }

  async #post(body: string, signal: AbortSignal | undefined): Promise<string> {
    const { timeoutMs, replyBytes } = connectionLimits
    const url = `${this.address.url}/`
    const { status, text } = await fetchText({ url, body, timeoutMs, maxReplyBytes: replyBytes, signal })
    // A proxy before a relay that is down speaks HTML.
    if (status >= 500 && !text.startsWith('{')) {
      throw new ClientError('ERR_UNREACHABLE', `cannot reach ${url}: HTTP status ${status}`)
    }
    return text
  }
}

/** Rounds one element may take: each round of large answers carries at least one more of them. */
const repeatsInBatch = 256

const isStale = (error: unknown): boolean => error instanceof Refused && error.code === 'ERR_STALE'
const isReplayed = (error: unknown): boolean => error instanceof MarketError && error.code === 'ERR_REPLAYED'

/**
 * Whether a repetition must be the same message: so a relay knows that it did this already and gives the same
 * result, and a read is not a second pull. What only asks is refused when it comes twice.
 */
function keepsText({ type }: Request, failure: unknown): boolean {
  return !isStale(failure) && (type === 'read' || type === 'store' || type === 'delete')
}

/** The info document of whoever answers at `url`: for a first look, before a key is pinned. */
export async function fetchInfo(url: string, signal?: AbortSignal): Promise<Info> {
  const { timeoutMs, infoBytes } = connectionLimits
  const document = `${url}/.well-known/relay`
  const { status, text } = await fetchText({ url: document, timeoutMs, maxReplyBytes: infoBytes, signal })
  if (status >= 500) throw new ClientError('ERR_UNREACHABLE', `cannot reach ${url}: HTTP status ${status}`)
  try {
    return Info.parse(JSON.parse(text))
  } catch (cause) {
    throw new ClientError(
      'ERR_UNTRUSTED',
      `${url} does not publish itself as a relay: ${messageOf(cause).slice(0, 200)}`,
      cause,
    )
  }
}
