/**
 * Whether the books are right: every purse is computed anew, from its entries and from the records and signed reads these
 * rest on, and every difference is said. One owner after another, in little memory, beside a relay that serves.
 */
import type { Snapshot } from '../../store/database.ts'
import * as keys from '../../store/keys.ts'
import { lastPlace, timeOf } from '../../store/place.ts'
import { noTotals, NumberRow, Purse, Totals } from '../../store/rows.ts'
import { sweepLimits } from '../../store/sweeper.ts'
import { checkOwner, type OwnerResult, ownerTables, type Streams } from './owner.ts'
import { Findings } from './findings.ts'
import { checkStock } from './stock.ts'
import { Stream } from './stream.ts'

export interface CheckReport extends Readonly<Sums> {
  /** Nothing differs. */
  readonly ok: boolean
  /** What is not as it must be, a sentence each, … */
  readonly differences: string[]
  /** … and how many further ones there are. */
  readonly more: number
}

/** Of all owners. */
interface Sums {
  accounts: number
  purses: number
  entries: number
  /** Live ones, whether or not they cost anything. */
  records: number
  /** Signed reads in the pull log. */
  pulls: number
  /** Satoshi of all purses, as computed anew: received = returned + earned + reserved + available. */
  received: number
  returned: number
  earned: number
  reserved: number
  available: number
}

export interface CheckOptions {
  readonly now: number
  readonly signal: AbortSignal
  /** Records of one owner remembered at once, about 400 bytes each; an owner who has more takes more than one pass. */
  readonly openRecords?: number
}

/** @throws what `signal` was aborted with */
export async function checkLedger(snapshot: Snapshot, options: CheckOptions): Promise<CheckReport> {
  const { signal, openRecords = 65_536 } = options
  const findings = new Findings()
  const now = latest(snapshot, findings, options.now)
  const checks = {
    snapshot,
    findings,
    signal,
    openRecords,
    lapsedUntil: now,
    trimmedUntil: now - sweepLimits.pullRetentionMs,
  }
  const streams = Object.fromEntries(
    ownerTables.map((table) => [table, new Stream(snapshot.scan(keys.ownersAfter(table)), signal)]),
  ) as Streams // one for each of the tables
  const sums = { ...noSums }
  try {
    for (;;) {
      const owner = await nextOwner(streams)
      if (owner === undefined) break
      add(sums, await checkOwner(checks, streams, owner))
    }
  } finally {
    await Promise.all(Object.values(streams).map((stream) => stream.close()))
  }
  await checkLapses(snapshot, findings, signal)
  await checkStock(snapshot, findings, signal)
  checkTotals(snapshot, findings, sums)
  const { sentences, more } = findings
  return { ok: sentences.length === 0, ...sums, differences: sentences, more }
}

/** The time of this check, of the last sweep or of the last place, whichever is latest: a clock may have been set back. */
function latest(snapshot: Snapshot, findings: Findings, now: number): number {
  const read = (name: 'place' | 'sweep'): number => {
    const key = keys.metaKey(name)
    const value = snapshot.get(key)
    return (value && findings.read(NumberRow, key, value)?.value) ?? 0
  }
  return Math.max(now, read('sweep'), timeOf(read('place')))
}

async function nextOwner(streams: Streams): Promise<Buffer | undefined> {
  let lowest: Buffer | undefined
  for (const stream of Object.values(streams)) {
    const row = await stream.peek()
    if (row === undefined) continue
    const owner = keys.ownerPart(row[0])
    if (lowest === undefined || owner.compare(lowest) < 0) lowest = owner
  }
  return lowest
}

/** What is to make a purse lapse must be about one that lapses then. */
async function checkLapses(snapshot: Snapshot, findings: Findings, signal: AbortSignal): Promise<void> {
  const lapses = new Stream(snapshot.scan(keys.below('t', lastPlace)), signal)
  try {
    for (let row = await lapses.next(); row !== undefined; row = await lapses.next()) {
      const [key] = row
      const { owner, purse } = keys.lapseOfKey(key)
      const purseKey = keys.purseKey(owner, purse)
      const value = snapshot.get(purseKey)
      const found = value && new Findings().read(Purse, purseKey, value)
      if (found === undefined || !keys.lapseKey(found.lapses, owner, purse).equals(key))
        findings.say(`the row ${key.toString('hex')} is to make a purse lapse that does not lapse then`)
    }
  } finally {
    await lapses.close()
  }
}

const noSums: Sums = {
  accounts: 0,
  purses: 0,
  entries: 0,
  records: 0,
  pulls: 0,
  received: 0,
  returned: 0,
  earned: 0,
  reserved: 0,
  available: 0,
}

function add(sums: Sums, { accounts, purses, records, pulls, checked }: OwnerResult): void {
  sums.accounts += accounts
  sums.purses += purses
  sums.records += records
  sums.pulls += pulls
  for (const { entries, received, returned, earned, committed, available } of checked) {
    sums.entries += entries
    sums.received += received
    sums.returned += returned
    sums.earned += earned
    sums.reserved += committed - earned
    sums.available += available
  }
}

function checkTotals(snapshot: Snapshot, findings: Findings, sums: Sums): void {
  const key = keys.metaKey('totals')
  const value = snapshot.get(key)
  const totals = value === undefined ? noTotals : findings.read(Totals, key, value)
  if (totals === undefined) return
  const { received, returned, earned, reserved, purses, entries } = sums
  const expected = { received, returned, earned, committed: earned + reserved, purses, entries }
  for (const name of Object.keys(expected) as (keyof Totals)[])
    if (totals[name] !== expected[name])
      findings.say(`the totals say ${name} ${totals[name]}, all purses together have ${expected[name]}`)
}
