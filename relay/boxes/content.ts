/**
 * What is kept of a message: the length of what it says (4 bytes) ‖ that, as JSON ‖ what its sender signed. A payment is
 * kept in base64, and listed as the array of numbers that wallets take.
 */
import { fromUtf8, toBase64, utf8Length } from '../../market/bytes.ts'
import type { Key } from '../../market/units.ts'
import { damaged } from '../store/codec.ts'

/** What its sender signed when he sent it (BRC-104, BRC-31; BRC-103 over a socket), for whoever has to show it to others. */
export interface Proof {
  readonly protocol: 'brc104' | 'brc31' | 'brc103'
  /** Hex, by the sender's key of `nonce` and `yourNonce`. */
  readonly signature: string
  readonly nonce: string
  readonly yourNonce: string
  /** SHA-256 of what was signed, in hex. */
  readonly digest: string
  /** Whom it was signed for, where another host brought it. */
  readonly host?: Key | undefined
  /** How the sender's keys for that host are linked to him (BRC-94), in hex: nobody else could check the signature. */
  readonly linkage?: { readonly shared: string; readonly proof: string } | undefined
}

/** Of a payment what is for one recipient. */
export interface Share {
  /** Atomic BEEF. */
  readonly tx: Uint8Array
  readonly outputs: readonly unknown[]
  readonly description: string
}

export interface Said {
  readonly box: string
  readonly messageId: string
  /** As JSON. */
  readonly body: string
  readonly createdAt: number
  /** Absent of what this relay says itself. */
  readonly proof?: Proof | undefined
  readonly payment?: Share | undefined
}

const lengthBytes = 4

/** @param signed the bytes of the proof; empty where they are not kept */
export function encodeContent({ payment, ...said }: Said, signed: Uint8Array): Buffer {
  const share = payment && { ...payment, tx: toBase64(payment.tx) }
  const { body, box, createdAt, messageId, proof } = said
  const head = JSON.stringify({ body, box, createdAt, messageId, ...(share && { payment: share }), proof })
  const headBytes = utf8Length(head)
  const content = Buffer.allocUnsafe(lengthBytes + headBytes + signed.length)
  content.writeUInt32BE(headBytes, 0)
  content.write(head, lengthBytes)
  content.set(signed, lengthBytes + headBytes)
  return content
}

/** A message and, where they were kept, the bytes that its sender signed. */
export function decodeContent(content: Buffer): Omit<Said, 'payment'> & {
  readonly payment?: Omit<Share, 'tx'> & { readonly tx: string }
  readonly signed: Buffer
} {
  const end = content.length < lengthBytes ? Number.POSITIVE_INFINITY : lengthBytes + content.readUInt32BE(0)
  if (end > content.length) throw damaged('a message in a box ends too early')
  return { ...JSON.parse(fromUtf8(content.subarray(lengthBytes, end))), signed: content.subarray(end) }
}

/** What a listing says of a body: JSON of the message, and of the payment that came with it. */
export function listedBody({
  body,
  payment,
}: Pick<ReturnType<typeof decodeContent>, 'body' | 'payment'>): string {
  if (payment === undefined) return `{"message":${body}}`
  const tx = [...Buffer.from(payment.tx, 'base64')]
  return `{"message":${body},"payment":${JSON.stringify({ ...payment, tx })}}`
}
