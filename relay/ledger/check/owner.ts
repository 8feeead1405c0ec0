/** The books of one owner: his purses, his entries, the pulls and the records they are about. */
import type { Key } from '../../../market/units.ts'
import type { Snapshot } from '../../store/database.ts'
import * as keys from '../../store/keys.ts'
import { timeOf } from '../../store/place.ts'
import {
  Account,
  decodeHead,
  Entry,
  type Head,
  isBilled,
  type Pull,
  Purse,
  type StoredHead,
} from '../../store/rows.ts'
import { ChainsCheck } from './chains.ts'
import { Findings, nameOf } from './findings.ts'
import { HeadsCheck } from './heads.ts'
import { moneyTables, PaymentsCheck } from './payments.ts'
import { PullsCheck } from './pulls.ts'
import { PurseCheck } from './purse.ts'
import { RecordsCheck } from './records.ts'
import { Stream } from './stream.ts'

export const ownerTables = ['a', 'u', 'l', 'p', 'h', 'c', ...moneyTables] as const
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

/** Checks the owner to whom the next rows of the streams belong. */
export async function checkOwner(checks: OwnerChecks, streams: Streams, bytes: Buffer): Promise<OwnerResult> {
  const { snapshot, findings } = checks
  const owner = bytes.toString('hex')
  const chains = new ChainsCheck(owner, findings)
  const purses = new OwnedPurses(checks, owner, chains)
  const pulls = new PullsCheck(streams.p, bytes, findings, chains)
  const heads = new HeadsCheck(snapshot, owner, findings)
  const payments = new PaymentsCheck(snapshot, owner, findings)
  const draft = new Findings()
  const records = new RecordsCheck(owner, draft, { most: checks.openRecords })

  await purses.read(streams, bytes)
  await walk({ entries: streams.l, heads: streams.h, pulls, findings }, bytes, {
    entry(place, entry, pull) {
      purses.post(place, entry)
      records.entry(place, entry, pull)
      payments.entry(entry)
      if (pull !== undefined) pulls.compare(place, entry, pull)
      else if (entry.what === 'pull' && timeOf(place) > checks.trimmedUntil)
        findings.say(`${nameOf(owner, place, entry)}: the pull log has no signed read for it`)
    },
    async head(recordId, head) {
      await heads.look(recordId, head)
      if (head.state === 'deleted') return
      if (isBilled(head)) purses.addHead(head)
      records.head(recordId, head)
    },
  })
  await pulls.at(Number.POSITIVE_INFINITY)
  heads.finish(await streams.c.take(bytes))
  await payments.finish(streams)
  purses.finish()
  if (records.parts === 1) {
    records.finish()
    findings.add(draft)
  } else await checkInParts(checks, owner, records.parts)
  return {
    accounts: purses.hasAccount ? 1 : 0,
    purses: purses.count,
    checked: purses.all,
    records: heads.records,
    pulls: pulls.pulls,
  }
}

/** The records of an owner who has too many for one pass. All else, unreadable rows too, was said in the first. */
async function checkInParts(checks: OwnerChecks, owner: Key, parts: number): Promise<void> {
  const { snapshot, signal } = checks
  const bytes = Buffer.from(owner, 'hex')
  const findings = new Findings()
  for (let part = 0; part < parts; part++) {
    const records = new RecordsCheck(owner, checks.findings, { part, parts })
    const open = (table: 'l' | 'p' | 'h') => new Stream(snapshot.scan(keys.rowsOf(table, owner)), signal)
    const [entries, reads, heads] = [open('l'), open('p'), open('h')]
    try {
      await walk({ entries, heads, pulls: new PullsCheck(reads, bytes, findings), findings }, bytes, {
        entry: (place, entry, pull) => records.entry(place, entry, pull),
        async head(recordId, head) {
          if (head.state !== 'deleted') records.head(recordId, head)
        },
      })
    } finally {
      await Promise.all([entries, reads, heads].map((stream) => stream.close()))
    }
    records.finish()
  }
}

interface Walk {
  readonly entries: Stream
  readonly heads: Stream
  readonly pulls: PullsCheck
  /** Told of rows that cannot be read. */
  readonly findings: Findings
}

interface Visitor {
  /** `pull`: the signed read of the same place, if the entry is of a pull and there is one. */
  entry(place: number, entry: Entry, pull: Pull | undefined): void
  head(recordId: string, head: Head): Promise<void>
}

/** Shows all entries of an owner, then all his heads. */
async function walk({ entries, heads, pulls, findings }: Walk, owner: Buffer, to: Visitor): Promise<void> {
  for await (const rows of entries.of(owner)) {
    for (const [key, value] of rows) {
      const entry = findings.read(Entry, key, value, keys.ownerPlaceKeyBytes)
      if (entry === undefined) continue
      const place = keys.placeOfKey(key)
      to.entry(place, entry, entry.what === 'pull' ? await pulls.at(place) : undefined)
    }
  }
  for await (const rows of heads.of(owner)) {
    for (const [key, value] of rows) {
      const head = findings.read({ decode: decodeHead }, key, value)
      if (head !== undefined) await to.head(keys.nameOfKey(key), head)
    }
  }
}

/** What an account names, what the rows of its purses say, and what their entries and records come to. */
class OwnedPurses {
  readonly #checks: OwnerChecks
  readonly #owner: Key
  readonly #chains: ChainsCheck
  readonly #purses = new Map<string, { readonly check: PurseCheck; readonly row: Purse | undefined }>()
  hasAccount = false
  /** Purses that have a row. */
  count = 0

  constructor(checks: OwnerChecks, owner: Key, chains: ChainsCheck) {
    this.#checks = checks
    this.#owner = owner
    this.#chains = chains
  }

  get all(): PurseCheck[] {
    return [...this.#purses.values()].map(({ check }) => check)
  }

  /** Reads the rows of the account and of its purses. */
  async read({ a, u }: { readonly a: Stream; readonly u: Stream }, owner: Buffer): Promise<void> {
    const { findings } = this.#checks
    const account = await a.take(owner)
    this.hasAccount = account !== undefined
    const read = account && findings.read(Account, account[0], account[1], keys.ownerKeyBytes)
    const named = read === undefined ? [] : read.purses.split(' ')
    for await (const rows of u.of(owner)) {
      for (const [key, value] of rows) this.#open(keys.nameOfKey(key), findings.read(Purse, key, value))
    }
    const found = [...this.#purses.keys()]
    for (const name of named)
      if (!found.includes(name)) this.#say(name, 'the account names it, but it is missing')
    for (const name of found)
      if (!named.includes(name)) this.#say(name, 'it exists, but the account does not name it')
    if (new Set(named).size < named.length)
      findings.say(`the account of ${this.#owner} names a purse twice: ${named.join(' ')}`)
  }

  post(place: number, entry: Entry): void {
    for (const wrong of this.#find(entry.purse).post(place, entry))
      this.#checks.findings.say(`${nameOf(this.#owner, place, entry)}: ${wrong}`)
  }

  addHead(head: StoredHead): void {
    this.#find(head.purse).addHead(head)
  }

  /** After all entries, records and pulls. */
  finish(): void {
    for (const [name, { check, row }] of this.#purses) {
      if (row === undefined) continue
      const wrongs = [...check.compare(row), ...this.#chains.compare(name, row)]
      for (const wrong of wrongs) this.#say(name, wrong)
      this.#lookForLapse(name, row, check.available)
    }
  }

  #open(name: string, row: Purse | undefined): void {
    this.count++
    this.#purses.set(name, { check: new PurseCheck(row?.lapses ?? 0), row })
  }

  #find(name: string): PurseCheck {
    const known = this.#purses.get(name)
    if (known !== undefined) return known.check
    this.#say(name, 'there are entries or records for it, but it is missing')
    const check = new PurseCheck(0)
    this.#purses.set(name, { check, row: undefined })
    return check
  }

  #lookForLapse(name: string, { lapses }: Purse, available: number): void {
    const { snapshot, lapsedUntil } = this.#checks
    if (lapses === 0 || snapshot.get(keys.lapseKey(lapses, this.#owner, name)) !== undefined) return
    if (lapses > lapsedUntil) this.#say(name, `it is to lapse at ${lapses}, and nothing will make it`)
    else if (available > 0) this.#say(name, `it has lapsed, and ${available} satoshi are still available`)
  }

  #say(name: string, what: string): void {
    this.#checks.findings.say(`the purse ${name} of ${this.#owner}: ${what}`)
  }
}
