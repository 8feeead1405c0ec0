/** What the operator may order about contracts, whether his relay is running or not. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { Hash } from '../../market/units.ts'
import { contractsIn, summaryOf } from '../escrow/listing.ts'
import { findContract, isDraining, putDraining } from '../store/contracts.ts'
import type { Store } from '../store/store.ts'
import { AdvertOrders, type AdvertServing } from './advert-orders.ts'

export const contractOrders = {
  drain: z.strictObject({ isOn: z.boolean() }),
  contracts: z.strictObject({ isAll: z.boolean() }),
  contract: z.strictObject({ id: Hash }),
} as const
type OrderOf<O extends keyof typeof contractOrders> = z.infer<(typeof contractOrders)[O]>

/** The orders of adverts too: `Operator` has those of all. */
export class ContractOrders extends AdvertOrders {
  readonly #parts: { readonly store: Store; readonly now: () => number }

  constructor({
    store,
    now,
    serving,
  }: { store: Store; now: () => number; serving?: AdvertServing | undefined }) {
    super({ store, serving })
    this.#parts = { store, now }
  }

  /** From now on no contract is opened or renewed, or some are again; those that are open are served to their end. */
  async drain({ isOn }: OrderOf<'drain'>) {
    const { store } = this.#parts
    await store.commit((batch) => putDraining(batch, isOn))
    return { isDraining: isDraining(store), open: (await contractsIn(store, 'n')).length }
  }

  /** Those that are not over, or all there ever were. */
  async contracts({ isAll }: OrderOf<'contracts'>) {
    const { store, now } = this.#parts
    const named = await contractsIn(store, isAll ? 'k' : 'n')
    return Promise.all(named.map((one) => summaryOf(store, one, now())))
  }

  /** With everything that is kept of it. @throws ERR_NOT_FOUND */
  async contract({ id }: OrderOf<'contract'>) {
    const { store, now } = this.#parts
    const kept = findContract(store, id)
    if (kept === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no contract ${id}`)
    return { ...(await summaryOf(store, { id, kept }, now())), kept }
  }
}
