/**
 * A wallet over one private key: the cryptographic part of BRC-100, byte for byte what @bsv/sdk's ProtoWallet
 * computes, at the speed of the native curve and node:crypto. It refuses a little more: keys that are not
 * compressed, hashes that are not 32 bytes, signatures that are not strict DER with low S.
 */
import { createCipheriv, createDecipheriv, randomBytes, timingSafeEqual } from 'node:crypto'
import type * as sdk from '@bsv/sdk'
import { concat, fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { hmacSha256 } from '../../market/hash.ts'
import {
  ANYONE_KEY,
  childPrivateKey,
  childPublicKey,
  invoiceNumber,
  keyOffset,
  MESSAGE_KEY_ID,
  MESSAGE_PROTOCOL,
  type ProtocolID,
} from '../../market/identity.ts'
import { lru } from '../../market/lru.ts'
import * as curve from '../../market/secp256k1.ts'
import { Key } from '../../market/units.ts'
import { type Signer, signerOf } from '../transaction/sign.ts'
import { digestOf, walletError } from './brc100.ts'
import { proveLinkage } from './linkage.ts'

/** Names a key: a BRC-43 protocol and key ID, and the other party: `self`, `anyone` or a compressed key in hex. */
export interface KeyName {
  readonly protocolID: ProtocolID
  readonly keyID: string
  readonly counterparty?: string
}

type Cryptography = Pick<
  sdk.WalletInterface,
  | 'getPublicKey'
  | 'createSignature'
  | 'verifySignature'
  | 'createHmac'
  | 'verifyHmac'
  | 'encrypt'
  | 'decrypt'
  | 'revealCounterpartyKeyLinkage'
  | 'revealSpecificKeyLinkage'
>

const rememberedCounterparties = 10_000
const ivBytes = 32
const tagBytes = 16

export class KeyWallet implements Cryptography {
  readonly identity: Key
  readonly #privateKey: Uint8Array
  readonly #messageKey: Uint8Array
  readonly #sharedPoint: (publicKey: Key) => Uint8Array

  /** @throws ERR_MALFORMED unless the 32 bytes are a private key. They are copied. */
  constructor(privateKey: Uint8Array) {
    const key = Uint8Array.from(privateKey)
    this.#privateKey = key
    this.identity = toHex(curve.publicKeyOf(key))
    this.#sharedPoint = lru(rememberedCounterparties, (publicKey) => curve.multiply(fromHex(publicKey), key))
    const messages = { protocolID: MESSAGE_PROTOCOL, keyID: MESSAGE_KEY_ID, counterparty: 'anyone' }
    this.#messageKey = this.#childPrivateKey(messages)
  }

  static random(): KeyWallet {
    return new KeyWallet(randomBytes(32))
  }

  /** Signs the digest of a message (docs/protocol.md §2): this makes a wallet a `Signer`. */
  sign(digest: Uint8Array): Uint8Array {
    return curve.sign(digest, this.#messageKey)
  }

  /** A derived key of ours as its public half and what it signs, for whoever signs without arrays of numbers. */
  ownKey(name: KeyName): Signer {
    return signerOf(this.#childPrivateKey(name))
  }

  /** Of a key whose public half everybody derives, by its bare invoice number: BRC-34 has one that BRC-43 would not allow. */
  openKey(invoice: string): Signer {
    return signerOf(childPrivateKey(this.#privateKey, fromHex(this.identity), invoice))
  }

  /** BRC-3 over digests and bytes, where arrays would cost too much. `verify` is false for what is no signature. */
  signatures(name: KeyName) {
    const verify = (der: Uint8Array, digest: Uint8Array) => {
      const other = this.#keyOf(name.counterparty)
      const tweak = keyOffset(this.#sharedPoint(other), invoiceNumber(name.protocolID, name.keyID))
      return curve.verifyTweaked(der, digest, { publicKey: fromHex(other), tweak })
    }
    return { sign: (digest: Uint8Array) => curve.sign(digest, this.#childPrivateKey(name)), verify }
  }

  /** The point shared with another party, which opens every public key of the two, and that it is that (BRC-94). */
  linkage(counterparty: Key): { readonly shared: Uint8Array; readonly proof: Uint8Array } {
    const shared = this.#sharedPoint(counterparty)
    const proof = proveLinkage({ prover: this.identity, counterparty, shared }, this.#privateKey)
    return { shared, proof }
  }

  /**
   * BRC-2: 32-byte IV ‖ ciphertext ‖ 16-byte tag. The counterparty is `self` unless named.
   * @throws ERR_MALFORMED for an empty plaintext: a record is never empty.
   */
  encryptBytes(plaintext: Uint8Array, name: KeyName): Uint8Array {
    if (plaintext.length === 0) throw new MarketError('ERR_MALFORMED', 'there is nothing to encrypt')
    const iv = randomBytes(ivBytes)
    const cipher = createCipheriv('aes-256-gcm', this.#symmetricKey(name), iv)
    return concat(iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag())
  }

  /** @throws ERR_MALFORMED unless `encryptBytes` of the counterparty made exactly these bytes under this name. */
  decryptBytes(bytes: Uint8Array, name: KeyName): Uint8Array {
    if (bytes.length <= ivBytes + tagBytes)
      throw new MarketError('ERR_MALFORMED', 'the ciphertext is too short')
    const iv = bytes.subarray(0, ivBytes)
    const decipher = createDecipheriv('aes-256-gcm', this.#symmetricKey(name), iv, {
      authTagLength: tagBytes,
    })
    decipher.setAuthTag(bytes.subarray(-tagBytes))
    try {
      return concat(decipher.update(bytes.subarray(ivBytes, -tagBytes)), decipher.final())
    } catch (cause) {
      throw new MarketError('ERR_MALFORMED', 'the ciphertext does not decrypt with this key', { cause })
    }
  }

  async getPublicKey(args: sdk.GetPublicKeyArgs): Promise<sdk.GetPublicKeyResult> {
    if (args.identityKey) return { publicKey: this.identity }
    const { protocolID, keyID, counterparty = 'self', forSelf } = args
    if (protocolID === undefined || keyID === undefined)
      throw new MarketError('ERR_MALFORMED', 'a derived key needs a protocolID and a keyID')
    return { publicKey: toHex(this.#childPublicKey({ protocolID, keyID, counterparty }, forSelf)) }
  }

  /** Signs for `anyone` unless a counterparty is named, as BRC-100 has it. */
  async createSignature(args: sdk.CreateSignatureArgs): Promise<sdk.CreateSignatureResult> {
    const digest = digestOf(args.data, args.hashToDirectlySign)
    const key = this.#childPrivateKey({ ...args, counterparty: args.counterparty ?? 'anyone' })
    return { signature: [...curve.sign(digest, key)] }
  }

  /** @throws an error with the code ERR_INVALID_SIGNATURE, which callers of BRC-100 wallets look for. */
  async verifySignature(args: sdk.VerifySignatureArgs): Promise<sdk.VerifySignatureResult> {
    const digest = digestOf(args.data, args.hashToDirectlyVerify)
    const key = this.#childPublicKey(args, args.forSelf)
    if (!curve.verify(Uint8Array.from(args.signature), digest, key)) {
      throw walletError('the signature is not valid', 'ERR_INVALID_SIGNATURE')
    }
    return { valid: true }
  }

  async createHmac(args: sdk.CreateHmacArgs): Promise<sdk.CreateHmacResult> {
    return { hmac: [...this.#hmac(args)] }
  }

  /** @throws an error with the code ERR_INVALID_HMAC, which callers of BRC-100 wallets look for. */
  async verifyHmac(args: sdk.VerifyHmacArgs): Promise<sdk.VerifyHmacResult> {
    const given = Uint8Array.from(args.hmac)
    const expected = this.#hmac(args)
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw walletError('the HMAC is not valid', 'ERR_INVALID_HMAC')
    }
    return { valid: true }
  }

  async encrypt(args: sdk.WalletEncryptArgs): Promise<sdk.WalletEncryptResult> {
    return { ciphertext: [...this.encryptBytes(Uint8Array.from(args.plaintext), args)] }
  }

  async decrypt(args: sdk.WalletDecryptArgs): Promise<sdk.WalletDecryptResult> {
    return { plaintext: [...this.decryptBytes(Uint8Array.from(args.ciphertext), args)] }
  }

  /** BRC-69 method 1 with the proof of BRC-94, encrypted to the verifier (BRC-72). */
  async revealCounterpartyKeyLinkage(
    args: sdk.RevealCounterpartyKeyLinkageArgs,
  ): Promise<sdk.RevealCounterpartyKeyLinkageResult> {
    const { counterparty, verifier } = args
    const other = this.#keyOf(counterparty)
    // The point shared with oneself opens every key of `self`; `anyone` is no party that could agree to it.
    if (other === this.identity || counterparty === 'anyone') {
      throw new MarketError('ERR_MALFORMED', 'a linkage is revealed only for the key of another party')
    }
    const { shared: linkage, proof } = this.linkage(other)
    const revelationTime = new Date().toISOString()
    const name: KeyName = {
      protocolID: [2, 'counterparty linkage revelation'],
      keyID: revelationTime,
      counterparty: verifier,
    }
    return { ...this.#revelation(linkage, proof, name), verifier, counterparty, revelationTime }
  }

  /** BRC-69 method 2, encrypted to the verifier (BRC-72). There is no proof of it: type 0. */
  async revealSpecificKeyLinkage(
    args: sdk.RevealSpecificKeyLinkageArgs,
  ): Promise<sdk.RevealSpecificKeyLinkageResult> {
    const { counterparty, verifier, protocolID, keyID } = args
    const linkage = keyOffset(this.#sharedPoint(this.#keyOf(counterparty)), invoiceNumber(protocolID, keyID))
    const name: KeyName = {
      protocolID: [2, `specific linkage revelation ${protocolID[0]} ${protocolID[1]}`],
      keyID,
      counterparty: verifier,
    }
    const revelation = this.#revelation(linkage, Uint8Array.of(0), name)
    return { ...revelation, verifier, counterparty, protocolID, keyID, proofType: 0 }
  }

  #revelation(linkage: Uint8Array, proof: Uint8Array, name: KeyName) {
    return {
      prover: this.identity,
      encryptedLinkage: [...this.encryptBytes(linkage, name)],
      encryptedLinkageProof: [...this.encryptBytes(proof, name)],
    }
  }

  #keyOf(counterparty = 'self'): Key {
    if (counterparty === 'self') return this.identity
    if (counterparty === 'anyone') return ANYONE_KEY
    const key = Key.safeParse(counterparty.toLowerCase())
    if (key.success) return key.data
    throw new MarketError('ERR_MALFORMED', 'the counterparty is neither self nor anyone nor a public key')
  }

  #childPublicKey({ protocolID, keyID, counterparty }: KeyName, forSelf = false): Uint8Array {
    const other = this.#keyOf(counterparty)
    const parent = fromHex(forSelf ? this.identity : other)
    return childPublicKey(parent, this.#sharedPoint(other), invoiceNumber(protocolID, keyID))
  }

  #childPrivateKey({ protocolID, keyID, counterparty }: KeyName): Uint8Array {
    const shared = this.#sharedPoint(this.#keyOf(counterparty))
    return childPrivateKey(this.#privateKey, shared, invoiceNumber(protocolID, keyID))
  }

  /** X of the point shared by the two children (BRC-2; its text says a hash of X and Y, its vectors and everybody X). */
  #symmetricKey(name: KeyName): Uint8Array {
    return curve.multiply(this.#childPublicKey(name), this.#childPrivateKey(name)).subarray(1)
  }

  #hmac(args: sdk.CreateHmacArgs): Uint8Array {
    const key = this.#symmetricKey(args)
    // BRC-100 wallets key this HMAC with the number, without leading zeros; another length is another HMAC.
    return hmacSha256(key.subarray(key.findIndex((byte) => byte !== 0)), Uint8Array.from(args.data))
  }
}
