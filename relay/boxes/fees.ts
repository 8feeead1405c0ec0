/** What a delivery costs its sender, and whom (docs/protocol.md §13.4). */
import type { Key } from '../../market/units.ts'
import { boxFeesOf } from '../store/box-fees.ts'
import { findPermission } from '../store/box-settings.ts'
import type { Reader } from '../store/postings.ts'
import { BoxError } from './codes.ts'

/** For boxes whose owner has said nothing, where payments can be seen. */
const defaultFees: Readonly<Record<string, number>> = { notifications: 10 }
export const blocked = -1

export interface FeeRules {
  /** Satoshi for this relay, by box, where none is set at run time. */
  readonly fees: Readonly<Record<string, number>>
  /** Whether there is a wallet that sees payments. */
  readonly hasTill: boolean
}

export interface Delivery {
  readonly sender: Key
  readonly box: string
  readonly recipient: Key
}

/** Satoshi for this relay, once for all recipients of a message. */
export function deliveryFee(from: Reader, { fees }: FeeRules, box: string): number {
  const set = boxFeesOf(from)
  if (Object.hasOwn(set, box)) return set[box]!
  return Object.hasOwn(fees, box) ? fees[box]! : 0
}

/** Satoshi for the recipient, 0, or `blocked`; and whether he has said so himself. What he says of one sender comes first. */
export function recipientFee(
  from: Reader,
  { hasTill }: Pick<FeeRules, 'hasTill'>,
  { sender, box, recipient }: Delivery,
): { readonly fee: number; readonly isSaid: boolean } {
  if (sender === recipient) return { fee: 0, isSaid: true }
  const said =
    findPermission(from, recipient, { box, sender }) ?? findPermission(from, recipient, { box, sender: '' })
  if (said !== undefined) return { fee: said.fee, isSaid: true }
  return { fee: hasTill && Object.hasOwn(defaultFees, box) ? defaultFees[box]! : 0, isSaid: false }
}

/** What a payment for a message has to bring. */
export interface Dues {
  readonly delivery: number
  readonly recipients: readonly { readonly recipient: Key; readonly fee: number }[]
}

export const isDue = ({ delivery, recipients }: Dues): boolean =>
  delivery > 0 || recipients.some(({ fee }) => fee > 0)

/** @throws ERR_DELIVERY_BLOCKED with `blockedRecipients` */
export function duesOf(
  from: Reader,
  rules: FeeRules,
  { sender, box, recipients }: Omit<Delivery, 'recipient'> & { readonly recipients: readonly Key[] },
): Dues {
  const asked = recipients.map((recipient) => ({
    recipient,
    fee: recipientFee(from, rules, { sender, box, recipient }).fee,
  }))
  const blockedRecipients = asked.filter(({ fee }) => fee === blocked).map(({ recipient }) => recipient)
  if (blockedRecipients.length > 0)
    throw new BoxError('ERR_DELIVERY_BLOCKED', 'the recipient takes no such messages from this sender', {
      blockedRecipients,
    })
  return { delivery: deliveryFee(from, rules, box), recipients: asked }
}
