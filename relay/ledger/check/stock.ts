/** The stock, by which capacity is sold, is what all owners hold together. */
import { stockRow } from '../../store/counters.ts'
import type { Snapshot } from '../../store/database.ts'
import * as keys from '../../store/keys.ts'
import { Counters } from '../../store/rows.ts'
import { Findings } from './findings.ts'
import { Stream } from './stream.ts'

/** Counters that cannot be read were named where their owner was looked at. */
export async function checkStock(snapshot: Snapshot, findings: Findings, signal: AbortSignal): Promise<void> {
  const value = snapshot.get(stockRow)
  const stock = value && findings.read(Counters, stockRow, value)
  if (stock === undefined) return // of before there was one: it is counted at the next start
  const left = { ...stock }
  const names = Object.keys(left) as (keyof Counters)[]
  const rows = new Stream(snapshot.scan(keys.ownersAfter('c')), signal)
  try {
    for (let row = await rows.next(); row !== undefined; row = await rows.next()) {
      const counters = new Findings().read(Counters, ...row, keys.ownerKeyBytes)
      if (counters !== undefined) for (const name of names) left[name] -= counters[name]
    }
  } finally {
    await rows.close()
  }
  for (const name of names)
    if (left[name] !== 0)
      findings.say(
        `the stock says ${name} ${stock[name]}, all owners together have ${stock[name] - left[name]}`,
      )
}
