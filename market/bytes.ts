/**
 * Bytes to text and back. One of the three files of the protocol layers that know the platform
 * (with hash.ts and secp256k1.ts): a browser build replaces these three and nothing else.
 */
import { isUtf8 } from 'node:buffer'
import { MarketError } from './errors.ts'

const view = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export const toHex = (bytes: Uint8Array): string => view(bytes).toString('hex')

/** @throws ERR_MALFORMED unless `text` is an even number of lower-case hex digits. */
export function fromHex(text: string): Uint8Array {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) throw new MarketError('ERR_MALFORMED', 'not lower-case hex')
  return Buffer.from(text, 'hex')
}

export const toBase64 = (bytes: Uint8Array): string => view(bytes).toString('base64')

/** @throws ERR_MALFORMED unless `text` is the one standard, padded base64 spelling of some bytes. */
export function fromBase64(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) throw new MarketError('ERR_MALFORMED', 'not standard padded base64')
  return bytes
}

export const toUtf8 = (text: string): Uint8Array => Buffer.from(text, 'utf8')

/** @throws ERR_MALFORMED when `bytes` are not valid UTF-8: a lossy decoding would give two messages one text. */
export function fromUtf8(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw new MarketError('ERR_MALFORMED', 'not valid UTF-8')
  return view(bytes).toString('utf8')
}

export const utf8Length = (text: string): number => Buffer.byteLength(text, 'utf8')

export const concat = (...parts: readonly Uint8Array[]): Uint8Array => Buffer.concat(parts)

export const equal = (a: Uint8Array, b: Uint8Array): boolean => view(a).equals(view(b))
