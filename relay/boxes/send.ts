/** Sending to boxes: everything is checked before a payment is touched, and all recipients get it in one commit, or none. */
import { randomBytes } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import { MarketError } from '../../market/errors.ts'
import { sha256Hex } from '../../market/hash.ts'
import { dayMs, type Hash, type Key } from '../../market/units.ts'
import type { HandlerDeps } from '../requests/handlers.ts'
import { markUsed } from '../store/box-settings.ts'
import { listedPulls, sendToBoxes, type BoxMessage } from '../store/boxes.ts'
import type { Till } from '../till/till.ts'
import { type Payable, whenPaid } from '../web/paying.ts'
import { bearerOf, type BearerRules } from './bearer.ts'
import { BoxError } from './codes.ts'
import { encodeContent, listedBody, type Proof, type Share } from './content.ts'
import { deliveryFee, duesOf, isDue } from './fees.ts'
import { parsePayment } from './outputs.ts'
import type { BoxPayments, Order } from './payment.ts'
import type { SendRequest } from './sending.ts'

export const boxLife = {
  /** How long a message waits for its recipient. */
  ttlMs: 30 * dayMs,
} as const

const sendLimits = {
  /** Of what senders signed, in all copies of one message; beyond, its hash alone is kept. */
  signedBytes: 1 << 20,
  /** Of all copies of one message: what one commit writes. */
  copiesBytes: 32 << 20,
  /** Of a message in a listing, which is JSON in JSON. */
  listedBytes: 6 << 20,
} as const

export interface SendParts {
  readonly means: HandlerDeps
  readonly rules: BearerRules
  readonly till: Till | undefined
  readonly payments: BoxPayments
}

export interface Letter {
  readonly request: SendRequest
  readonly from: Key
  readonly address: string
  readonly proof: Proof
  readonly signed: Uint8Array
  readonly reply: FastifyReply
  /** All of a payment by 402 but its price. */
  readonly order: Omit<Payable, 'price'>
}

export interface SentResult {
  readonly recipient: Key
  readonly messageId: string
}

/** @throws a code of `boxCodes`; ERR_PAYMENT_REQUIRED with `satoshisRequired`, ERR_NO_ACCOUNT, ERR_BUSY */
export async function sendMessage(parts: SendParts, letter: Letter): Promise<SentResult[]> {
  const { means, rules } = parts
  const { request, from } = letter
  const { box, recipients } = request
  const dues = duesOf(means.store, rules, { sender: from, box, recipients })
  const brings = Array.isArray(request.payment?.outputs) && request.payment.outputs.length > 0
  const attached = isDue(dues) || brings ? parsePayment(request.payment) : undefined
  const order = attached && { sender: from, attached, dues, what: nameOf(from, request) }
  const names = namesOf(request, order)
  const isUsed = order !== undefined && parts.payments.known(order) === 'used'
  const shares = order === undefined || isUsed ? undefined : parts.payments.sharesOf(order)
  const copies = copiesOf(means.now(), letter, { names, shares })
  means.admitWrite(copies.bytes)
  const price = () => priceOf(parts, from, copies.messages)
  const batching = { messages: copies.messages, isPaid: dues.delivery > 0 }
  await whenPaid({ ...letter.order, price }, async () => {
    if (isUsed) return
    try {
      if (order === undefined) await commit(parts, letter, batching)
      else if (await rehearse(parts, letter, batching)) await deliver(parts, letter, { ...batching, order })
    } catch (error) {
      throw priced(error, price)
    }
  })
  return names
}

/** Once its payment is in the network. */
async function deliver(
  parts: SendParts,
  letter: Letter,
  { order, ...batching }: Batching & { readonly order: Order },
): Promise<void> {
  const { gate, caller } = letter.order
  gate.checkAddress(caller)
  const settled = await parts.payments.settle(order).catch((error: unknown) => {
    // It may have cost us a hundred milliseconds.
    if (error instanceof BoxError && error.code === 'ERR_INVALID_PAYMENT') gate.countFailure(caller)
    throw error
  })
  const { txid } = order.attached.beef.subject
  if (settled === 'sent') await commit(parts, letter, { ...batching, txid })
}

/** The same words to the same people in the same box. */
const nameOf = (sender: Key, { box, recipients, ids, body }: SendRequest): Hash =>
  sha256Hex(JSON.stringify([sender, box, recipients, ids.map((id) => id ?? null), sha256Hex(body)]))

/** A message that its sender left us to name has the same name when it comes again with its payment. */
function namesOf({ recipients, ids }: SendRequest, paid: Order | undefined): SentResult[] {
  return recipients.map((recipient, at) => {
    const made = () =>
      paid === undefined
        ? randomBytes(16).toString('hex')
        : sha256Hex(`${paid.what} ${paid.attached.beef.subject.txid} ${recipient}`).slice(0, 32)
    return { recipient, messageId: ids[at] ?? made() }
  })
}

/** What is kept for each recipient. @throws ERR_MESSAGE_BODY_TOO_LARGE */
function copiesOf(
  now: number,
  { request, proof, signed, order }: Letter,
  { names, shares }: { names: readonly SentResult[]; shares: ReadonlyMap<Key, Share> | undefined },
): { messages: BoxMessage[]; bytes: number } {
  const { box, body } = request
  const hash = sha256Hex(body)
  // With a payment it is many times as much, and more than what was offered for sale before there was one.
  const isBare = order.payment === undefined && request.payment === undefined
  const isKept = isBare && signed.length * names.length <= sendLimits.signedBytes
  const kept = isKept ? signed : new Uint8Array()
  let bytes = 0
  const messages = names.map(({ recipient, messageId }) => {
    const payment = shares?.get(recipient)
    checkListed(body, payment)
    const content = encodeContent({ box, messageId, body, createdAt: now, proof, payment }, kept)
    bytes += content.length
    if (bytes > sendLimits.copiesBytes)
      throw tooLarge('the message is too large for so many recipients', sendLimits.copiesBytes)
    return { recipient, messageId, content, hash }
  })
  return { messages, bytes }
}

/** A message that could not be listed would never be got rid of. */
function checkListed(body: string, payment: Share | undefined): void {
  // In JSON each byte becomes six at most, and each number of a payment four.
  const most = 6 * Buffer.byteLength(body) + 4 * (payment?.tx.length ?? 0)
  if (most <= sendLimits.listedBytes) return
  const text = listedBody({ body, ...(payment && { payment: { ...payment, tx: '' } }) })
  const bytes = Buffer.byteLength(JSON.stringify(text)) + 4 * (payment?.tx.length ?? 0)
  if (bytes > sendLimits.listedBytes)
    throw tooLarge('the message is too large to be listed', sendLimits.listedBytes)
}

const tooLarge = (why: string, limit: number): BoxError =>
  new BoxError('ERR_MESSAGE_BODY_TOO_LARGE', why, { limit, broadcast: false })

interface Batching {
  readonly messages: readonly BoxMessage[]
  readonly isPaid: boolean
  /** The payment that is used up by it. */
  readonly txid?: Hash
}

interface Whose extends Pick<Letter, 'from' | 'address'> {
  readonly request: Pick<SendRequest, 'box'>
}

function sendingOf({ means, rules }: SendParts, { request: { box }, from, address }: Whose, of: Batching) {
  const { messages, isPaid } = of
  const agree = bearerOf(rules, { sender: from, box, address, isPaid })
  return { sender: from, box, ttlMs: boxLife.ttlMs, messages, quotas: means.limits, agree }
}

function commit(parts: SendParts, letter: Letter, of: Batching): Promise<boolean> {
  const sending = sendingOf(parts, letter, of)
  const bytes = of.messages.reduce((sum, { content }) => sum + content.length, 0)
  return parts.means.store.commit((batch) => {
    const isNew = sendToBoxes(batch, sending)
    if (of.txid !== undefined) markUsed(batch, of.txid)
    return isNew
  }, bytes)
}

/** Whether it would be stored, and something new; nothing is written. @throws what would refuse it */
const rehearse = (parts: SendParts, letter: Whose, of: Batching): Promise<boolean> =>
  parts.means.store
    .commit((batch): boolean => {
      throw new Rehearsed(sendToBoxes(batch, sendingOf(parts, letter, of)))
    })
    .catch((error: unknown) => {
      if (error instanceof Rehearsed) return error.isNew
      throw error
    })

/** Thrown where all went well, so that nothing of it stays. */
class Rehearsed extends Error {
  readonly isNew: boolean

  constructor(isNew: boolean) {
    super('nothing of this is written')
    this.isNew = isNew
  }
}

/** Satoshi of credit that all copies can come to, and what their sender owes. */
function priceOf({ means, till }: SendParts, from: Key, messages: readonly BoxMessage[]): number {
  const { accounts, now } = means
  const wish = { ttl: boxLife.ttlMs / 1000, maxPulls: listedPulls }
  const prices = messages.map(({ content }) =>
    Number(accounts.quoteFor(from, { ...wish, bytes: content.length }, now()).satoshis),
  )
  const debt = Math.max(0, -(till?.creditOf(from).available ?? 0))
  return (
    Math.max(
      1,
      prices.reduce((sum, satoshis) => sum + satoshis, 0),
    ) + debt
  )
}

/** A refusal for want of credit says what is to be paid. */
function priced(error: unknown, price: () => number): unknown {
  if (!(error instanceof MarketError) || error.code !== 'ERR_PAYMENT_REQUIRED') return error
  const extras = { ...error.extras, satoshisRequired: price() }
  return new MarketError(error.code, error.message, { extras, cause: error })
}

/** Whether a message would be taken, as far as that can be told before it is there. @throws what would refuse it */
export async function checkDelivery(
  parts: SendParts,
  { box, recipients, ...whose }: Pick<Letter, 'from' | 'address'> & Pick<SendRequest, 'box' | 'recipients'>,
): Promise<void> {
  const any = { content: Buffer.alloc(1), hash: sha256Hex('') }
  const messages = recipients.map((recipient) => ({
    ...{ recipient, messageId: randomBytes(16).toString('hex'), ...any },
  }))
  try {
    await rehearse(
      parts,
      { ...whose, request: { box } },
      { messages, isPaid: deliveryFee(parts.means.store, parts.rules, box) > 0 },
    )
  } catch (error) {
    // With the message its sender can pay for that, too.
    const isForSale = error instanceof MarketError && error.code === 'ERR_PAYMENT_REQUIRED'
    if (!isForSale || parts.till === undefined) throw error
  }
}
