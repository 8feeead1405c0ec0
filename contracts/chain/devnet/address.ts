/** Addresses of test networks: the only ones a devnet pays to, because its coins are not those of the main network. */
import { z } from 'zod'
import { equal, fromHex } from '../../../market/bytes.ts'
import { doubleSha256 } from '../../../market/hash.ts'
import { p2pkhOfHash } from '../../transaction/script.ts'

const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const testVersion = 0x6f
const hashBytes = 20
const checksumBytes = 4
const payloadBytes = 1 + hashBytes + checksumBytes

/** The P2PKH script of an address; undefined for what is none of a test network. */
export function scriptOfAddress(address: string): Uint8Array | undefined {
  if (!/^[1-9A-HJ-NP-Za-km-z]{26,35}$/.test(address)) return undefined
  let value = 0n
  for (const letter of address) value = value * 58n + BigInt(alphabet.indexOf(letter))
  const text = value.toString(16).padStart(2 * payloadBytes, '0')
  if (text.length > 2 * payloadBytes) return undefined
  const payload = fromHex(text)
  const body = payload.subarray(0, 1 + hashBytes)
  const isGood =
    payload[0] === testVersion &&
    equal(doubleSha256(body).subarray(0, checksumBytes), payload.subarray(1 + hashBytes))
  return isGood ? p2pkhOfHash(body.subarray(1)) : undefined
}

const mostScriptBytes = 10_000

/** Whom to pay: an address of a test network, or a locking script in hex. */
export const Payee = z
  .string()
  .max(2 * mostScriptBytes)
  .transform((text, context) => {
    const script = /^(?:[0-9a-f]{2})+$/.test(text) ? fromHex(text) : scriptOfAddress(text)
    if (script !== undefined) return script
    context.addIssue('neither an address of a test network nor a script in hex')
    return z.NEVER
  })
