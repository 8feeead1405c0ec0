/** The BRC-100 methods that need no coins: keys, and what is known of the chain. */
import type * as sdk from '@bsv/sdk'
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import type { Chain } from '../chain/chain.ts'
import type { KeyWallet } from './key-wallet.ts'

export type WalletMethods = Pick<
  sdk.WalletInterface,
  | 'createAction'
  | 'signAction'
  | 'abortAction'
  | 'internalizeAction'
  | 'listOutputs'
  | 'relinquishOutput'
  | 'listActions'
  | 'getPublicKey'
  | 'createSignature'
  | 'verifySignature'
  | 'createHmac'
  | 'verifyHmac'
  | 'encrypt'
  | 'decrypt'
  | 'revealCounterpartyKeyLinkage'
  | 'revealSpecificKeyLinkage'
  | 'getHeight'
  | 'getHeaderForHeight'
  | 'getNetwork'
  | 'getVersion'
  | 'isAuthenticated'
  | 'waitForAuthentication'
>

const version = 'relay-0.1.0'

export class OwnMethods {
  readonly identity: Key
  readonly keys: KeyWallet
  readonly chain: Chain

  constructor({ keys, chain }: { keys: KeyWallet; chain: Chain }) {
    this.identity = keys.identity
    this.keys = keys
    this.chain = chain
  }

  getPublicKey(args: sdk.GetPublicKeyArgs) {
    return this.keys.getPublicKey(args)
  }

  createSignature(args: sdk.CreateSignatureArgs) {
    return this.keys.createSignature(args)
  }

  verifySignature(args: sdk.VerifySignatureArgs) {
    return this.keys.verifySignature(args)
  }

  createHmac(args: sdk.CreateHmacArgs) {
    return this.keys.createHmac(args)
  }

  verifyHmac(args: sdk.VerifyHmacArgs) {
    return this.keys.verifyHmac(args)
  }

  encrypt(args: sdk.WalletEncryptArgs) {
    return this.keys.encrypt(args)
  }

  decrypt(args: sdk.WalletDecryptArgs) {
    return this.keys.decrypt(args)
  }

  revealCounterpartyKeyLinkage(args: sdk.RevealCounterpartyKeyLinkageArgs) {
    return this.keys.revealCounterpartyKeyLinkage(args)
  }

  revealSpecificKeyLinkage(args: sdk.RevealSpecificKeyLinkageArgs) {
    return this.keys.revealSpecificKeyLinkage(args)
  }

  async getHeight(): Promise<sdk.GetHeightResult> {
    return { height: await this.chain.currentHeight() }
  }

  async getHeaderForHeight({ height }: sdk.GetHeaderArgs): Promise<sdk.GetHeaderResult> {
    const header = await this.chain.header(height)
    if (header === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no block of height ${height}`)
    return { header: toHex(header) }
  }

  /** BRC-100 knows two networks; money is on one of them. */
  async getNetwork(): Promise<sdk.GetNetworkResult> {
    return { network: this.chain.network === 'main' ? 'mainnet' : 'testnet' }
  }

  async getVersion(): Promise<sdk.GetVersionResult> {
    return { version }
  }

  async isAuthenticated(): Promise<sdk.AuthenticatedResult> {
    return { authenticated: true }
  }

  async waitForAuthentication(): Promise<sdk.AuthenticatedResult> {
    return { authenticated: true }
  }
}
