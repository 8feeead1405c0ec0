/** The few scripts we write and recognise; everything else is bytes that an interpreter runs (spend.ts). */
import { concat } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { hash160 } from '../../market/hash.ts'

export const op = {
  false: 0x00,
  pushData1: 0x4c,
  pushData2: 0x4d,
  return: 0x6a,
  dup: 0x76,
  equalVerify: 0x88,
  hash160: 0xa9,
  checkSig: 0xac,
} as const

/** A minimal push of 2 to 65 535 bytes (one byte may have an opcode of its own). */
export function push(bytes: Uint8Array): Uint8Array {
  const { length } = bytes
  if (length < 2 || length > 0xffff) throw new MarketError('ERR_MALFORMED', `cannot push ${length} bytes`)
  if (length < op.pushData1) return concat(Uint8Array.of(length), bytes)
  if (length <= 0xff) return concat(Uint8Array.of(op.pushData1, length), bytes)
  return concat(Uint8Array.of(op.pushData2, length & 0xff, length >>> 8), bytes)
}

/** Pay to the hash of a compressed public key: 25 bytes. */
export const p2pkh = (publicKey: Uint8Array): Uint8Array => p2pkhOfHash(hash160(publicKey))

export const p2pkhOfHash = (hash: Uint8Array): Uint8Array =>
  concat(Uint8Array.of(op.dup, op.hash160, 20), hash, Uint8Array.of(op.equalVerify, op.checkSig))

/** The hash that a script pays to, if it is a P2PKH. */
export function p2pkhHash(script: Uint8Array): Uint8Array | undefined {
  const isP2pkh =
    script.length === 25 &&
    script[0] === op.dup &&
    script[1] === op.hash160 &&
    script[2] === 20 &&
    script[23] === op.equalVerify &&
    script[24] === op.checkSig
  return isP2pkh ? script.subarray(3, 23) : undefined
}

export const unlockP2pkh = (signature: Uint8Array, publicKey: Uint8Array): Uint8Array =>
  concat(push(signature), push(publicKey))

/** Largest script that `unlockP2pkh` makes: a signature of 72 bytes with its type, a key of 33. */
export const unlockP2pkhBytes = 1 + 72 + 1 + 33

/** Signature (with its last byte, the type) and key of a script that is exactly two plain pushes. */
export function parseP2pkhUnlock(
  script: Uint8Array,
): { signature: Uint8Array; publicKey: Uint8Array } | undefined {
  const length = script[0]
  if (length === undefined || length < 9 || length > 73 || script.length !== length + 35) return undefined
  if (script[length + 1] !== 33) return undefined
  return { signature: script.subarray(1, length + 1), publicKey: script.subarray(length + 2) }
}
