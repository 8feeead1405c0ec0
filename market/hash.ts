/** SHA-256, its HMAC, and the hashes of Bitcoin. One of the three files of the protocol layers that know the platform. */
import { createHmac, createHash, hash } from 'node:crypto'

/** SHA-256 over the concatenation of `parts`; text counts as its UTF-8 bytes. */
export function sha256(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const [only] = parts
  // One call into the library costs half of what an object with a life of its own costs.
  if (parts.length === 1 && only !== undefined) return hash('sha256', only, 'buffer')
  const hashing = createHash('sha256')
  for (const part of parts) hashing.update(part)
  return hashing.digest()
}

/**
 * `sha256`, written into `target`: where hashes follow one another by the million, buffers of their own cost more than
 * hashing.
 */
export function sha256Into(target: Uint8Array, offset: number, data: Uint8Array | string): void {
  const digest = hash('sha256', data, 'binary')
  for (let index = 0; index < digest.length; index++) target[offset + index] = digest.charCodeAt(index)
}

/** `sha256` of one text, in lower-case hex: the name of a message. */
export const sha256Hex = (text: string): string => hash('sha256', text, 'hex')

export function hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array {
  return createHmac('sha256', key).update(data).digest()
}

/** The hash of transactions, blocks and their trees. */
export const doubleSha256 = (bytes: Uint8Array): Uint8Array =>
  hash('sha256', hash('sha256', bytes, 'buffer'), 'buffer')

/** The hash of a public key that a P2PKH script pays to. */
export const hash160 = (bytes: Uint8Array): Uint8Array =>
  createHash('ripemd160')
    .update(hash('sha256', bytes, 'buffer'))
    .digest()
