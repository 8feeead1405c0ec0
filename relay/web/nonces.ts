/** Random nonces in base64. Randomness is drawn in stock, since asking the system for it costs as much as a signature. */
import { randomFillSync } from 'node:crypto'

/** Of every answer: each is signed with a key of its own (BRC-103). */
export const answerNonceBytes = 32
/** Of sessions: as long as those that clients make. */
export const sessionNonceBytes = 48

const stock = Buffer.allocUnsafeSlow(8192)
let used = stock.length

/** `bytes` random bytes, each given out once. @param bytes at most 8192 */
export function newNonce(bytes: number): string {
  if (used + bytes > stock.length) {
    randomFillSync(stock)
    used = 0
  }
  const nonce = stock.toString('base64', used, used + bytes)
  used += bytes
  return nonce
}
