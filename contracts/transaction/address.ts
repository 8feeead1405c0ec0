/** Addresses of P2PKH in base58check, which say whether they are of the main network. */
import { concat, equal } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { doubleSha256 } from '../../market/hash.ts'
import type { Network } from '../chain/chain.ts'
import { p2pkhOfHash } from './script.ts'

const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
/** All networks without money share one prefix. */
const prefixOf = (network: Network): number => (network === 'main' ? 0x00 : 0x6f)
const addressBytes = 25
const addressCharacters = 35

/** @param hash HASH160 of a compressed key */
export function formatCoinAddress(hash: Uint8Array, network: Network): string {
  const body = concat(Uint8Array.of(prefixOf(network)), hash)
  return base58(concat(body, doubleSha256(body).subarray(0, 4)))
}

/** The script that an address stands for. @throws ERR_MALFORMED, ERR_CONFLICT for an address of another network */
export function parseCoinAddress(address: string, network: Network): Uint8Array {
  const bytes = fromBase58(address)
  const body = bytes?.subarray(0, addressBytes - 4)
  if (
    bytes === undefined ||
    body === undefined ||
    !equal(doubleSha256(body).subarray(0, 4), bytes.subarray(-4))
  )
    throw new MarketError('ERR_MALFORMED', 'not an address: a character is wrong or missing')
  if (body[0] !== 0x00 && body[0] !== 0x6f) throw new MarketError('ERR_MALFORMED', 'not the address of a key')
  if (body[0] !== prefixOf(network))
    throw new MarketError('ERR_CONFLICT', `the address is not of the network ${network}`)
  return p2pkhOfHash(body.subarray(1))
}

function base58(bytes: Uint8Array): string {
  let number = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n)
  let text = ''
  for (; number > 0n; number /= 58n) text = alphabet[Number(number % 58n)] + text
  const zeros = bytes.findIndex((byte) => byte !== 0)
  return '1'.repeat(zeros < 0 ? bytes.length : zeros) + text
}

function fromBase58(text: string): Uint8Array | undefined {
  if (text.length > addressCharacters) return undefined
  let number = 0n
  for (const character of text) {
    const digit = alphabet.indexOf(character)
    if (digit < 0) return undefined
    number = number * 58n + BigInt(digit)
  }
  const bytes = new Uint8Array(addressBytes)
  for (let at = addressBytes - 1; at >= 0; at--, number >>= 8n) bytes[at] = Number(number & 0xffn)
  // One address has one spelling: as many ones as leading zeros, and no number that does not fit.
  return number === 0n && base58(bytes) === text ? bytes : undefined
}
