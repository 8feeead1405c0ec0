/**
 * Whether the entries about each record make a story: written once, pulled as often as it says, ended at most once. Records
 * that were written and have not ended are remembered; when they are too many, a later pass looks at a part of them at a time.
 */
import type { Key } from '../../../market/units.ts'
import { timeOf } from '../../store/place.ts'
import { type Entry, isBilled, isEnding, type Pull, type StoredHead } from '../../store/rows.ts'
import { type Findings, nameOf } from './findings.ts'

/** What all entries about a record, and its head, say alike. */
const facts = [
  'recordId',
  'purse',
  'bytes',
  'paidUntil',
  'maxPulls',
  'storageGBDay',
  'egressGB',
  'ingressGB',
] as const

interface Story extends Omit<Pick<Entry, (typeof facts)[number]>, 'paidUntil'> {
  readonly receiver: Key
  paidUntil: number
  pulls: number
}

export class RecordsCheck {
  readonly #owner: Key
  readonly #findings: Findings
  readonly #part: number
  readonly #parts: number
  readonly #most: number
  readonly #open = new Map<number, Story>()
  #live = 0
  #peak = 0

  /** Looks at the part with number `part` of `parts`, or at all records, unless they are more than `most` at once. */
  constructor(owner: Key, findings: Findings, { part = 0, parts = 1, most = Number.POSITIVE_INFINITY } = {}) {
    this.#owner = owner
    this.#findings = findings
    this.#part = part
    this.#parts = parts
    this.#most = most
  }

  /** In how many parts the records must be looked at, since they were too many at once; 1: they were not. */
  get parts(): number {
    if (this.#peak <= this.#most) return 1
    // Places are odd and even unevenly often, so an odd number of parts; half full each, since they differ in size.
    return Math.ceil(this.#peak / this.#most) * 2 + 1
  }

  /** `pull`: the signed read of the same place, if there is one. */
  entry(place: number, entry: Entry, pull: Pull | undefined): void {
    if (entry.what === 'received' || entry.what === 'returned' || entry.what === 'bought') return
    if (entry.what === 'write') this.#count(1)
    if (isEnding(entry.what)) this.#count(-1)
    if (this.#isNotLookedAt(entry.record)) return
    if (entry.what === 'write') this.#write(place, entry)
    else this.#goOn(place, entry, pull)
  }

  /** A live record, after all entries: as long as it is billed it must have a story that goes on. */
  head(recordId: string, head: StoredHead): void {
    if (this.#isNotLookedAt(head.place)) return
    const isPaid = isBilled(head)
    const story = this.#open.get(head.place)
    const name = `the record ${recordId} of ${this.#owner}`
    if (story === undefined) {
      if (isPaid)
        this.#findings.say(`${name} lives and is to be paid for, but no entry says that it was written`)
      return
    }
    if (!isPaid) {
      this.#findings.say(`${name} lives and nobody pays for it, but no entry says that it ended`)
      return
    }
    this.#open.delete(head.place)
    const found = { ...head, recordId }
    const other: string[] = facts.filter((fact) => found[fact] !== story[fact])
    if (head.receiver !== story.receiver) other.push('receiver')
    if (other.length > 0)
      this.#findings.say(`${name} has another ${other.join(', ')} than when it was written`)
    const taken = head.maxPulls - head.pullsLeft
    if (taken !== story.pulls)
      this.#findings.say(
        `${name} was pulled ${story.pulls} times by its entries and ${taken} times by itself`,
      )
  }

  /** After all entries and heads. */
  finish(): void {
    for (const [place, { recordId }] of this.#open) {
      const written = `written at place ${place}`
      this.#findings.say(
        `the record ${recordId} of ${this.#owner}, ${written}, is gone, but no entry says that it ended`,
      )
    }
  }

  #goOn(place: number, entry: Entry, pull: Pull | undefined): void {
    const story = this.#open.get(entry.record)
    if (story === undefined) {
      this.#say(entry, place, 'the record had not been written, or had ended before')
      return
    }
    const before = entry.what === 'extended' ? { ...entry, paidUntil: entry.until } : entry
    const other = facts.filter((name) => before[name] !== story[name])
    if (other.length > 0) this.#say(entry, place, `the record was written with another ${other.join(', ')}`)
    if (entry.what === 'pull') this.#pull(place, entry, story, pull)
    if (entry.what === 'extended') this.#extend(place, entry, story)
    if (isEnding(entry.what)) this.#end(place, entry, story)
  }

  #write(place: number, entry: Entry): void {
    if (entry.record !== place) this.#say(entry, place, `it is about the record of place ${entry.record}`)
    const { recordId, purse, bytes, paidUntil, maxPulls, storageGBDay, egressGB, ingressGB } = entry
    const terms = { purse, bytes, paidUntil, maxPulls, storageGBDay, egressGB, ingressGB }
    this.#open.set(entry.record, { recordId, ...terms, receiver: entry.note, pulls: 0 })
  }

  #extend(place: number, entry: Entry, story: Story): void {
    story.paidUntil = entry.paidUntil
    if (entry.note !== story.receiver) this.#say(entry, place, `it is for ${story.receiver}`)
    if (!isContract(entry.purse)) this.#say(entry, place, 'only a contract may pay for longer')
    if (entry.paidUntil <= entry.until || entry.until <= timeOf(place))
      this.#say(entry, place, 'the record was paid for as long before, or no longer')
  }

  #pull(place: number, entry: Entry, story: Story, pull: Pull | undefined): void {
    story.pulls++
    if (story.pulls > story.maxPulls) this.#say(entry, place, `only ${story.maxPulls} pulls were allowed`)
    if (pull !== undefined && pull.receiver !== story.receiver)
      this.#say(entry, place, `the read was signed by ${pull.receiver}, the record is for ${story.receiver}`)
  }

  #end(place: number, entry: Entry, story: Story): void {
    this.#open.delete(entry.record)
    if (entry.pulls !== story.pulls)
      this.#say(entry, place, `it says ${entry.pulls} pulls, and there are entries of ${story.pulls}`)
    const until = entry.what === 'deleted' ? timeOf(place) : entry.paidUntil
    // A contract may end before what it was to pay for.
    const isEarly = entry.what === 'unpaid' && isContract(entry.purse) && entry.until < until
    if (entry.until !== until && !isEarly)
      this.#say(entry, place, `it ends at ${entry.until} and must end at ${until}`)
  }

  /** Records of other parts; and all, once they were too many. */
  #isNotLookedAt(place: number): boolean {
    return this.#peak > this.#most || (this.#parts > 1 && place % this.#parts !== this.#part)
  }

  #count(by: 1 | -1): void {
    this.#live += by
    this.#peak = Math.max(this.#peak, this.#live)
    if (this.#peak > this.#most) this.#open.clear()
  }

  #say(entry: Entry, place: number, what: string): void {
    this.#findings.say(`${nameOf(this.#owner, place, entry)}: ${what}`)
  }
}

/** Purses of contracts have the names of these. */
const isContract = (purse: string): boolean => purse.length === 64
