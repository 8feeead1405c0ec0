/** What the operator may order about message boxes, whether his relay is running or not. */
import { z } from 'zod'
import { mostSatoshi } from '../../market/units.ts'
import { isBoxName } from '../boxes/fields.ts'
import { boxFeesOf, putBoxFee } from '../store/box-fees.ts'
import type { Store } from '../store/store.ts'

export const boxOrders = {
  'box-fees': z.strictObject({}),
  'set-box-fee': z.strictObject({
    box: z.string().refine(isBoxName, 'no name of a box'),
    satoshi: z.int().min(0).max(mostSatoshi),
  }),
} as const

export class BoxOrders {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** Satoshi by box, as they were set by `set-box-fee`: they stand above `--box-fee`. */
  async 'box-fees'(_order: object) {
    return { fees: boxFeesOf(this.#store) }
  }

  /** From the next message on. */
  async 'set-box-fee'({ box, satoshi }: z.infer<(typeof boxOrders)['set-box-fee']>) {
    await this.#store.commit((batch) => putBoxFee(batch, box, satoshi))
    return { fees: boxFeesOf(this.#store) }
  }
}
