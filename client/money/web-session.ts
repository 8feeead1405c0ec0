/**
 * A relay as clients of the BSV stack speak to it: the sdk's own AuthFetch (BRC-103/104, docs/protocol.md §7.6), held to the
 * relay's key, to bounded answers and to an end. Where the relay wants to be paid (402), AuthFetch asks its wallet for a
 * payment; the wallet it has here notes what is asked and pays nothing.
 */
import type * as sdk from '@bsv/sdk'
import { z } from 'zod'
import { PlainError } from '../../contracts/api.ts'
import { paymentHeaders, type WebPayment } from '../../contracts/payment.ts'
import { loadSdk } from '../../contracts/transaction/sdk.ts'
import type { RelayAddress } from '../../market/address.ts'
import { toUtf8 } from '../../market/bytes.ts'
import { ClientError, messageOf, Refused, told } from '../errors.ts'
import { readBounded, send, statusOf } from '../wire/http.ts'
import type { Dialer } from '../wire/dialer.ts'
import type { Prover } from './payer.ts'

const webLimits = {
  /** The relay may have to check a payment and send it to its network. */
  timeoutMs: 60_000,
  replyBytes: 1 << 20,
} as const

export interface WebRequest {
  readonly path: string
  readonly body: object
  readonly payment?: WebPayment
  readonly signal?: AbortSignal | undefined
}

/** What the relay wants to be paid, by which names, to which script. */
export interface Asked {
  readonly satoshis: number
  readonly derivationPrefix: string
  readonly derivationSuffix: string
  readonly lockingScript: string
}

export type WebAnswer = { readonly value: unknown } | { readonly asked: Asked }

export interface WebParties {
  readonly relay: RelayAddress
  readonly prover: Prover
  readonly dialer: Dialer
}

/**
 * The relay's signed answer to a POST.
 * @throws Refused, signed; ERR_UNTRUSTED when it is not the relay that answers; ERR_UNSUPPORTED; ERR_UNREACHABLE
 */
export async function webPost(
  { relay, prover, dialer }: WebParties,
  { path, body, payment, signal }: WebRequest,
): Promise<WebAnswer> {
  const { AuthFetch, Peer, SessionManager, SimplifiedFetchTransport } = await loadSdk()
  const stop = new AbortController()
  const timeout = AbortSignal.timeout(webLimits.timeoutMs)
  const ends = AbortSignal.any([stop.signal, timeout, ...(signal ? [signal] : [])])
  const held = new HeldWallet(prover, relay, stop)
  const { origin } = new URL(relay.url)
  const sessions = new SessionManager()
  const auth = new AuthFetch(held.wallet, undefined, sessions)
  const transport = new SimplifiedFetchTransport(origin, bounded(dialer, ends))
  const peer = new Peer(held.wallet, transport, undefined, sessions)
  auth.peers[origin] = { peer, pendingCertificateRequests: [] }
  // A relay that forgets its session must not be met again without our bounds.
  Object.freeze(auth.peers)
  const headers = {
    'content-type': 'application/json',
    ...(payment && { [paymentHeaders.payment]: JSON.stringify(payment) }),
  }
  const request = { method: 'POST', headers, body: JSON.stringify(body) }
  try {
    // What is not signed by the relay is never answered by AuthFetch.
    const response = await Promise.race([auth.fetch(`${relay.url}${path}`, request), ended(ends)])
    const text = await response.text()
    held.checkSigned(text)
    return { value: opened(relay, response.status, text) }
  } catch (error) {
    if (held.asked !== undefined) return { asked: held.asked }
    signal?.throwIfAborted()
    throw faultOf(relay, timeout.aborted ? timeout.reason : error)
  } finally {
    stop.abort()
  }
}

const Names = z.looseObject({ derivationPrefix: z.string(), derivationSuffix: z.string() })

/** Proves what the prover proves, to this relay alone. */
class HeldWallet {
  readonly wallet: sdk.WalletInterface
  /** What the wallet should have paid. */
  asked: Asked | undefined
  readonly #relay: RelayAddress
  /** The last thing that the relay signed. */
  #signed: readonly number[] = []

  constructor(prover: Prover, relay: RelayAddress, stop: AbortController) {
    this.#relay = relay
    // What AuthFetch does not believe it waits for without end.
    const give = (why: string): ClientError => {
      const error = this.#untrusted(why)
      stop.abort(error)
      return error
    }
    const sure = <T>(checked: Promise<T>): Promise<T> =>
      checked.catch(() => {
        throw give('gives an answer that it did not sign')
      })
    const methods: Prover & Pick<sdk.WalletInterface, 'createAction'> = {
      getPublicKey: (args) => prover.getPublicKey(args),
      createSignature: (args) => prover.createSignature(args),
      createHmac: (args) => prover.createHmac(args),
      verifyHmac: (args) => sure(prover.verifyHmac(args)),
      verifySignature: async (args) => {
        if (args.counterparty !== relay.key) throw give('is another relay: it proves another key')
        const verified = await sure(prover.verifySignature(args))
        this.#signed = args.data ?? []
        return verified
      },
      createAction: async (args) => {
        this.asked = this.#askedIn(args)
        throw new Error('nothing is paid here')
      },
    }
    this.wallet = methods as sdk.WalletInterface // all that AuthFetch and Peer call
  }

  /** AuthFetch may also give what nobody signed. @throws ERR_UNTRUSTED */
  checkSigned(text: string): void {
    const body = toUtf8(text)
    const tail = Uint8Array.from(this.#signed.slice(this.#signed.length - body.length))
    if (body.length === 0 || Buffer.compare(tail, body) !== 0)
      throw this.#untrusted('gives an answer that it did not sign')
  }

  #askedIn({ outputs = [] }: sdk.CreateActionArgs): Asked {
    const [output, ...others] = outputs
    if (output === undefined || others.length > 0) throw this.#untrusted('asks for no single payment')
    const { satoshis, lockingScript, customInstructions = '' } = output
    const { derivationPrefix, derivationSuffix } = Names.parse(JSON.parse(customInstructions))
    return { satoshis, lockingScript, derivationPrefix, derivationSuffix }
  }

  #untrusted(what: string): ClientError {
    return new ClientError('ERR_UNTRUSTED', `${this.#relay.url} ${what}`)
  }
}

/** `fetch` as the sdk uses it, through our dialer: without redirects, with an end and a largest answer. */
const bounded =
  (dialer: Dialer, signal: AbortSignal): typeof fetch =>
  async (to, { method = 'GET', headers: given, body } = {}) => {
    const url = String(to)
    const headers = Object.fromEntries(new Headers(given))
    // The sdk's transport gives texts and bytes.
    const sent = body === undefined || body === null ? {} : { body: body as string | Uint8Array }
    const response = await send(dialer, { url, method, headers, ...sent, signal })
    const text = await readBounded(response, { url, maxBytes: webLimits.replyBytes })
    const answered = Object.entries(response.headers).map(([name, value]) => [name, String(value)] as const)
    const status = statusOf(response)
    return new Response(text === '' ? null : text, { status, headers: Object.fromEntries(answered) })
  }

const ended = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    if (signal.aborted) reject(signal.reason)
  })

/** @throws Refused */
function opened({ url }: RelayAddress, status: number, text: string): unknown {
  const value = parsed(text)
  const refusal = PlainError.safeParse(value)
  if (refusal.success) {
    const { status: _, code, description, ...extras } = refusal.data
    throw new Refused(url, { code, error: `${url} refuses: ${told(description)}`, signed: true, extras })
  }
  if (status === 200 && value !== undefined) return value
  throw new ClientError('ERR_UNTRUSTED', `${url} answers with status ${status} and without a word why`)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

const Unproven = z.object({ details: z.object({ status: z.int() }) })

function faultOf({ url }: RelayAddress, error: unknown): Error {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof ClientError || cause instanceof Refused) return cause
  if ((error as Error).name === 'TimeoutError')
    return new ClientError('ERR_UNREACHABLE', `no answer of ${url} within ${webLimits.timeoutMs / 1000} s`)
  // `auth.peers` is frozen.
  if (error instanceof TypeError)
    return new ClientError('ERR_UNREACHABLE', `${url} forgot who asks, just now: ask again`, error)
  const { details } = Unproven.safeParse(error).data ?? {}
  if (details?.status === 404 || details?.status === 405)
    return new ClientError(
      'ERR_UNSUPPORTED',
      `${url} does not speak the protocol of payments (BRC-104)`,
      error,
    )
  const isProven = details === undefined && !isNetwork(error)
  return new ClientError(
    isProven ? 'ERR_UNTRUSTED' : 'ERR_UNREACHABLE',
    `${url} cannot be asked: ${told(messageOf(error))}`,
    error,
  )
}

/** As the sdk's transport says it. */
const isNetwork = (error: unknown): boolean => /^Network error/.test(messageOf(error))
