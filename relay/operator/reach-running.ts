/** The relay that runs on a data directory, and whether one does. */
import { MarketError } from '../../market/errors.ts'
import { controlFile, hasStore } from '../data-directory.ts'
import { control, interrupted } from './control.ts'
import type { Order, OrderOf, ResultOf } from './operator.ts'

export interface Reached {
  /** @throws ERR_BUSY once the command is interrupted, and whatever the order throws */
  send<O extends Order>(order: O, args: OrderOf<O>): Promise<ResultOf<O>>
  close(): Promise<void>
}

/** Only the relay that runs on `data`: every order is ERR_NOT_FOUND when none does, and no store is opened. */
export function reachRunning(data: string, signal: AbortSignal): Reached {
  return {
    async send(order, args) {
      if (signal.aborted) throw interrupted()
      // What a relay of this same program says has this form.
      const answer = control(controlFile(data), order, args, signal).catch(async (error) => {
        if (isNotRunning(error)) await refuseNone(data)
        throw error
      })
      return (await answer) as never
    },
    async close() {},
  }
}

/** @throws ERR_NOT_FOUND when there is no relay in `data` */
export async function refuseNone(data: string): Promise<void> {
  if (await hasStore(data)) return
  throw new MarketError('ERR_NOT_FOUND', `there is no relay in ${data}`)
}

/** Whether a relay runs on `data`. */
export async function answers(data: string, signal: AbortSignal): Promise<boolean> {
  try {
    return await reachRunning(data, signal).send('ping', {})
  } catch (error) {
    if (error instanceof MarketError && error.code === 'ERR_NOT_FOUND') return false
    throw error
  }
}

const isNotRunning = (error: unknown): boolean =>
  error instanceof MarketError && error.extras.reason === 'not running'
