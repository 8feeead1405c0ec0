/** What relays set aside for records of ours, by the receipts they signed. */
import { reservedUnits } from '../../contracts/receipt.ts'
import { ceilSatoshi } from '../../market/price.ts'
import type { RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Home } from '../home/home.ts'
import { entries, receiptOf } from '../home/outbox.ts'
import type { Cost } from './quotes.ts'

/** For these records together: what each relay books is exact, so it is summed before it is rounded. */
export async function reservedFor(home: Home, ids: readonly RecordId[]): Promise<Cost> {
  const known = await entries(home)
  const units = new Map<Key, bigint>()
  for (const id of ids) {
    for (const relay of known.get(id)?.accepted ?? []) {
      const receipt = await receiptOf(home, { id, relay })
      if (receipt === undefined) continue // deleted meanwhile
      units.set(relay, (units.get(relay) ?? 0n) + reservedUnits(receipt))
    }
  }
  const relays = [...units].map(([relay, sum]) => [relay, ceilSatoshi(sum)] as const)
  return {
    total: String(relays.reduce((sum, [, satoshi]) => sum + satoshi, 0)),
    relays: Object.fromEntries(relays.map(([relay, satoshi]) => [relay, String(satoshi)])),
  }
}
