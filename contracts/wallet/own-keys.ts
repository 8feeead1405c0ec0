/** Which keys are a wallet's own, and what locks coins to them. */
import { p2pkh } from '../transaction/script.ts'
import type { KeyKind, OwnKey } from './coins/rows.ts'
import type { KeyWallet } from './key-wallet.ts'

/** Key `number` of a kind: whoever has the private key finds it again by counting. */
export const countedKey = (kind: KeyKind, number: number): OwnKey => ({
  protocolID: [2, `relay wallet ${kind}`],
  keyID: String(number),
  counterparty: 'self',
})

/** The key that a BRC-29 payment goes to. `counterparty` is the other one: the sender in the view of the receiver. */
export const paymentKey = (
  { derivationPrefix, derivationSuffix }: { derivationPrefix: string; derivationSuffix: string },
  counterparty: string,
): OwnKey => ({
  protocolID: [2, '3241645161d8'],
  keyID: `${derivationPrefix} ${derivationSuffix}`,
  counterparty,
})

/** P2PKH to one of our keys. */
export const ownScript = (keys: KeyWallet, name: OwnKey): Uint8Array => p2pkh(keys.ownKey(name).publicKey)
