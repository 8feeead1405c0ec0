/**
 * What is kept of a message: what it says, packed with what its sender signed. A payment is kept in base64, and listed as the
 * array of numbers that wallets take.
 */
import { toBase64 } from '../../market/bytes.ts'
import type { Key } from '../../market/units.ts'
import { pack, unpack } from '../store/packed.ts'

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

interface KeptMessage extends Omit<Said, 'payment'> {
  readonly payment?: Omit<Share, 'tx'> & { readonly tx: string }
}

/** @param signed the bytes of the proof; empty where they are not kept */
export function encodeContent({ payment, ...said }: Said, signed: Uint8Array): Buffer {
  const share = payment && { ...payment, tx: toBase64(payment.tx) }
  const { body, box, createdAt, messageId, proof } = said
  return pack({ body, box, createdAt, messageId, ...(share && { payment: share }), proof }, signed)
}

/** A message and, where they were kept, the bytes that its sender signed. */
export function decodeContent(content: Buffer): KeptMessage & { readonly signed: Buffer } {
  const { json, bytes: signed } = unpack(content)
  return { ...(json as KeptMessage), signed } // as it was encoded
}

/** What a listing says of a body: JSON of the message, and of the payment that came with it. */
export function listedBody({ body, payment }: Pick<KeptMessage, 'body' | 'payment'>): string {
  if (payment === undefined) return `{"message":${body}}`
  const tx = [...Buffer.from(payment.tx, 'base64')]
  return `{"message":${body},"payment":${JSON.stringify({ ...payment, tx })}}`
}
