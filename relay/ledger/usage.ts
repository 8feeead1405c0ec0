/** Pages of a purse's pulls, oldest first, and what the purse has come to, from one snapshot (docs/protocol.md §4.10). */
import type { UsagePull, UsageReport } from '../../contracts/usage.ts'
import { MarketError } from '../../market/errors.ts'
import { formatPath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Snapshot } from '../store/database.ts'
import { examinedEntries } from '../store/inventory.ts'
import * as keys from '../store/keys.ts'
import { findPurse } from '../store/ledger.ts'
import { lastPlace, timeOf } from '../store/place.ts'
import { noHash, Pull, PullHead } from '../store/rows.ts'
import type { Store } from '../store/store.ts'
import { openMoment } from './moment.ts'
import { purseIn } from './statements.ts'

export interface UsageQuery {
  readonly owner: Key
  readonly purse: string
  /** Pulls above this place … */
  readonly after: number
  /** … up to this one, itself included. */
  readonly before?: number | undefined
  readonly limit: number
  /** With the signed reads. */
  readonly evidence: boolean
  /** From which it is taken how many rows are looked through. */
  readonly examine?: { left: number } | undefined
}

export interface UsagePage {
  readonly report: UsageReport
  /** Where the next page begins: every pull up to here was in this page or one before it. */
  readonly place: number
  readonly more: boolean
}

/**
 * An empty page says where the chain of the purse stands as a whole.
 * @throws ERR_NOT_FOUND when the owner has no such purse; ERR_BUSY as statements do
 */
export async function usagePage(store: Store, query: UsageQuery, now: number): Promise<UsagePage> {
  const { owner, purse, evidence } = query
  const { snapshot, head, at } = await openMoment(store, now)
  try {
    const row = findPurse(snapshot, owner, purse)
    if (row === undefined) throw new MarketError('ERR_NOT_FOUND', `the sender has no purse ${purse} here`)
    const { byteMs, egress, ingress, owed } = await purseIn(snapshot, { owner, purse, at }, query.examine)
    const found = await pullsIn(snapshot, { ...query, before: Math.min(query.before ?? lastPlace, head) })
    const { pulls, place, more } = found
    const report: UsageReport = {
      type: 'UsageReport',
      account: purse,
      at,
      fromSeq: pulls[0]?.seq ?? row.pulls + 1,
      count: pulls.length,
      chain: found.last === undefined ? row.chain : Pull.decode(found.last).chain,
      byteMs,
      egress,
      ingress,
      owed,
      pulls,
      ...(evidence && { reads: found.reads }),
    }
    return { report, place, more }
  } finally {
    await snapshot.close()
  }
}

interface Found {
  readonly pulls: UsagePull[]
  readonly reads: (string | null)[]
  /** The row of the last of them. */
  last?: Buffer
  place: number
  more: boolean
}

/** The pull log has those of all purses, and the free ones, so that a page may examine many rows and have few. */
async function pullsIn(
  snapshot: Snapshot,
  { owner, purse, after, before, limit, evidence, examine }: UsageQuery & { before: number },
): Promise<Found> {
  const found: Found = { pulls: [], reads: [], place: before, more: false }
  if (after >= before) return found
  const prefix = keys.pullPrefix(owner)
  const scan = snapshot.scan({ gt: keys.placeKey(prefix, after), lte: keys.placeKey(prefix, before) })
  let place = after
  let left = Math.min(examinedEntries, Math.max(1, examine?.left ?? examinedEntries))
  try {
    for (;;) {
      const rows = await scan.next(Math.min(chunkRows, left + 1, limit - found.pulls.length + 1))
      if (rows.length === 0) return found
      for (const [key, value] of rows) {
        if (left === 0 || found.pulls.length === limit) return Object.assign(found, { place, more: true })
        left--
        if (examine !== undefined) examine.left--
        place = keys.placeOfKey(key)
        const pull = PullHead.decode(value)
        if (pull.purse !== purse) continue
        found.pulls.push(usagePull(owner, place, pull))
        found.last = value
        if (evidence) found.reads.push(Pull.decode(value).text || null)
      }
    }
  } finally {
    await scan.close()
  }
}

const chunkRows = 1024

const usagePull = (
  owner: Key,
  place: number,
  { receiver, recordId, bytes, seq, re }: Omit<Pull, 'chain' | 'text'>,
): UsagePull => ({
  seq,
  path: formatPath({ owner, receiver, recordId }),
  bytes,
  at: timeOf(place),
  re: re === noHash ? null : re,
})
