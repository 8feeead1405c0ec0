/** Proof of work on a text (docs/protocol.md §12.2): SHA-256(text ‖ 00 ‖ nonce in ASCII) begins with zero bits. */
import { z } from 'zod'
import { sha256 } from './hash.ts'

/** A decimal nonce without leading zero. */
export const Stamp = z.string().regex(/^(?:0|[1-9][0-9]{0,19})$/, 'not a decimal nonce')

export const stampDigest = (text: string, nonce: string): Uint8Array => sha256(`${text}\0${nonce}`)

/** 0–256. */
export function leadingZeroBits(digest: Uint8Array): number {
  const zeros = digest.findIndex((byte) => byte !== 0)
  return zeros === -1 ? digest.length * 8 : zeros * 8 + Math.clz32(digest[zeros]!) - 24
}
