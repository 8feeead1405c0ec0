/** One relay over HTTP: sealed requests out, proven answers in (docs/protocol.md §2, §7.1). */
import { randomBytes } from 'node:crypto'
import { featuresOf, type Info, type Request, type RequestOf, type Write } from '../../contracts/api.ts'
import type { RelayAddress } from '../../market/address.ts'
import { type Sealed, seal } from '../../market/envelope.ts'
import type { SealedRecord } from '../../market/record.ts'
import { ClientError, isRetryable, Refused } from '../errors.ts'
import type { Wallet } from '../wallet.ts'
import { type Answer, type Outcome, openAnswer, openBatch, type Parties } from './answer.ts'
import { connectionLimits, fetchInfo } from './info.ts'
import { type Dialer, ownChoice } from './dialer.ts'
import { post } from './post.ts'
import { RelayClock } from './relay-clock.ts'
import type { ReadMemory, SealedRead } from './repeat.ts'
import { isOver, isReplayed, isStale, keepsText, repeatableMs, repeatsInBatch } from './repeat.ts'
import { pauseBeforeRetry } from './retry.ts'

export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  readonly attempts?: number | undefined
}

export interface ConnectionOptions {
  readonly now?: () => number
  readonly reads?: ReadMemory
  readonly dialer?: Dialer
}

export class Connection {
  readonly address: RelayAddress
  readonly clock: RelayClock
  readonly dialer: Dialer
  readonly #wallet: Wallet
  readonly #parties: Parties
  readonly #reads: ReadMemory | undefined
  #info: Promise<Info> | undefined

  constructor(
    address: RelayAddress,
    wallet: Wallet,
    { now = Date.now, reads, dialer = ownChoice }: ConnectionOptions = {},
  ) {
    this.address = address
    this.#wallet = wallet
    this.#parties = { relay: address.key, self: wallet.identity, url: address.url }
    this.clock = new RelayClock(now)
    this.#reads = reads
    this.dialer = dialer
  }

  /** What the relay publishes about itself, asked once. It is not signed: it may only make us ask for less. */
  async info(signal?: AbortSignal): Promise<Info> {
    this.#info ??= fetchInfo(this.address.url, { signal, dialer: this.dialer })
    try {
      const info = await this.#info
      if (info.key === this.address.key) return info
    } catch (error) {
      this.#info = undefined
      throw error
    }
    throw new ClientError('ERR_UNTRUSTED', `${this.address.url} is another relay than the pinned one`)
  }

  /** Signs a request to this relay, by its clock. @throws ERR_UNSUPPORTED when the relay does not offer it */
  async seal<R extends Request>(request: R, signal?: AbortSignal): Promise<Sealed<R>> {
    await this.demand(request, signal)
    const nonce = randomBytes(8).toString('hex')
    return seal({ to: this.address.key, timestamp: this.clock.now, nonce, request }, this.#wallet)
  }

  /** Asks for the relay's features where a request needs any (docs/protocol.md §4.2). @throws ERR_UNSUPPORTED */
  async demand(request: Request | Write, signal?: AbortSignal): Promise<void> {
    const needed = featuresOf(request)
    if (needed.length === 0) return
    const { features } = await this.info(signal)
    const missing = needed.filter((feature) => !features.includes(feature))
    if (missing.length > 0)
      throw new ClientError('ERR_UNSUPPORTED', `${this.address.url} does not offer ${missing.join(', ')}`)
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
      if (sealed === undefined || !keepsText(request, failure))
        sealed = await this.#sealOnce(request, options.signal)
      try {
        return await this.#ask(sealed, options.signal)
      } catch (error) {
        if (request.type !== 'read' || !isReplayed(error)) throw error
        // A repeated read that a record answered gives the record again; so the answer that was lost held none.
        sealed = await this.#sealOnce(request, options.signal)
        return this.#ask(sealed, options.signal)
      }
    })
  }

  /** The caller has what a read gave, for good: the next read of this path is another pull. */
  async finishRead(path: string): Promise<void> {
    await this.#reads?.forget(this.address.key, path)
  }

  async #ask<R extends Request>(
    sealed: Sealed<R>,
    signal: AbortSignal | undefined,
  ): Promise<Answer<R['type']>> {
    const text = await post(this, sealed.text, signal)
    try {
      const answer = this.open(text, sealed)
      if ('record' in answer && answer.record === undefined) await this.#forget(sealed.msg.request)
      return answer
    } catch (error) {
      if (error instanceof Refused && error.signed) await this.#forget(sealed.msg.request)
      throw error
    }
  }

  async #forget(request: Request): Promise<void> {
    if (request.type === 'read') await this.finishRead(request.path)
  }

  /** `seal`, but a read that may have been answered before is asked in the words of then. */
  async #sealOnce<R extends Request>(request: R, signal: AbortSignal | undefined): Promise<Sealed<R>> {
    if (request.type !== 'read' || this.#reads === undefined) return this.seal(request, signal)
    const { key } = this.address
    const before = await this.#reads.recall(key, request.path)
    const isFresh = before !== undefined && before.msg.timestamp > this.clock.now - repeatableMs
    if (isFresh && before.msg.from === this.#wallet.identity) return before as unknown as Sealed<R> // R is `read`
    const read = await this.seal(request, signal)
    await this.#reads.remember(read as unknown as SealedRead) // R is `read`
    return read
  }

  /** Uploads a bare record, which only a fresh one survives. @throws as `call`; ERR_STALE when it is too old for that */
  async write(record: SealedRecord, options: CallOptions = {}): Promise<Answer<'write'>> {
    return this.#retrying(options, async (failure) => {
      await this.demand(record.msg.request, options.signal)
      // The record cannot be sealed again; what can be done is to `store` it by the clock just learnt.
      if (failure !== undefined && isStale(failure)) throw failure
      return openAnswer<'write'>(await post(this, record.text, options.signal), record, this.#parties)
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
    const outcomes: Outcome[] = new Array(requests.length) // every slice fills its places
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
        const next = await this.#sealOnce(request, options.signal)
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
            keepsText(sealed.msg.request, failure) ? sealed : this.seal(sealed.msg.request, options.signal),
          ),
        )
      }
      const text = `[${sent.map((sealed) => sealed.text).join(',')}]`
      const outcomes = openBatch(await post(this, text, options.signal), { text, sent }, this.#parties)
      await Promise.all(
        outcomes.map((outcome, index) => isOver(outcome) && this.#forget(sent[index]!.msg.request)),
      )
      return outcomes
    })
  }

  /** An element that was not carried out, or whose clock we now know, or whose lost answer held nothing. */
  #mayAskAgain(error: Error): boolean {
    if (!(error instanceof Refused && error.signed)) return false
    if (isStale(error)) return this.clock.follow(error)
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
          if (adjusted || !this.clock.follow(error)) throw error
          adjusted = true
          continue
        }
        if (attempt >= attempts || !isRetryable(error)) throw error
        const backoff = { ...connectionLimits.backoff, signal }
        await pauseBeforeRetry(error, attempt - 1, backoff).catch(() => {
          // Who will not wait any longer hears what there was to wait for.
          throw error
        })
      }
    }
  }
}
