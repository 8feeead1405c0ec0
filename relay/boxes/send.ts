/** Sending to boxes: everything is checked before a payment is touched, and all recipients get it in one commit, or none. */
import { randomBytes } from 'node:crypto'
import { MarketError } from '../../market/errors.ts'
import { sha256Hex } from '../../market/hash.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { HandlerDeps } from '../requests/handlers.ts'
import { markUsed } from '../store/box-settings.ts'
import { type BoxMessage, sendToBoxes } from '../store/boxes.ts'
import type { Till } from '../till/till.ts'
import { type Payable, whenPaid } from '../web/paying.ts'
import { bearerOf, type BearerRules } from './bearer.ts'
import { BoxError } from './codes.ts'
import type { Proof } from './content.ts'
import { copiesOf } from './copies.ts'
import {
  type Federation,
  newlyBrought,
  type Outcome,
  putDepartures,
  resultsOf,
  type Routes,
  routesOf,
} from './departing.ts'
import { deliveryFee, type Dues, duesOf, isDue } from './fees.ts'
import { type Attached, parsePayment, partFor } from './outputs.ts'
import type { BoxPayments, Order } from './payment.ts'
import { boxLife, priced, priceOf } from './price.ts'
import type { SendRequest } from './sending.ts'

export interface SendParts {
  readonly means: HandlerDeps
  readonly rules: BearerRules
  readonly till: Till | undefined
  readonly payments: BoxPayments
  /** Absent where nobody is known to live elsewhere. */
  readonly federation?: Federation | undefined
}

export interface Letter {
  readonly request: SendRequest
  readonly from: Key
  /** The host that brought it; undefined where the sender did. */
  readonly carrier?: Key | undefined
  readonly address: string
  readonly proof: Proof
  readonly signed: Uint8Array
  /** All of a payment by 402 but its price. */
  readonly order: Omit<Payable, 'price'>
}

export interface SentResult {
  readonly recipient: Key
  readonly messageId: string
  /** Of somebody who lives elsewhere, as far as it is known. */
  readonly delivery?: Outcome['status']
  readonly hosts?: readonly Omit<Outcome, 'recipient'>[]
}

/** @throws a code of `boxCodes`; ERR_PAYMENT_REQUIRED with `satoshisRequired`, ERR_NO_ACCOUNT, ERR_BUSY */
export async function sendMessage(parts: SendParts, letter: Letter): Promise<SentResult[]> {
  const { means, federation } = parts
  const { request, from } = letter
  const dues = duesFor(parts, letter)
  const routes = await routesOf(federation, letter)
  const brings = Array.isArray(request.payment?.outputs) && request.payment.outputs.length > 0
  const attached = isDue(dues) || brings ? paymentOf(letter) : undefined
  const order = attached && { sender: from, attached, dues, what: nameOf(letter) }
  const names = namesOf(request, order)
  const isUsed = order !== undefined && parts.payments.known(order) === 'used'
  // What a host brings for one recipient was perhaps paid for with what it brought for another.
  const isOver = isUsed && letter.carrier === undefined
  const shares = order === undefined || isOver ? undefined : parts.payments.sharesOf(order)
  const { messages, bytes } = copiesOf(letter, { names, shares, routes, now: means.now() })
  means.admitWrite(bytes + routes.size * letter.signed.length)
  const price = () => priceOf(parts, letter, messages)
  const batching = { messages, isPaid: dues.delivery > 0, dues, routes }
  const departures = await whenPaid({ ...letter.order, price }, async () => {
    if (isOver) return []
    try {
      if (order === undefined) return await commit(parts, letter, batching)
      return (await rehearse(parts, letter, batching))
        ? await deliver(parts, letter, { ...batching, order })
        : []
    } catch (error) {
      throw priced(error, price)
    }
  })
  if (federation === undefined || departures.length === 0) return names
  return resultsOf(names, routes, await federation.begin(departures))
}

/** Hosts pay for what they bring by 402, and owe no fee for a delivery. */
function duesFor({ means, rules }: SendParts, { from: sender, request, carrier }: Letter): Dues {
  const dues = duesOf(means.store, rules, { sender, box: request.box, recipients: request.recipients })
  return carrier === undefined ? dues : { ...dues, delivery: 0 }
}

const paymentOf = ({ request: { payment, recipients }, carrier }: Letter): Attached =>
  carrier === undefined ? parsePayment(payment) : partFor(recipients, parsePayment(payment))

/** Once its payment is in the network. */
async function deliver(
  parts: SendParts,
  letter: Letter,
  { order, ...batching }: Stored & { readonly order: Order },
): Promise<number[]> {
  const { gate, caller } = letter.order
  gate.checkAddress(caller)
  const settled = await parts.payments.settle(order).catch((error: unknown) => {
    // It may have cost us a hundred milliseconds.
    if (error instanceof BoxError && error.code === 'ERR_INVALID_PAYMENT') gate.countFailure(caller)
    throw error
  })
  const { txid } = order.attached.beef.subject
  return settled === 'sent' || letter.carrier !== undefined
    ? commit(parts, letter, { ...batching, txid })
    : []
}

/** The same words to the same people in the same box; of what a host brought, what its sender signed: not all of them may be here. */
function nameOf({ from, carrier, request: { box, recipients, ids, body }, proof }: Letter): Hash {
  if (carrier !== undefined) return sha256Hex(JSON.stringify([from, proof.digest]))
  return sha256Hex(JSON.stringify([from, box, recipients, ids.map((id) => id ?? null), sha256Hex(body)]))
}

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

interface Batching {
  readonly messages: readonly BoxMessage[]
  readonly isPaid: boolean
}

/** What is known when it is stored. */
interface Stored extends Batching {
  readonly dues: Dues
  readonly routes: Routes
  /** The payment that is used up by it. */
  readonly txid?: Hash
}

interface Whose extends Pick<Letter, 'from' | 'carrier' | 'address'> {
  readonly request: Pick<SendRequest, 'box'>
}

function sendingOf(
  { means, rules }: SendParts,
  { request: { box }, from, carrier, address }: Whose,
  of: Batching,
) {
  const { messages, isPaid } = of
  const agree = bearerOf(rules, { sender: from, carrier, box, address, isPaid })
  return { sender: from, box, ttlMs: boxLife.ttlMs, messages, quotas: means.limits, agree }
}

/** The places of those that leave for other hosts. */
function commit(parts: SendParts, letter: Letter, of: Stored): Promise<number[]> {
  const sending = sendingOf(parts, letter, of)
  const { messages, txid, routes } = of
  const bytes = messages.reduce(
    (sum, { content }) => sum + content.length,
    routes.size * letter.signed.length,
  )
  return parts.means.store.commit((batch) => {
    const boxed = sendToBoxes(batch, { ...sending, messages: newlyBrought(batch, letter, messages) })
    if (txid !== undefined) markUsed(batch, txid)
    if (routes.size === 0) return []
    return putDepartures(batch, boxed, { letter, ...of, budgetOf: parts.federation!.budgetOf }) // it knows the routes
  }, bytes)
}

/** Whether it would be stored, and something new; nothing is written. @throws what would refuse it */
const rehearse = (parts: SendParts, letter: Whose, of: Batching): Promise<boolean> =>
  parts.means.store
    .commit((batch): boolean => {
      throw new Rehearsed(sendToBoxes(batch, sendingOf(parts, letter, of)).some(({ isNew }) => isNew))
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
