/** The books of one owner: his purses, his entries, the pulls and the records they are about. */
import type { Key } from '../../market/units.ts'
import type { Snapshot } from '../store/database.ts'
import * as keys from '../store/keys.ts'
import { timeOf } from '../store/place.ts'
import { decodeHead, Entry, type Pull } from '../store/rows.ts'
import { HeadsCheck, isInPurse } from './check-heads.ts'
import { PullsCheck } from './check-pulls.ts'
import type { PurseCheck } from './check-purse.ts'
import { PursesCheck } from './check-purses.ts'
import { nameOf, RecordsCheck } from './check-records.ts'
import { Findings } from './findings.ts'
import { Stream } from './stream.ts'

export const ownerTables = ['a', 'u', 'l', 'p', 'h', 'c'] as const
/** One stream of each table, which are read side by side. */
export type Streams = { readonly [T in (typeof ownerTables)[number]]: Stream }

export interface OwnerChecks {
  readonly snapshot: Snapshot
  readonly findings: Findings
  readonly signal: AbortSignal
  /** What was to lapse up to this time may have lapsed. */
  readonly lapsedUntil: number
  /** Pulls up to this time may have left the pull log. */
  readonly trimmedUntil: number
  /** Records that are remembered at once. */
  readonly openRecords: number
}

export interface OwnerResult {
  readonly accounts: number
  readonly purses: number
  /** Purses with entries or a row. */
  readonly checked: readonly PurseCheck[]
  readonly records: number
  readonly pulls: number
}

const entryKeyBytes = 42

/** Checks the owner to whom the next rows of the streams belong. */
export async function checkOwner(checks: OwnerChecks, streams: Streams, bytes: Buffer): Promise<OwnerResult> {
  const { snapshot, findings } = checks
  const owner = bytes.toString('hex')
  const purses = new PursesCheck({ ...checks, owner })
  const pulls = new PullsCheck(streams.p, bytes, findings)
  const heads = new HeadsCheck(snapshot, owner, findings)
  const draft = new Findings()
  const records = new RecordsCheck(owner, draft, { most: checks.openRecords })

  await purses.read(streams, bytes)
  for await (const rows of streams.l.of(bytes)) {
    for (const [key, value] of rows) {
      const entry = findings.read(Entry, key, value, entryKeyBytes)
      if (entry === undefined) continue
      const place = keys.placeOfKey(key)
      purses.enter(place, entry)
      records.enter(place, entry, entry.what === 'pull' ? await signedRead(place, entry) : undefined)
    }
  }
  await pulls.at(Number.POSITIVE_INFINITY)
  for await (const rows of streams.h.of(bytes)) {
    for (const [key, value] of rows) {
      const head = await heads.look(key, value)
      if (head === undefined) continue
      if (isInPurse(head)) purses.addHead(head)
      records.head(keys.nameOfKey(key), head, isInPurse(head))
    }
  }
  heads.finish(await streams.c.take(bytes))
  purses.finish()
  if (records.parts === 1) {
    records.finish()
    findings.add(draft)
  } else await checkInParts(checks, owner, records.parts)
  const { count, all, hasAccount } = purses
  return {
    accounts: hasAccount ? 1 : 0,
    purses: count,
    checked: all,
    records: heads.records,
    pulls: pulls.pulls,
  }

  async function signedRead(place: number, entry: Entry): Promise<Pull | undefined> {
    const pull = await pulls.at(place)
    if (pull !== undefined) pulls.compare(place, entry, pull)
    else if (timeOf(place) > checks.trimmedUntil)
      findings.say(`${nameOf(owner, place, entry)}: the pull log has no signed read for it`)
    return pull
  }
}

/** The records of an owner who has too many for one pass. All else, unreadable rows too, was said in the first. */
async function checkInParts(checks: OwnerChecks, owner: Key, parts: number): Promise<void> {
  const { snapshot, signal, findings } = checks
  const bytes = Buffer.from(owner, 'hex')
  const said = new Findings()
  for (let part = 0; part < parts; part++) {
    const records = new RecordsCheck(owner, findings, { part, parts })
    const [entries, log, heads] = (['l', 'p', 'h'] as const).map(
      (table) => new Stream(snapshot.scan(keys.rowsOf(table, owner)), signal),
    ) as [Stream, Stream, Stream]
    try {
      const pulls = new PullsCheck(log, bytes, said)
      for await (const rows of entries.of(bytes)) {
        for (const [key, value] of rows) {
          const entry = said.read(Entry, key, value, entryKeyBytes)
          if (entry === undefined) continue
          const place = keys.placeOfKey(key)
          records.enter(place, entry, entry.what === 'pull' ? await pulls.at(place) : undefined)
        }
      }
      for await (const rows of heads.of(bytes)) {
        for (const [key, value] of rows) {
          const head = said.read({ decode: decodeHead }, key, value)
          if (head === undefined || head.state === 'deleted') continue
          records.head(keys.nameOfKey(key), head, isInPurse(head))
        }
      }
    } finally {
      await Promise.all([entries, log, heads].map((stream) => stream.close()))
    }
    records.finish()
  }
}
