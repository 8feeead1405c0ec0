/** A host that wants others to take its own words for those of somebody who once sent it a message. */
import { propagationBody, type SignedMessage } from '../../contracts/overlay/propagation.ts'
import { loadSdk } from '../../contracts/transaction/sdk.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { fromHex, toBase64, toHex, toUtf8 } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'

export const forger = KeyWallet.random()

/** What `sender` gave the forger once. */
export function signedFor(sender: KeyWallet, text: string): SignedMessage {
  const [nonce, yourNonce] = [toBase64(sha256('one')), toBase64(sha256('two'))]
  const name = {
    protocolID: [2, 'authrite message signature'] as [2, string],
    keyID: `${nonce} ${yourNonce}`,
  }
  const { sign } = sender.signatures({ ...name, counterparty: forger.identity })
  const signed = toUtf8(text)
  return { protocol: 'brc31', signature: toHex(sign(sha256(signed))), nonce, yourNonce, signed }
}

/**
 * The body that BRC-34 has, with other words under the same signature: who may choose the linkage chooses one under which it
 * verifies. The key is sender + linkage · G, and for a signature (r, s) only hash + r · linkage counts.
 */
export async function forge(sender: KeyWallet, given: SignedMessage, words: string) {
  const { BigNumber, Curve, Signature } = await loadSdk()
  const order = new Curve().n
  const number = (hex: string) => new BigNumber(hex, 16)
  const hash = (bytes: Uint8Array) => number(toHex(sha256(bytes)))
  const brought = { sender: sender.identity, recipient: sender.identity, messageId: 'one' }
  const { keyLinkage } = JSON.parse(propagationBody(forger, brought, given)) as { keyLinkage: string }
  const { r } = Signature.fromDER([...fromHex(given.signature)])
  const signed = toUtf8(words)
  const shift = hash(given.signed).sub(hash(signed)).mul(r.invm(order))
  return {
    originalSender: sender.identity,
    keyLinkage: number(keyLinkage).add(shift).umod(order).toHex(32),
    signedMessage: toBase64(signed),
    senderSignature: given.signature,
  }
}
