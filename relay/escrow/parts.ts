/** What contracts are kept with; the files of this folder take what they need of it. */
import type { Network } from '../../contracts/chain/chain.ts'
import { type Contract, contractOf } from '../../contracts/escrow/contract.ts'
import { escrowKeys } from '../../contracts/escrow/keys.ts'
import { contractIdOf, type Terms } from '../../contracts/escrow/terms.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { putBounded } from '../../market/lru.ts'
import type { Hash, Prices } from '../../market/units.ts'
import type { Store } from '../store/store.ts'
import type { PaymentLog } from './payment-log.ts'
import type { Policy } from './policy-options.ts'

export interface EscrowParts {
  readonly store: Store
  /** Of the relay; its coins may be under recovery. @throws ERR_BUSY then */
  readonly wallet: () => EmbeddedWallet
  readonly keys: KeyWallet
  readonly network: Network
  /** Milliseconds since 1970. */
  readonly now: () => number
  readonly policy: Policy
  /** What records cost now: what new terms must say. */
  readonly prices: () => Prices
  readonly payments: PaymentLog
  /** From 0 up to 1, for moments that nobody can plan for. */
  readonly random: () => number
  /** @throws ERR_BUSY where the disk has no room for so many bytes, or the clock is not trusted */
  readonly admit: (bytes: number) => void
  /** @throws ERR_BUSY while the clock is not trusted: contracts are ended by it */
  readonly checkClock: () => void
  readonly log: { warn(facts: object, message: string): void; info(facts: object, message: string): void }
}

/** Contracts whose keys and scripts are remembered, about 3 KB each. */
const rememberedContracts = 4096

/** Contracts as keys and scripts: deriving them takes a millisecond. */
export class Derived {
  readonly #keys: KeyWallet
  readonly #known = new Map<Hash, Contract>()

  constructor(keys: KeyWallet) {
    this.#keys = keys
  }

  /** @throws refusals for terms that break a rule */
  async of(terms: Terms): Promise<Contract> {
    const id = contractIdOf(terms)
    const known = this.#known.get(id)
    if (known !== undefined) return known
    const contract = contractOf(terms, await escrowKeys(this.#keys, terms, 'server'))
    putBounded(this.#known, id, contract, rememberedContracts)
    return contract
  }
}
