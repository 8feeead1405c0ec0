/** Where the operator's orders go: to the relay that runs on a data directory, or to its store when none does. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MarketError } from '../market/errors.ts'
import { control } from './control.ts'
import { Operator, type Order, type OrderOf, type ResultOf } from './operator.ts'
import { Pricing } from './pricing.ts'
import { Store } from './store/store.ts'

export interface Reached {
  /** @throws whatever the order throws */
  send<O extends Order>(order: O, args: OrderOf<O>): Promise<ResultOf<O>>
  close(): Promise<void>
}

/** @throws ERR_NOT_FOUND when there is no relay in `data` at all */
export async function reach(data: string, signal: AbortSignal): Promise<Reached> {
  const file = join(data, 'control.json')
  if (await answers(file)) {
    return {
      // What a relay of this same program says has this form.
      send: async (order, args) => (await control(file, order, args, signal)) as never,
      async close() {},
    }
  }
  const directory = join(data, 'store')
  await stat(join(directory, 'CURRENT')).catch((cause) => {
    throw new MarketError('ERR_NOT_FOUND', `there is no relay in ${data}`, { cause })
  })
  const store = await Store.open({ directory, now: Date.now })
  const pricing = await Pricing.open(store, Date.now())
  const operator = new Operator({ store, pricing, now: Date.now, open: false, data, isServing: false })
  return {
    send: async (order, args) => (await operator.obey(order, args, signal)) as never,
    close: () => store.close(),
  }
}

async function answers(file: string): Promise<boolean> {
  try {
    await control(file, 'ping')
    return true
  } catch (error) {
    if (error instanceof MarketError && error.code === 'ERR_NOT_FOUND') return false
    throw error
  }
}
