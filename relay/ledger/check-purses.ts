/** The purses of one owner: what his account names, what their rows say, and what their entries and records come to. */
import type { Key } from '../../market/units.ts'
import type { Snapshot } from '../store/database.ts'
import * as keys from '../store/keys.ts'
import { Account, type Entry, Purse, type StoredHead } from '../store/rows.ts'
import { PurseCheck } from './check-purse.ts'
import { nameOf } from './check-records.ts'
import type { Findings } from './findings.ts'
import type { Stream } from './stream.ts'

const accountKeyBytes = 34

export interface PursesOptions {
  readonly snapshot: Snapshot
  readonly findings: Findings
  readonly owner: Key
  /** What was to lapse up to this time may have lapsed. */
  readonly lapsedUntil: number
}

export class PursesCheck {
  readonly #options: PursesOptions
  readonly #purses = new Map<string, { readonly check: PurseCheck; readonly row: Purse | undefined }>()
  hasAccount = false
  /** Purses that have a row. */
  count = 0

  constructor(options: PursesOptions) {
    this.#options = options
  }

  get all(): PurseCheck[] {
    return [...this.#purses.values()].map(({ check }) => check)
  }

  /** Reads the rows of the account and of its purses. */
  async read({ a, u }: { readonly a: Stream; readonly u: Stream }, owner: Buffer): Promise<void> {
    const { findings } = this.#options
    const account = await a.take(owner)
    this.hasAccount = account !== undefined
    const read = account && findings.read(Account, account[0], account[1], accountKeyBytes)
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
      findings.say(`the account of ${this.#options.owner} names a purse twice: ${named.join(' ')}`)
  }

  enter(place: number, entry: Entry): void {
    const { findings, owner } = this.#options
    const purse = this.#find(entry.purse)
    for (const wrong of purse.enter(place, entry)) findings.say(`${nameOf(owner, place, entry)}: ${wrong}`)
  }

  addHead(head: StoredHead): void {
    this.#find(head.purse).addHead(head)
  }

  /** After all entries and records. */
  finish(): void {
    for (const [name, { check, row }] of this.#purses) {
      if (row === undefined) continue
      for (const wrong of check.compare(row)) this.#say(name, wrong)
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
    const { snapshot, owner, lapsedUntil } = this.#options
    if (lapses === 0 || snapshot.get(keys.lapseKey(lapses, owner, name)) !== undefined) return
    if (lapses > lapsedUntil) this.#say(name, `it is to lapse at ${lapses}, and nothing will make it`)
    else if (available > 0) this.#say(name, `it has lapsed, and ${available} satoshi are still available`)
  }

  #say(name: string, what: string): void {
    this.#options.findings.say(`the purse ${name} of ${this.#options.owner}: ${what}`)
  }
}
