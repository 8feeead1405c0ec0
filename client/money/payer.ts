/** What pays relays and is paid by them: any BRC-100 wallet, as far as that needs one. */
import type { WalletInterface } from '@bsv/sdk'
import type { Network } from '../../contracts/chain/chain.ts'
import type { RelayAddress } from '../../market/address.ts'

/** Proves who we are, over BRC-103. */
export type Prover = Pick<
  WalletInterface,
  'getPublicKey' | 'createSignature' | 'verifySignature' | 'createHmac' | 'verifyHmac'
>

export type Payer = Prover &
  Pick<
    WalletInterface,
    'createAction' | 'abortAction' | 'internalizeAction' | 'listActions' | 'listOutputs' | 'relinquishOutput'
  >

/** Money that is opened when it is needed, and not before: others may want it too. */
export interface Funds {
  /** Whose money it is, told without opening it. */
  network(): Promise<Network>
  /** The same each time; as new as the chain. */
  payer(): Promise<Payer>
}

/** Between whom money goes. */
export interface Parties {
  readonly relay: RelayAddress
  readonly funds: Funds
}
