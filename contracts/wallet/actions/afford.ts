/** Whether a payment can be made, found out without making it. */
import type { WalletParts } from '../wallet-parts.ts'
import { expire } from './create.ts'
import { mostPaidFeeRate, p2pkhBytes } from './draft-size.ts'
import { mostWaits } from './flights.ts'
import { selectCoins } from './select.ts'

/** To one P2PKH output, now. Waits for change as the payment itself would. Nothing is reserved: another payment may come first. */
export async function canPay(parts: WalletParts, satoshis: number): Promise<boolean> {
  const { store, chain, flights } = parts
  await store.change((batch) => expire(parts, batch))
  for (let waits = 0; ; waits++) {
    const feeRate = Math.min(await chain.feeRate(), mostPaidFeeRate)
    const shape = { feeRate, unlocks: [], locks: [p2pkhBytes], satoshis: -satoshis }
    const { surplus } = await selectCoins(store, shape)
    if (surplus >= 0) return true
    if (waits >= mostWaits || !(await flights.next())) return false
  }
}
