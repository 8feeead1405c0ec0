/** Keys and derivation: BRC-42 children under the names of BRC-43 (docs/protocol.md §1). */
import { concat, fromHex, toUtf8 } from './bytes.ts'
import { MarketError } from './errors.ts'
import { hmacSha256 } from './hash.ts'
import { lru } from './lru.ts'
import { addToPrivateKey, addToPublicKey } from './secp256k1.ts'
import type { Key } from './units.ts'

/** A BRC-43 security level and the name of a protocol. */
export type ProtocolID = readonly [level: 0 | 1 | 2, name: string]

// Not `readonly`, because the WalletProtocol of BRC-100 wallets is not.
export const MESSAGE_PROTOCOL: [1, 'relay message'] = [1, 'relay message']
export const RECORD_PROTOCOL: [2, 'relay record'] = [2, 'relay record']
export const MESSAGE_KEY_ID = '1'

/** The private key everybody has, so that everybody can derive what its counterpart `anyone` stands for. */
export const anyonePrivateKey: Uint8Array = concat(new Uint8Array(31), Uint8Array.of(1))
export const ANYONE_KEY: Key = '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798'

/** How many message keys are remembered; about 20 MB when full, however many identities strangers invent. */
const rememberedMessageKeys = 65_536

/**
 * The BRC-42 invoice number of a BRC-43 key, by exactly the rules of @bsv/sdk's KeyDeriver.
 * @throws ERR_MALFORMED
 */
export function invoiceNumber([level, protocol]: ProtocolID, keyID: string): string {
  const name = protocol.toLowerCase().trim()
  const problem = levelProblem(level) ?? nameProblem(name) ?? keyIDProblem(keyID)
  if (problem !== undefined) throw new MarketError('ERR_MALFORMED', problem)
  return `${level}-${name}-${keyID}`
}

/**
 * The child of `publicKey` that its owner and the counterparty can both compute.
 * @param sharedPoint compressed product of one party's public and the other's private key
 * @throws ERR_MALFORMED unless `publicKey` is a compressed point on the curve.
 */
export function childPublicKey(publicKey: Uint8Array, sharedPoint: Uint8Array, invoice: string): Uint8Array {
  return addToPublicKey(publicKey, keyOffset(sharedPoint, invoice))
}

/** The private key of the `childPublicKey` of the same arguments. */
export function childPrivateKey(
  privateKey: Uint8Array,
  sharedPoint: Uint8Array,
  invoice: string,
): Uint8Array {
  return addToPrivateKey(privateKey, keyOffset(sharedPoint, invoice))
}

/** What BRC-42 adds to a key; all that BRC-69's revelation of one specific key reveals. */
export function keyOffset(sharedPoint: Uint8Array, invoice: string): Uint8Array {
  return hmacSha256(sharedPoint, toUtf8(invoice))
}

const messageInvoice = invoiceNumber(MESSAGE_PROTOCOL, MESSAGE_KEY_ID)

/**
 * The public key that verifies every message of `identity`. With counterparty `anyone`, whose private
 * key is 1, the shared point is the identity key itself. The result is shared: do not write to it.
 * @throws ERR_MALFORMED when `identity` is not a point on the curve.
 */
export const messageKey: (identity: Key) => Uint8Array = lru(rememberedMessageKeys, (identity) => {
  const publicKey = fromHex(identity)
  return childPublicKey(publicKey, publicKey, messageInvoice)
})

function levelProblem(level: number): string | undefined {
  return level === 0 || level === 1 || level === 2
    ? undefined
    : 'the security level of a protocol is 0, 1 or 2'
}

function nameProblem(name: string): string | undefined {
  // Only the revelation of a key linkage names another protocol inside its own name (BRC-72).
  const maximum = name.startsWith('specific linkage revelation ') ? 430 : 400
  if (name.length < 5 || name.length > maximum) return `a protocol name has 5 to ${maximum} characters`
  if (!/^[a-z0-9 ]+$/.test(name)) return 'a protocol name has only letters, digits and spaces'
  if (name.includes('  ')) return 'a protocol name has no two spaces in a row'
  if (name.endsWith(' protocol')) return 'a protocol name does not end with " protocol"'
  return undefined
}

function keyIDProblem(keyID: string): string | undefined {
  return keyID.length < 1 || keyID.length > 800 ? 'a key ID has 1 to 800 characters' : undefined
}
