/** A host that wants others to take its own words for those of somebody who once sent it a message. */
import { propagationBody, type SignedMessage } from '../../contracts/overlay/propagation.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { toBase64, toHex, toUtf8 } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { forged, type Known } from '../fixtures/forgery.ts'

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

/** The body that BRC-34 has, with other words under the same signature. */
export function forge(sender: KeyWallet, given: SignedMessage, words: string): Promise<Known> {
  const brought = { sender: sender.identity, recipient: sender.identity, messageId: 'one' }
  return forged(JSON.parse(propagationBody(forger, brought, given)) as Known, toUtf8(words))
}
