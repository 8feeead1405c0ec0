/** SHA-256 and its HMAC. One of the three files of the protocol layers that know the platform. */
import { createHash, createHmac } from 'node:crypto'

/** SHA-256 over the concatenation of `parts`; text counts as its UTF-8 bytes. */
export function sha256(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

export function hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array {
  return createHmac('sha256', key).update(data).digest()
}
