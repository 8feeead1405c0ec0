/** Paying for one request by 402 (docs/protocol.md §7.6): what was presented is taken before anything is done for it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { paymentHeaders, WebPayment } from '../../contracts/payment.ts'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { fromUtf8, toHex } from '../../market/bytes.ts'
import type { Key } from '../../market/units.ts'
import type { Gate } from '../admission.ts'
import { beefDigits, type Taken, type Till } from '../till/till.ts'
import { isMultipart, readMultipart } from './multipart.ts'

/** Of the JSON of one payment in a body: what the till takes, and its names. */
const paymentBytes = beefDigits + 4096
/** How soon a block may have come. */
const blockMs = 60_000

/**
 * A request without its payment, which is in a header (BRC-105) or in a part of the body (BRC-118).
 * @throws ERR_MALFORMED, ERR_MALFORMED_PAYMENT
 */
export function takeApart(
  { headers }: FastifyRequest,
  given: Buffer,
): { readonly body: Buffer; readonly payment: WebPayment | undefined } {
  const header = headers[paymentHeaders.payment]
  const type = headers['content-type']
  if (!isMultipart(type))
    return { body: given, payment: header === undefined ? undefined : parsePayment(String(header)) }
  const parts = readMultipart(type, given, [paymentHeaders.payment, 'body'])
  const part = parts.get(paymentHeaders.payment)
  if (part === undefined || header !== undefined) throw malformed('stands once, in a part of the body')
  if (part.length > paymentBytes) throw malformed(`has more than ${paymentBytes} bytes`)
  return { body: parts.get('body') ?? Buffer.alloc(0), payment: parsePayment(fromUtf8(part)) }
}

/** @throws ERR_MALFORMED_PAYMENT where a payment comes with what costs nothing: it must not be lost without a word */
export function refusePayment({ headers }: FastifyRequest): void {
  if (headers[paymentHeaders.payment] !== undefined) throw malformed('is for a request that costs nothing')
}

/** What a payment is for: the same again gets the same result. */
export const usedFor = (method: string, path: string, body: Uint8Array): string =>
  `${method} ${path} ${toHex(sha256(body))}`

export interface Payable {
  readonly till: Till | undefined
  readonly from: Key
  readonly payment: WebPayment | undefined
  /** `usedFor` of the request. */
  readonly what: string
  readonly reply: FastifyReply
  /** Counts what was forged; who forges too much is refused for a while. */
  readonly gate: Pick<Gate, 'checkAddress' | 'countFailure'>
  readonly caller: { readonly address: string; readonly now: number }
  /** Satoshi, asked for only where a payment is there; 0: any amount will do. */
  price(): number
}

/**
 * Does what may have to be paid for. Where no purse bears it and nothing was paid, it is offered for sale; a payment that is
 * there is taken first, and is never answered by 402: what it does not use is its payer's credit.
 * @throws what `act` and `Till.take` throw, ERR_LIMIT; with `txid` and `broadcast` once a payment is there
 */
export async function whenPaid<T>(request: Payable, act: (taken?: Taken) => Promise<T>): Promise<T> {
  const { till, from, payment, what, reply, gate, caller } = request
  if (payment === undefined)
    try {
      return await act()
    } catch (error) {
      throw till === undefined ? error : offered(error, { till, from, reply })
    }
  if (till === undefined) {
    const extras = { broadcast: false }
    throw new MarketError('ERR_FORBIDDEN', 'this relay takes no payments', { extras })
  }
  const price = unsent(() => {
    gate.checkAddress(caller)
    return request.price()
  })
  const taken = await till.take(from, payment, { price, what }).catch((error: unknown) => {
    // It may have cost us a hundred milliseconds.
    if (error instanceof MarketError && error.code === 'ERR_MALFORMED_PAYMENT') gate.countFailure(caller)
    throw error
  })
  reply.header(paymentHeaders.paid, String(taken.satoshis)).header(paymentHeaders.reference, taken.txid)
  try {
    return await act(taken)
  } catch (error) {
    throw afterTaking(error, till.creditOf(from).pending, taken)
  }
}

function offered(
  error: unknown,
  { till, from, reply }: { till: Till; from: Key; reply: FastifyReply },
): unknown {
  if (!(error instanceof MarketError) || error.code !== 'ERR_PAYMENT_REQUIRED') return error
  const { satoshisRequired } = error.extras
  if (typeof satoshisRequired !== 'number') return error // more than there is, or for its owner to pay
  reply.headers(till.offer(from, satoshisRequired))
  return error
}

/** What refuses a request once it was paid for. */
function afterTaking(error: unknown, pending: number, { txid }: Taken): unknown {
  if (!(error instanceof MarketError)) return error
  const paid = { txid, broadcast: true }
  if (error.code !== 'ERR_PAYMENT_REQUIRED')
    return new MarketError(error.code, error.message, { extras: { ...error.extras, ...paid }, cause: error })
  if (pending > 0) {
    const extras = { ...paid, retryAfterMs: blockMs }
    const sentence = 'the payment waits for a block: ask again with the same payment'
    return new MarketError('ERR_BUSY', sentence, { extras, cause: error })
  }
  const sentence = 'the payment does not suffice for this; it is in your credit'
  return new MarketError('ERR_CONFLICT', sentence, { extras: paid, cause: error })
}

/** A price that cannot be told refuses the request before its payment is touched, and says so. */
function unsent(price: () => number): number {
  try {
    return price()
  } catch (error) {
    if (!(error instanceof MarketError)) throw error
    const extras = { ...error.extras, broadcast: false }
    throw new MarketError(error.code, error.message, { extras, cause: error })
  }
}

function parsePayment(text: string): WebPayment {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw malformed('is no JSON', cause)
  }
  const parsed = WebPayment.safeParse(json)
  if (parsed.success) return parsed.data
  throw malformed(`does not fit: ${firstIssue(parsed.error)}`)
}

const malformed = (what: string, cause?: unknown): MarketError =>
  new MarketError('ERR_MALFORMED_PAYMENT', `the payment ${what}`, { extras: { broadcast: false }, cause })
