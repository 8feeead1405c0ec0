/** What an embedded wallet is made of; its files take what they need of it. */
import type { Chain } from '../chain/chain.ts'
import type { CoinStore } from './coins/store.ts'
import type { Flights } from './actions/flights.ts'
import type { KeyWallet } from './key-wallet.ts'

export interface WalletParts {
  readonly keys: KeyWallet
  readonly store: CoinStore
  readonly chain: Chain
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** How long the coins of a transaction that is not signed yet wait for it. */
  readonly reservedMs: number
  readonly flights: Flights
}
