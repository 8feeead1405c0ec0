/**
 * The derivation prefixes that this relay gave out. Each says by itself for whom and when, so none is remembered, and money
 * that comes late is still money.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { concat, fromBase64, toBase64, toHex, toUtf8 } from '../../market/bytes.ts'
import { hmacSha256 } from '../../market/hash.ts'
import type { Key } from '../../market/units.ts'

/** No part of the text but base64 digits: all three are a multiple of three. */
const randomLength = 9
const timeLength = 6
const tagLength = 24

export class Prefixes {
  readonly #secret: Uint8Array
  readonly #now: () => number

  private constructor(secret: Uint8Array, now: () => number) {
    this.#secret = secret
    this.#now = now
  }

  /** Of a key that the relay's own leads to, so that a restart forgets none. */
  static async open(keys: KeyWallet, now: () => number): Promise<Prefixes> {
    const name = { protocolID: [2, 'relay payment prefix'] as [2, string], keyID: '1', counterparty: 'self' }
    const { hmac } = await keys.createHmac({ ...name, data: [...toUtf8('derivation prefix')] })
    return new Prefixes(Uint8Array.from(hmac), now)
  }

  make(payer: Key): string {
    const facts = Buffer.alloc(randomLength + timeLength)
    facts.set(randomBytes(randomLength))
    facts.writeUIntBE(this.#now(), randomLength, timeLength)
    return toBase64(concat(facts, this.#tag(payer, facts)))
  }

  /** When it was given to this payer, milliseconds; undefined where it was not. */
  issuedAt(payer: Key, prefix: string): number | undefined {
    const bytes = bytesOf(prefix)
    if (bytes === undefined) return undefined
    const facts = bytes.subarray(0, -tagLength)
    if (!timingSafeEqual(bytes.subarray(-tagLength), this.#tag(payer, facts))) return undefined
    return facts.readUIntBE(randomLength, timeLength)
  }

  #tag(payer: Key, facts: Uint8Array): Uint8Array {
    return hmacSha256(this.#secret, toUtf8(`${payer} ${toHex(facts)}`)).subarray(0, tagLength)
  }
}

function bytesOf(prefix: string): Buffer | undefined {
  if (prefix.length !== ((randomLength + timeLength + tagLength) * 4) / 3) return undefined
  try {
    return Buffer.from(fromBase64(prefix))
  } catch {
    return undefined // of somebody else's making
  }
}
