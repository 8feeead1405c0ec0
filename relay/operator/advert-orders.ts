/** What the operator may order about the relay's own advert: only a relay that runs can. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import type { Advertiser } from '../market/advertiser.ts'
import type { Store } from '../store/store.ts'
import { BoxOrders } from './box-orders.ts'
import { notRunning } from './control.ts'

const Nothing = z.strictObject({})

export const advertOrders = {
  advert: Nothing,
  'publish-advert': Nothing,
  'revoke-advert': Nothing,
} as const

export interface AdvertServing {
  /** Undefined until the relay can be reached. */
  readonly advertiser?: (() => Advertiser | undefined) | undefined
}

/** The orders of boxes too. */
export class AdvertOrders extends BoxOrders {
  readonly #serving: AdvertServing | undefined

  constructor({ store, serving }: { store: Store; serving: AdvertServing | undefined }) {
    super(store)
    this.#serving = serving
  }

  /** What is advertised, where, and how it went. @throws ERR_NOT_FOUND when the relay does not run */
  async advert(_order: object) {
    return this.#running.state
  }

  /** Tries every channel at once; after a revocation, advertises again. @throws ERR_NOT_FOUND when the relay does not run */
  async 'publish-advert'(_order: object) {
    await this.#running.publish()
    return this.#running.state
  }

  /** Says everywhere that nothing is offered any more. @throws ERR_NOT_FOUND when the relay does not run */
  async 'revoke-advert'(_order: object) {
    await this.#running.revoke()
    return this.#running.state
  }

  get #running(): Advertiser {
    if (this.#serving === undefined) throw notRunning()
    const advertiser = this.#serving.advertiser?.()
    if (advertiser === undefined) throw new MarketError('ERR_BUSY', 'the relay is starting')
    return advertiser
  }
}
