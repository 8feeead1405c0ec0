/** What a purse came to and no report of it names: reads we bought, and messages in boxes (docs/protocol.md §4.10, §13.3). */
import { lifetimeToleranceMs } from '../../contracts/audit/books.ts'
import type { Kind } from '../../contracts/audit/findings.ts'
import { isBoxId } from '../../market/record.ts'
import { mostSatoshi } from '../../market/units.ts'
import type { Connection } from '../wire/connection.ts'
import { ledger } from './account.ts'

/** Satoshi, at most, by the relay's own entries. */
export interface Beside {
  readonly bought: number
  /** Reserved for messages in boxes and not released: what was sent to boxes leaves no receipts here. */
  readonly boxed: number
  /** The time of the last entry that was looked at. */
  readonly boughtAt: number
}

export const nothingBeside: Beside = { bought: 0, boxed: 0, boughtAt: 0 }

/** What it may explain. */
export const besideExplains: readonly Kind[] = [
  'wrong-price',
  'wrong-storage',
  'wrong-ingress',
  'wrong-egress',
]

/**
 * An upper bound: an entry has what was earned in whole satoshi, which may be up to one less than its units; and what is as
 * old as the last look counts twice, since others may have come in the same moment, but is released only once.
 */
export async function besideSince(
  connection: Connection,
  { purse, before }: { purse: string; before: Beside },
  signal: AbortSignal | undefined,
): Promise<Beside> {
  let { bought, boxed, boughtAt } = before
  for await (const entry of ledger(connection, { signal })) {
    const { at, what, recordId } = entry
    if (at < before.boughtAt - lifetimeToleranceMs) break
    boughtAt = Math.max(boughtAt, at)
    if (entry.purse !== purse) continue
    if (what === 'bought') bought += Number(entry.earned) + 1
    else if (recordId !== undefined && isBoxId(recordId) && at >= before.boughtAt) {
      boxed += Number(entry.reserved)
      const released = Number(entry.released)
      if (at > before.boughtAt && released > 0) boxed -= released - 1
    }
  }
  return { bought: Math.min(bought, mostSatoshi), boxed: Math.min(Math.max(0, boxed), mostSatoshi), boughtAt }
}
