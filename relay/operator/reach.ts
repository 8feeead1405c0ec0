/** Where the operator's orders go: to the relay that runs on a data directory, or to its store when none does. */
import { hasCoins, storeDirectory } from '../data-directory.ts'
import { Pricing } from '../pricing.ts'
import { Store } from '../store/store.ts'
import { interrupted } from './control.ts'
import { Operator } from './operator.ts'
import { answers, type Reached, reachRunning, refuseNone } from './reach-running.ts'
import { exportCoins } from './reach-wallet.ts'

/**
 * The passphrase opens the relay's key where no relay runs: its coins are of that key.
 * @throws ERR_NOT_FOUND when there is no relay in `data` at all
 */
export async function reach(data: string, signal: AbortSignal, passphrase?: string): Promise<Reached> {
  if (await answers(data, signal)) return reachRunning(data, signal)
  const directory = storeDirectory(data)
  await refuseNone(data)
  const store = await Store.open({ directory, now: Date.now })
  const pricing = await Pricing.open(store)
  const coins = (await hasCoins(data)) ? () => exportCoins({ data, signal, passphrase }) : undefined
  const operator = new Operator({ store, pricing, now: Date.now, open: false, data, coins })
  return {
    async send(order, args) {
      if (signal.aborted) throw interrupted()
      return (await operator.execute(order, args, signal)) as never // what its order gives
    },
    close: () => store.close(),
  }
}
