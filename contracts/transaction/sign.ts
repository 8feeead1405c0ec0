/** Signing for coins that one key may spend. */
import { concat } from '../../market/bytes.ts'
import { publicKeyOf, sign } from '../../market/secp256k1.ts'
import { unlockP2pkh } from './script.ts'
import { type SharedHashes, sharedHashes, sighash, sighashType } from './sighash.ts'
import type { Output, Transaction } from './transaction.ts'

/** Whoever has a key, whether or not it is shown. */
export interface Signer {
  readonly publicKey: Uint8Array
  /** A digest, into DER. */
  sign(digest: Uint8Array): Uint8Array
}

export const signerOf = (privateKey: Uint8Array): Signer => ({
  publicKey: publicKeyOf(privateKey),
  sign: (digest) => sign(digest, privateKey),
})

export interface Signing {
  /** What the input spends. */
  readonly spent: Output
  readonly signer: Signer
  readonly shared?: SharedHashes
}

/** Signature of input `index`, with its type behind it. */
export function signatureOf(
  transaction: Transaction,
  index: number,
  { spent, signer, shared = sharedHashes(transaction) }: Signing,
): Uint8Array {
  return concat(signer.sign(sighash(transaction, index, spent, { shared })), Uint8Array.of(sighashType))
}

/** The script that unlocks input `index`, which spends a P2PKH of the signer. */
export const signP2pkh = (transaction: Transaction, index: number, signing: Signing): Uint8Array =>
  unlockP2pkh(signatureOf(transaction, index, signing), signing.signer.publicKey)

/** The same transaction with every input signed, each of which spends a P2PKH of the signer. */
export function signAll(transaction: Transaction, spent: readonly Output[], signer: Signer): Transaction {
  const shared = sharedHashes(transaction)
  const inputs = transaction.inputs.map((input, index) => ({
    ...input,
    script: signP2pkh(transaction, index, { spent: spent[index]!, signer, shared }), // one for each input
  }))
  return { ...transaction, inputs }
}
