/** Asks other hosts, by requests that prove us and answers that prove them (BRC-103/104). */
import { randomBytes } from 'node:crypto'
import { addAbortListener } from 'node:events'
import { z } from 'zod'
import { paymentHeaders, paymentVersion, type WebPayment } from '../../contracts/payment.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { toUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { putBounded } from '../../market/lru.ts'
import { mostSatoshi } from '../../market/units.ts'
import { type Host, nameOf } from '../../contracts/overlay/host.ts'
import { greet, type HostSession, signPost } from './session.ts'
import { jsonOf, type Reply, unreachable, type Way } from './way.ts'

const callerLimits = {
  /** Of one call, a handshake included. */
  callMs: 15_000,
  /** Hosts of which sessions are kept. */
  hosts: 1000,
  /** How long a session is: deployed hosts forget one that is unused for half an hour. */
  sessionMs: 20 * 60_000,
  /** A payment above this is a part of the body where the host takes that (BRC-118), … */
  shortPaymentBytes: 8 * 1024,
  /** … and above this it is in no header. */
  paymentHeaderBytes: 64 * 1024,
} as const

export interface HostAnswer {
  readonly status: number
  /** `{}` where it says nothing readable. */
  readonly body: Readonly<Record<string, unknown>>
  /** What a 402 asks for by BRC-105. */
  readonly asked?: { readonly satoshis: number; readonly derivationPrefix: string }
}

export interface HostCallerOptions {
  readonly keys: KeyWallet
  readonly way: Way
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly limits?: Partial<Record<keyof typeof callerLimits, number>>
}

export interface PostOptions {
  readonly payment?: WebPayment | undefined
  readonly signal?: AbortSignal | undefined
}

interface Kept {
  readonly session: Promise<HostSession>
  /** Milliseconds since 1970. */
  readonly since: number
}

interface Call {
  readonly host: Host
  readonly url: string
  readonly signal: AbortSignal | undefined
  /** Milliseconds that are left for all of it. */
  left(): number
}

interface Content {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export class HostCaller {
  readonly #options: HostCallerOptions
  readonly #limits: Readonly<Record<keyof typeof callerLimits, number>>
  readonly #sessions = new Map<string, Kept>()
  /** Whether a host takes payments in parts of bodies, as it said when it last asked for one. */
  readonly #takesParts = new Map<string, boolean>()
  #isClosed = false

  constructor(options: HostCallerOptions) {
    this.#options = options
    this.#limits = { ...callerLimits, ...options.limits }
  }

  /**
   * A POST of JSON, and what `host.key` answers to it. It may reach the host twice, where that forgot us in between. With a large
   * payment of which it is not known whether the host takes it in a body, the host is asked without it first.
   * @throws ERR_BUSY when the host cannot be reached, does not answer in time, or does not prove its key; ERR_TOO_LARGE for a
   * payment that it takes in no form; the reason of `signal`
   */
  async post(host: Host, path: string, body: string, options: PostOptions = {}): Promise<HostAnswer> {
    const { payment, signal } = options
    const { callMs, shortPaymentBytes, paymentHeaderBytes } = this.#limits
    const end = performance.now() + callMs
    const url = `${this.#options.way.urlOf(host.domain)}${path}`
    // A port above 65535, or what looks like an address and is none, is a domain of a good token.
    if (!URL.canParse(url) || this.#options.way.isAddress(host.domain))
      throw unreachable(host.domain, 'there is no such name')
    const call = { host, url, signal, left: () => Math.max(1, Math.ceil(end - performance.now())) }
    const bare = { headers: { 'content-type': 'application/json' }, body: toUtf8(body) }
    if (payment === undefined) return this.#ask(call, bare)

    const paid = JSON.stringify(payment)
    if (paid.length > shortPaymentBytes) {
      if (!this.#takesParts.has(nameOf(host))) {
        const answer = await this.#ask(call, bare)
        if (answer.status !== 402) return answer
      }
      if (this.#takesParts.get(nameOf(host))) return this.#ask(call, inParts(paid, body))
    }
    if (paid.length > paymentHeaderBytes)
      throw new MarketError('ERR_TOO_LARGE', `${host.domain} takes no payment of ${paid.length} bytes`)
    return this.#ask(call, { ...bare, headers: { ...bare.headers, [paymentHeaders.payment]: paid } })
  }

  /** Whether a host proves its key, now. @throws the reason of `signal` */
  async isThere(host: Host, signal: AbortSignal): Promise<boolean> {
    const { callMs } = this.#limits
    const call = { host, url: this.#options.way.urlOf(host.domain), signal, left: () => callMs }
    const met = this.#shakeHands(call).then(
      () => true,
      () => false,
    )
    return untilAborted(met, signal)
  }

  /** Asks nobody any more. What is under way ends with its signal, or with the way. */
  close(): void {
    this.#isClosed = true
    this.#sessions.clear()
  }

  async #ask(call: Call, content: Content): Promise<HostAnswer> {
    const { host, url, signal } = call
    const { keys, way } = this.#options
    const { pathname, search } = new URL(url)
    for (let isLast = false; ; isLast = true) {
      const kept = this.#sessionWith(call)
      const session = await untilAborted(kept.session, signal)
      const { headers, isProved } = signPost(keys, session, { url: `${pathname}${search}`, ...content })
      const exchange = { headers, body: content.body, timeoutMs: call.left(), shown: host.domain }
      const reply = await way.post(url, { ...exchange, signal }).catch((error: unknown) => {
        signal?.throwIfAborted()
        throw afterMeeting(error)
      })
      if (isProved(reply)) return this.#answer(host, reply)
      if (this.#sessions.get(nameOf(host)) === kept) this.#sessions.delete(nameOf(host))
      if (isLast || !isForgetful(reply))
        throw afterMeeting(unreachable(host.domain, `an answer (${reply.status}) that it did not sign`))
    }
  }

  /** The one that is kept, or a new one for all who ask meanwhile: a handshake is not ended with whoever was first. */
  #sessionWith(call: Call): Kept {
    if (this.#isClosed) throw unreachable(call.host.domain, 'the relay stops')
    const name = nameOf(call.host)
    const known = this.#sessions.get(name)
    const now = this.#options.now()
    const isGood = known !== undefined && now - known.since <= this.#limits.sessionMs
    const kept = isGood ? known : { session: this.#shakeHands(call), since: now }
    putBounded(this.#sessions, name, kept, this.#limits.hosts)
    if (!isGood)
      kept.session.catch(() => {
        if (this.#sessions.get(name) === kept) this.#sessions.delete(name)
      })
    return kept
  }

  async #shakeHands({ host: { key, domain }, url, left }: Call): Promise<HostSession> {
    const { keys, way } = this.#options
    const { body, sessionOf } = greet(keys, key)
    const headers = { 'content-type': 'application/json' }
    const { origin } = new URL(url)
    const exchange = { headers, body, timeoutMs: left(), shown: domain }
    const reply = await way.post(`${origin}/.well-known/auth`, exchange)
    const session = sessionOf(reply.body)
    if (session === undefined) throw unreachable(domain, `it (${reply.status}) does not prove its key`)
    return session
  }

  #answer(host: Host, { status, headers, body }: Reply): HostAnswer {
    const json = Said.safeParse(jsonOf(body)).data ?? {}
    const asked = status === 402 ? Asked.safeParse(headers).data : undefined
    if (asked === undefined) return { status, body: json }
    const { satoshis, derivationPrefix, takesParts } = asked
    putBounded(this.#takesParts, nameOf(host), takesParts, this.#limits.hosts)
    return { status, body: json, asked: { satoshis, derivationPrefix } }
  }
}

/** It proved its key before: perhaps it is what we say that it does not answer. */
function afterMeeting(error: unknown): unknown {
  if (!(error instanceof MarketError)) return error
  return new MarketError(error.code, error.message, { extras: { isMet: true }, cause: error })
}

const Said = z.record(z.string(), z.unknown())

const Asked = z
  .object({
    [paymentHeaders.version]: z.literal(paymentVersion),
    [paymentHeaders.required]: z.string().regex(/^[1-9][0-9]{0,15}$/),
    // The payment repeats it, in a header.
    [paymentHeaders.prefix]: z.string().regex(/^[\x21-\x7e]{1,399}$/),
    [paymentHeaders.transports]: z.string().optional(),
  })
  .transform((headers) => ({
    satoshis: Number(headers[paymentHeaders.required]),
    derivationPrefix: headers[paymentHeaders.prefix],
    takesParts: /(?:^|,)\s*multipart\s*(?:,|$)/.test(headers[paymentHeaders.transports] ?? ''),
  }))
  .refine(({ satoshis }) => satoshis <= mostSatoshi)

/** Whether an answer that proves nothing may come from a host that does not know our session any more. */
const isForgetful = ({ status, body }: Reply): boolean => status === 401 || body.includes('Session not found')

/** Body and payment as BRC-118 has them. */
function inParts(payment: string, body: string): Content {
  const boundary = randomBytes(16).toString('hex')
  const part = (name: string, text: string) =>
    `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\ncontent-type: application/json\r\n\r\n${text}\r\n`
  const text = `${part(paymentHeaders.payment, payment)}${part('body', body)}--${boundary}--\r\n`
  return { headers: { 'content-type': `multipart/form-data; boundary=${boundary}` }, body: toUtf8(text) }
}

const untilAborted = <T>(waited: Promise<T>, signal: AbortSignal | undefined): Promise<T> =>
  new Promise((resolve, reject) => {
    if (signal === undefined) return resolve(waited)
    const listening = addAbortListener(signal, () => reject(signal.reason))
    waited.then(resolve, reject).finally(() => listening[Symbol.dispose]())
  })
