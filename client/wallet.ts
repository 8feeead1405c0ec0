/** What the client needs of a wallet, and how any BRC-100 wallet gives it (docs/protocol.md §1). */
import type { WalletInterface } from '@bsv/sdk'
import type { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import type { Signer } from '../market/envelope.ts'
import { MarketError } from '../market/errors.ts'
import { MESSAGE_KEY_ID, MESSAGE_PROTOCOL, RECORD_PROTOCOL } from '../market/identity.ts'
import { Key } from '../market/units.ts'

/** Which record, between whom: with BRC-2 both ends name the same key by naming each other. */
export interface RecordKey {
  readonly recordId: string
  readonly counterparty: Key
}

/** Signs messages and opens record contents; never shows a key. */
export interface Wallet extends Signer {
  encrypt(plaintext: Uint8Array, key: RecordKey): Uint8Array | Promise<Uint8Array>
  /** @throws ERR_MALFORMED when the ciphertext was not made under this key; anything else says that the wallet failed. */
  decrypt(ciphertext: Uint8Array, key: RecordKey): Uint8Array | Promise<Uint8Array>
}

const named = ({ recordId, counterparty }: RecordKey) => ({
  protocolID: [...RECORD_PROTOCOL] as [2, string],
  keyID: recordId,
  counterparty,
})

/** The embedded wallet, without detours through arrays of numbers. */
export const fromKeyWallet = (wallet: KeyWallet): Wallet => ({
  identity: wallet.identity,
  sign: (digest) => wallet.sign(digest),
  encrypt: (plaintext, key) => wallet.encryptBytes(plaintext, named(key)),
  decrypt: (ciphertext, key) => wallet.decryptBytes(ciphertext, named(key)),
})

/** What of a BRC-100 wallet this client calls. */
export type Brc100 = Pick<
  WalletInterface,
  | 'getPublicKey'
  | 'createSignature'
  | 'verifySignature'
  | 'createHmac'
  | 'verifyHmac'
  | 'encrypt'
  | 'decrypt'
  | 'getNetwork'
  | 'createAction'
  | 'abortAction'
  | 'internalizeAction'
  | 'listOutputs'
  | 'relinquishOutput'
  | 'listActions'
>

/** Who has the key of this identity, and so its money: this home, or a wallet outside of it. */
export type Holder =
  | { readonly kind: 'home'; readonly keys: KeyWallet }
  | { readonly kind: 'brc100'; readonly wallet: Brc100; readonly name: string }

type Signing = Pick<WalletInterface, 'getPublicKey' | 'createSignature' | 'encrypt' | 'decrypt'>

/** Any BRC-100 wallet. @throws ERR_MALFORMED style errors of the wallet itself. */
export async function fromBrc100(wallet: Signing): Promise<Wallet> {
  const { publicKey } = await wallet.getPublicKey({ identityKey: true })
  return {
    identity: Key.parse(publicKey),
    sign: async (digest) => {
      const { signature } = await wallet.createSignature({
        hashToDirectlySign: [...digest],
        protocolID: [...MESSAGE_PROTOCOL],
        keyID: MESSAGE_KEY_ID,
        counterparty: 'anyone',
      })
      return Uint8Array.from(signature)
    },
    encrypt: async (plaintext, key) => {
      const { ciphertext } = await wallet.encrypt({ plaintext: [...plaintext], ...named(key) })
      return Uint8Array.from(ciphertext)
    },
    decrypt: async (bytes, key) => {
      try {
        const { plaintext } = await wallet.decrypt({ ciphertext: [...bytes], ...named(key) })
        return Uint8Array.from(plaintext)
      } catch (cause) {
        if (!(await works(wallet, key))) throw cause
        throw new MarketError('ERR_MALFORMED', 'the content does not decrypt', { cause })
      }
    },
  }
}

/**
 * Whether the wallet does its work under this key now. BRC-100 has no code for "does not decrypt"; a wallet that
 * opens what it just sealed is neither locked nor gone, so the fault was the ciphertext's.
 */
async function works(wallet: Signing, key: RecordKey): Promise<boolean> {
  try {
    const { ciphertext } = await wallet.encrypt({ plaintext: [1], ...named(key) })
    return (await wallet.decrypt({ ciphertext, ...named(key) })).plaintext[0] === 1
  } catch {
    return false
  }
}
