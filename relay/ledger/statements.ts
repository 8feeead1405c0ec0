/** What a relay says of an account: its purses as they stand, and pages of its entries (docs/protocol.md §4.9). */
import { type Account, type LedgerEntry, ledgerColumns, type Purse } from '../../contracts/account.ts'
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import type { Snapshot } from '../store/database.ts'
import * as keys from '../store/keys.ts'
import { findPurse, pursesOf } from '../store/ledger.ts'
import { lastPlace, timeOf } from '../store/place.ts'
import { statementAt } from '../store/purses.ts'
import { endOf } from '../store/records.ts'
import { decodeHead, Entry, Expiry, isBilled, type StoredHead } from '../store/rows.ts'
import type { Store } from '../store/store.ts'
import { type Moment, momentOf, openMoment } from './moment.ts'

/** Records that ended and are not booked yet, which one statement looks through. The sweeper is seconds behind. */
const overdueRows = 4096
const chunkRows = 512

export interface Page {
  readonly entries: LedgerEntry[]
  /** Of the oldest entry here; the next page begins below it. */
  readonly place: number
  readonly more: boolean
}

type Standing = Pick<Account, 'at' | 'purses'>

/**
 * The purses of an owner at this moment, in the order in which they were opened; none when he has no account. What it
 * looks through is taken from `examine`.
 * @throws ERR_BUSY while more records have ended than can be looked through
 */
export async function pursesNow(
  store: Store,
  owner: Key,
  now: number,
  examine: { left: number } = { left: Number.POSITIVE_INFINITY },
): Promise<Standing> {
  const standings = await standingsOf(await openMoment(store, now), [owner], boundedLook(examine))
  return standings[0]! // there is one of each owner
}

/**
 * One purse as it is in a snapshot, at `at`. It exists.
 * @throws ERR_BUSY while more records have ended than can be looked through
 */
export async function purseIn(
  snapshot: Snapshot,
  { owner, purse, at }: { readonly owner: Key; readonly purse: string; readonly at: number },
  examine: { left: number } = { left: Number.POSITIVE_INFINITY },
): Promise<Purse> {
  const overdue: StoredHead[] = []
  await collectOverdue(snapshot, new Map([[owner, overdue]]), at, boundedLook(examine))
  return stateOf(snapshot, { owner, purse, at, overdue })
}

/** Hears how many rows are looked through now, and so far. */
type Look = (rows: number, seen: number) => void

function boundedLook(examine: { left: number }): Look {
  return (rows, seen) => {
    examine.left -= rows
    if (seen <= overdueRows) return
    const extras = { retryAfterMs: 10_000 }
    throw new MarketError('ERR_BUSY', 'records that have ended are still being booked', { extras })
  }
}

/** The same of many owners, however long nothing was booked: for the operator, who needs it most when his relay stands still. */
export async function pursesOfAll(
  store: Store,
  owners: readonly Key[],
  now: number,
): Promise<(Standing & { readonly key: Key })[]> {
  const standings = await standingsOf(momentOf(store.snapshot(), now), owners, () => {})
  return standings.map((standing, index) => ({ key: owners[index]!, ...standing }))
}

/** In the order of `owners`, at one moment, which is closed. */
async function standingsOf(
  { snapshot, at }: Moment,
  owners: readonly Key[],
  look: Look,
): Promise<Standing[]> {
  try {
    const named = owners.map((owner) => ({ owner, names: pursesOf(snapshot, owner) ?? [] }))
    const known = named.filter(({ names }) => names.length > 0)
    const overdue = new Map<Key, StoredHead[]>(known.map(({ owner }) => [owner, []]))
    if (overdue.size > 0) await collectOverdue(snapshot, overdue, at, look)
    return named.map(({ owner, names }) => {
      const its = overdue.get(owner) ?? []
      return { at, purses: names.map((purse) => stateOf(snapshot, { owner, purse, at, overdue: its })) }
    })
  } finally {
    await snapshot.close()
  }
}

/** At most `limit` entries below the place `before`, newest first. */
export async function entriesOf(
  store: Store,
  owner: Key,
  { before = lastPlace, limit }: { before?: number | undefined; limit: number },
): Promise<Page> {
  const prefix = keys.ledgerPrefix(owner)
  const bounds = { gte: prefix, lt: keys.placeKey(prefix, before), reverse: true as const }
  const scan = store.scan(bounds)
  try {
    const entries: LedgerEntry[] = []
    let place = 0
    for (;;) {
      const rows = await scan.next(Math.min(chunkRows, limit + 1 - entries.length))
      if (rows.length === 0) return { entries, place, more: false }
      for (const [key, value] of rows) {
        if (entries.length === limit) return { entries, place, more: true }
        place = keys.placeOfKey(key)
        entries.push(entryOf(place, Entry.decode(value)))
      }
    }
  } finally {
    await scan.close()
  }
}

function stateOf(
  snapshot: Snapshot,
  { owner, purse, at, overdue }: { owner: Key; purse: string; at: number; overdue: StoredHead[] },
): Purse {
  const found = findPurse(snapshot, owner, purse)! // an account names only purses there are
  const its = overdue.filter((head) => head.purse === purse)
  const { owed, reserved, available, byteMs } = statementAt(found, at, its)
  return {
    purse,
    received: String(found.received),
    returned: String(found.returned),
    owed: String(owed),
    reserved: String(reserved),
    available: String(available),
    records: found.records - its.length,
    byteMs: String(byteMs),
    egress: String(found.egress),
    ingress: String(found.ingress),
    lapses: found.lapses === 0 ? null : found.lapses,
  }
}

/** Adds to each owner his records whose end before `at` was not booked yet. */
async function collectOverdue(
  snapshot: Snapshot,
  overdue: Map<Key, StoredHead[]>,
  at: number,
  look: Look,
): Promise<void> {
  const scan = snapshot.scan(keys.below('x', at))
  try {
    for (let seen = 0; ; ) {
      const rows = await scan.next(chunkRows)
      if (rows.length === 0) return
      seen += rows.length
      look(rows.length, seen)
      for (const [key, value] of rows) {
        const id = Expiry.decode(value)
        const its = overdue.get(id.owner)
        if (its === undefined) continue
        const stored = snapshot.get(keys.headKey(id))
        const head = stored === undefined ? undefined : decodeHead(stored)
        if (head === undefined || head.state !== 'stored' || !isBilled(head)) continue
        if (keys.expiryKey(endOf(head), head.place).equals(key)) its.push(head)
      }
    }
  } finally {
    await scan.close()
  }
}

function entryOf(place: number, entry: Entry): LedgerEntry {
  const { what, purse, recordId, note } = entry
  const about = what === 'bought' ? { recordId, note } : recordId !== '' ? { recordId } : { note }
  const columns = Object.fromEntries(ledgerColumns.map((column) => [column, String(entry[column])]))
  return {
    at: timeOf(place),
    purse,
    what,
    ...about,
    ...(columns as Record<(typeof ledgerColumns)[number], string>), // one of each
  }
}
