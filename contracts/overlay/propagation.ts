/**
 * A message that one host brings to another (BRC-34; docs/protocol.md §14.4): what its sender signed for the first, and how that is
 * linked to him. BRC-69 alone would let the host invent the link, so it proves that it follows from the point it shares with him.
 */
import { z } from 'zod'
import { equal, fromHex, toBase64, toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import {
  ANYONE_KEY,
  childPublicKey,
  invoiceNumber,
  keyOffset,
  type ProtocolID,
} from '../../market/identity.ts'
import { addToPublicKey, isPublicKey, verify } from '../../market/secp256k1.ts'
import { Key } from '../../market/units.ts'
import type { KeyWallet } from '../wallet/key-wallet.ts'
import { isLinkageProof, linkageProofBytes } from '../wallet/linkage.ts'

const protocols = {
  brc104: [2, 'auth message signature'],
  brc31: [2, 'authrite message signature'],
} as const satisfies Record<string, ProtocolID>

/** What the sender of a message signed when he gave it to a host. */
export interface SignedMessage {
  /** Of BRC-104 the whole request is signed, of BRC-31 its body. */
  readonly protocol: keyof typeof protocols
  /** DER, in hex. */
  readonly signature: string
  /** Of the sender and of the host: they name the key. */
  readonly nonce: string
  readonly yourNonce: string
  readonly signed: Uint8Array
}

/** For whom a message is brought, and its name, which its sender may have left to the host. */
export interface Brought {
  readonly sender: Key
  readonly recipient: Key
  readonly messageId: string
}

/** The body of `POST /propagateMessage`. @param keys of the host that the message was signed for */
export function propagationBody(
  keys: KeyWallet,
  { sender, recipient, messageId }: Brought,
  message: SignedMessage,
): string {
  const { shared, proof } = keys.linkage(sender)
  const { protocol, signature, nonce, yourNonce, signed } = message
  return JSON.stringify({
    originalSender: sender,
    keyLinkage: toHex(keyOffset(shared, invoiceOf(message))),
    signedMessage: toBase64(signed),
    senderSignature: signature,
    // What BRC-34 does not have.
    ...{ recipient, messageId, protocol, nonce, yourNonce },
    sharedSecret: toHex(shared),
    linkageProof: toHex(proof),
  })
}

const invoiceOf = ({ protocol, nonce, yourNonce }: Omit<SignedMessage, 'signed' | 'signature'>): string =>
  invoiceNumber(protocols[protocol], `${nonce} ${yourNonce}`)

/** Hex, base64 or numbers: BRC-34 does not say which. */
export const bytesField = (most: number) =>
  z.union([
    // Not an array of schemas: each of millions of bad elements would be an issue of its own.
    z
      .custom<number[]>((given) => Array.isArray(given) && given.length <= most && given.every(isByte))
      .transform((numbers) => Uint8Array.from(numbers)),
    z
      .string()
      .max(2 * most)
      .refine((text) => isHex(text) || /^[A-Za-z0-9+/]*={0,2}$/.test(text))
      .transform(
        (text): Uint8Array => (isHex(text) ? fromHex(text.toLowerCase()) : Buffer.from(text, 'base64')),
      ),
  ])
const isByte = (given: unknown): boolean =>
  typeof given === 'number' && given >= 0 && given <= 255 && Number.isInteger(given)
const isHex = (text: string): boolean => /^(?:[0-9a-f]{2})*$/i.test(text)
const exactly = (length: number) => bytesField(length).refine((found) => found.length === length)
const Nonce = z.string().regex(/^[A-Za-z0-9+/]{22,88}={0,2}$/)
const mostDer = 72

const Proof = z.object({
  protocol: z.enum(['brc104', 'brc31']),
  nonce: Nonce,
  yourNonce: Nonce,
  sharedSecret: exactly(33),
  linkageProof: exactly(linkageProofBytes),
})

/** @param mostBytes of what was signed */
export const propagation = (mostBytes: number) =>
  z
    .object({
      originalSender: z.string().toLowerCase().pipe(Key),
      keyLinkage: exactly(32),
      signedMessage: bytesField(mostBytes),
      senderSignature: bytesField(mostDer),
      recipient: z.string().toLowerCase().pipe(Key).optional(),
      messageId: z.string().optional(),
      ...Proof.partial().shape,
    })
    .transform(({ protocol, nonce, yourNonce, sharedSecret, linkageProof, ...plain }, context) => {
      const parts = { protocol, nonce, yourNonce, sharedSecret, linkageProof }
      const given = Object.values(parts).filter((part) => part !== undefined).length
      if (given > 0 && given < Object.keys(parts).length)
        context.addIssue({ code: 'custom', message: 'a proof of linkage has all of its parts' })
      // All of them are there.
      return { ...plain, proof: given === 0 ? undefined : (parts as z.infer<typeof Proof>) }
    })
export type Propagation = z.infer<ReturnType<typeof propagation>>

/**
 * What the sender of a message signed with; undefined where nothing links it to him. Without a proof it may be the caller's own
 * invention.
 * @param caller who brings it, as he has proved to be
 */
export function signingKey(given: Propagation, caller: Key): Uint8Array | undefined {
  const { originalSender: sender, keyLinkage, proof } = given
  if (sender === caller || sender === ANYONE_KEY || !isPublicKey(fromHex(sender))) return undefined
  try {
    if (proof === undefined) return addToPublicKey(fromHex(sender), keyLinkage)
    const { sharedSecret: shared, linkageProof } = proof
    if (!isLinkageProof({ prover: caller, counterparty: sender, shared }, linkageProof)) return undefined
    const invoice = invoiceOf(proof)
    return equal(keyOffset(shared, invoice), keyLinkage)
      ? childPublicKey(fromHex(sender), shared, invoice)
      : undefined
  } catch {
    // One of them is no point, or no scalar.
    return undefined
  }
}

/** Whether this was signed with that key. */
export const isSigned = ({ senderSignature, signedMessage }: Propagation, key: Uint8Array): boolean =>
  verify(senderSignature, sha256(signedMessage), key)
