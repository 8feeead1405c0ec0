/** What a payment that comes with a message pays to whom, as far as that can be told from itself. */
import { z } from 'zod'
import { type Beef, parseBeef } from '../../contracts/transaction/beef.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { ownScript, paymentKey } from '../../contracts/wallet/own-keys.ts'
import { equal, fromBase64, fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { ANYONE_KEY, childPublicKey, invoiceNumber } from '../../market/identity.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Till } from '../till/till.ts'
import { BoxError } from './codes.ts'
import type { Share } from './content.ts'
import type { Dues } from './fees.ts'
import type { Fields } from './fields.ts'

const Name = z.base64().min(1).max(399)
const PaidOutput = z.object({
  outputIndex: z.int().min(0),
  protocol: z.literal('wallet payment'),
  paymentRemittance: z.object({
    derivationPrefix: Name,
    derivationSuffix: Name,
    senderIdentityKey: z.string(),
  }),
})
export type PaidOutput = z.infer<typeof PaidOutput>
/** More than a message has recipients: what is wrong with each is not told without bound. */
const PaidOutputs = z.array(PaidOutput).max(10_000)

export interface Attached {
  /** Atomic BEEF. */
  readonly bytes: Uint8Array
  readonly beef: Beef
  readonly outputs: readonly PaidOutput[]
  readonly description: string
}

const descriptionLength = 200
const nothing = 'Payment of a message'

/** @throws ERR_MISSING_PAYMENT_TX, ERR_INVALID_PAYMENT */
export function parsePayment(payment: Fields | undefined): Attached {
  const { tx, outputs, description } = payment ?? {}
  if (tx === undefined || tx === null || tx === '' || (Array.isArray(tx) && tx.length === 0))
    throw new BoxError('ERR_MISSING_PAYMENT_TX', 'this message has to be paid for', { broadcast: false })
  const parsed = PaidOutputs.safeParse(outputs ?? [])
  if (!parsed.success) throw invalid('its outputs are no wallet payments')
  const bytes = bytesOf(tx)
  try {
    const told = typeof description === 'string' ? description.slice(0, descriptionLength) : ''
    const text = told.length < 5 ? nothing : told.toWellFormed()
    return { bytes, beef: parseBeef(bytes), outputs: parsed.data, description: text }
  } catch (error) {
    if (error instanceof MarketError) throw invalid(error.message, error)
    throw error
  }
}

/** Keys that are derived to find what is for whom, about 40 µs each. */
const mostDerived = 512

/** What of a payment is for these: the rest was for others, elsewhere. @throws ERR_INVALID_PAYMENT */
export function partFor(recipients: readonly Key[], attached: Attached): Attached {
  if (recipients.length * attached.outputs.length > mostDerived) throw invalid('it has too many outputs')
  const isTheirs = (output: PaidOutput) => recipients.some((one) => paysRecipient(output, one, attached))
  return { ...attached, outputs: attached.outputs.filter(isTheirs) }
}

/** Numbers as wallets give them, or base64. */
function bytesOf(tx: unknown): Uint8Array {
  if (Array.isArray(tx)) {
    const bytes = Uint8Array.from(tx)
    if (tx.every((byte, at) => byte === bytes[at])) return bytes
  }
  try {
    if (typeof tx === 'string') return fromBase64(tx)
  } catch {
    // Of another kind.
  }
  throw invalid('tx is no array of bytes')
}

/**
 * Whether everybody gets what is due: the relay by the first output, recipients, in their order, by the others.
 * @returns what is for each recipient; `satoshis` for the relay
 */
export function checkDues(
  { sender, attached, dues }: { sender: Key; attached: Attached; dues: Dues; what: Hash },
  till: Pick<Till, 'coins' | 'hasOffered'>,
): { readonly satoshis: number; readonly byRecipient: ReadonlyMap<Key, Share> } {
  const { outputs, bytes, description } = attached
  const [first] = outputs
  const isOurs = first !== undefined && paysRelay(first, sender, attached, till)
  if (dues.delivery > 0 && !isOurs)
    throw new BoxError('ERR_MISSING_DELIVERY_OUTPUT', 'output 0 does not pay this relay for the delivery', {
      broadcast: false,
    })
  const satoshis = isOurs ? amountOf(attached, first) : 0
  if (satoshis < dues.delivery)
    throw new BoxError('ERR_INSUFFICIENT_PAYMENT', `the delivery costs ${dues.delivery} satoshi`, {
      ...{ satoshisRequired: dues.delivery, satoshis, broadcast: false },
    })
  if (new Set(outputs.map(({ outputIndex }) => outputIndex)).size < outputs.length)
    throw invalid('it names an output twice')
  const rest = isOurs ? outputs.slice(1) : outputs
  checkCount(rest.length, dues)
  const byRecipient = new Map<Key, Share>()
  let at = 0
  for (const { recipient, fee } of dues.recipients) {
    const output = rest[at]
    const isHis = output !== undefined && paysRecipient(output, recipient, attached)
    if (!isHis && fee > 0)
      throw new BoxError('ERR_INVALID_RECIPIENT_PAYMENT', 'no output pays to the key of this recipient', {
        ...{ recipient, broadcast: false },
      })
    if (!isHis) continue
    const paid = amountOf(attached, output)
    if (paid < fee)
      throw new BoxError('ERR_INSUFFICIENT_RECIPIENT_PAYMENT', `this recipient asks for ${fee} satoshi`, {
        ...{ recipient, satoshisRequired: fee, satoshis: paid, broadcast: false },
      })
    byRecipient.set(recipient, { tx: bytes, outputs: [output], description })
    at++
  }
  if (at < rest.length) throw invalid('an output is for nobody who gets this message')
  return { satoshis, byRecipient }
}

function checkCount(count: number, { recipients }: Dues): void {
  const needed = recipients.filter(({ fee }) => fee > 0).length
  if (count >= needed) return
  const facts = { outputsRequired: needed, outputs: count, broadcast: false }
  if (count === 0) throw new BoxError('ERR_MISSING_RECIPIENT_OUTPUTS', 'the recipients are not paid', facts)
  throw new BoxError('ERR_INSUFFICIENT_OUTPUTS', 'not every recipient is paid', facts)
}

const amountOf = ({ beef }: Attached, { outputIndex }: PaidOutput): number =>
  beef.subject.transaction.outputs[outputIndex]?.satoshis ?? 0

const scriptOf = ({ beef }: Attached, { outputIndex }: PaidOutput): Uint8Array =>
  beef.subject.transaction.outputs[outputIndex]?.script ?? new Uint8Array()

/** @throws ERR_INVALID_PAYMENT for what pays for credit: it must not count twice */
function paysRelay(
  output: PaidOutput,
  sender: Key,
  attached: Attached,
  till: Pick<Till, 'coins' | 'hasOffered'>,
): boolean {
  const { senderIdentityKey, ...names } = output.paymentRemittance
  if (senderIdentityKey !== sender) return false
  if (!equal(ownScript(till.coins.keys, paymentKey(names, sender)), scriptOf(attached, output))) return false
  if (till.hasOffered(sender, names.derivationPrefix)) throw invalid('it is a payment for credit')
  return true
}

/** Derived from the key that everybody has, so that a recipient finds it without knowing the sender (BRC-29). */
function paysRecipient(output: PaidOutput, recipient: Key, attached: Attached): boolean {
  const { senderIdentityKey, derivationPrefix, derivationSuffix } = output.paymentRemittance
  if (senderIdentityKey !== ANYONE_KEY) return false
  const invoice = invoiceNumber([2, '3241645161d8'], `${derivationPrefix} ${derivationSuffix}`)
  const key = fromHex(recipient)
  return equal(p2pkh(childPublicKey(key, key, invoice)), scriptOf(attached, output))
}

const invalid = (what: string, cause?: unknown): BoxError =>
  new BoxError('ERR_INVALID_PAYMENT', `the payment cannot be taken: ${what}`, { broadcast: false }, cause)
