/** What is kept of a message: a copy for each of its recipients, all of them small enough to be written and listed. */
import { sha256Hex } from '../../market/hash.ts'
import type { Key } from '../../market/units.ts'
import type { BoxMessage } from '../store/boxes.ts'
import { BoxError } from './codes.ts'
import type { Routes } from './departing.ts'
import { encodeContent, listedBody, type Share } from './content.ts'
import type { Letter, SentResult } from './send.ts'

const copyLimits = {
  /** Of what senders signed, in all copies of one message; beyond, its hash alone is kept. */
  signedBytes: 1 << 20,
  /** Of all copies of one message: what one commit writes. */
  copiesBytes: 32 << 20,
  /** Of a message in a listing, which is JSON in JSON. */
  listedBytes: 6 << 20,
} as const

export interface Copies {
  readonly messages: BoxMessage[]
  readonly bytes: number
}

/** @param shares what of a payment is for whom @throws ERR_MESSAGE_BODY_TOO_LARGE */
export function copiesOf(
  { request, proof, signed, order }: Letter,
  {
    names,
    shares,
    routes,
    now,
  }: {
    names: readonly SentResult[]
    shares: ReadonlyMap<Key, Share> | undefined
    routes: Routes
    now: number
  },
): Copies {
  const { box, body } = request
  const hash = sha256Hex(body)
  // With a payment it is many times as much, and more than what was offered for sale before there was one.
  const isBare = order.payment === undefined && request.payment === undefined
  const isKept = isBare && signed.length * names.length <= copyLimits.signedBytes
  let bytes = 0
  const messages = names.map(({ recipient, messageId }) => {
    const payment = shares?.get(recipient)
    checkListed(body, payment)
    // What leaves is kept until it is there, and paid for.
    const kept = isKept || (isBare && routes.has(recipient)) ? signed : new Uint8Array()
    const content = encodeContent({ box, messageId, body, createdAt: now, proof, payment }, kept)
    bytes += content.length
    checkCopies(bytes)
    return { recipient, messageId, content, hash }
  })
  return { messages, bytes }
}

/** @throws ERR_MESSAGE_BODY_TOO_LARGE for more than one commit writes */
export function checkCopies(bytes: number): void {
  if (bytes > copyLimits.copiesBytes)
    throw tooLarge('the message is too large for so many recipients', copyLimits.copiesBytes)
}

/** A message that could not be listed would never be got rid of. */
function checkListed(body: string, payment: Share | undefined): void {
  // In JSON each byte becomes six at most, and each number of a payment four.
  const most = 6 * Buffer.byteLength(body) + 4 * (payment?.tx.length ?? 0)
  if (most <= copyLimits.listedBytes) return
  const text = listedBody({ body, ...(payment && { payment: { ...payment, tx: '' } }) })
  const bytes = Buffer.byteLength(JSON.stringify(text)) + 4 * (payment?.tx.length ?? 0)
  if (bytes > copyLimits.listedBytes)
    throw tooLarge('the message is too large to be listed', copyLimits.listedBytes)
}

const tooLarge = (why: string, limit: number): BoxError =>
  new BoxError('ERR_MESSAGE_BODY_TOO_LARGE', why, { limit, broadcast: false })
