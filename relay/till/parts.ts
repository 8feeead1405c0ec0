/** What a till is made of; its files take what they need of it. */
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import type { Store } from '../store/store.ts'

export interface TillParts {
  readonly store: Store
  /** Of the relay; its coins may be under recovery. @throws ERR_BUSY then */
  readonly wallet: () => EmbeddedWallet
  readonly keys: KeyWallet
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Satoshi of credit that may rest on payments of one payer that are in no block yet. */
  readonly zeroConfLimit: number
  /** @throws ERR_BUSY where the disk has no room for so many bytes, or the clock is not trusted */
  readonly admit: (bytes: number) => void
  readonly log: { warn(facts: object, message: string): void }
}
