/**
 * A purse recomputed twice: from its entries, in their order, and from what records say of themselves. Written apart from
 * relay/store/purses.ts, which it checks, and plainly: only the prices are shared.
 */
import { ledgerColumns } from '../../../contracts/account.ts'
import {
  billedBytes,
  ceilSatoshi,
  egressUnits,
  floorSatoshi,
  ingressUnits,
  proofBytes,
  storageUnits,
} from '../../../market/price.ts'
import { timeOf } from '../../store/place.ts'
import { type Entry, isEnding, type Purse, reversedNote, type StoredHead } from '../../store/rows.ts'

/** What both recomputations come to. */
interface Meters {
  spent: bigint
  held: bigint
  byteMs: bigint
  egress: number
  ingress: number
  records: number
  size: number
  sizeStart: bigint
  rate: bigint
  rateStart: bigint
  pulls: number
}

const zero = (): Meters => ({
  spent: 0n,
  held: 0n,
  byteMs: 0n,
  egress: 0,
  ingress: 0,
  records: 0,
  size: 0,
  sizeStart: 0n,
  rate: 0n,
  rateStart: 0n,
  pulls: 0,
})
type Columns = Pick<Entry, (typeof ledgerColumns)[number]>

/** Milliseconds of storage that an ended record owes. */
const keptMs = ({ record, until, paidUntil }: Entry): number =>
  Math.max(0, Math.min(until, paidUntil) - timeOf(record))

export class PurseCheck {
  readonly byEntries: Meters = zero()
  readonly byRecords: Meters = zero()
  received = 0
  returned = 0
  entries = 0
  earned = 0
  /** Earned and reserved together: what is spent and held, rounded up. */
  committed = 0
  /** When what is available lapses; 0: never. */
  readonly #lapses: number

  constructor(lapses: number) {
    this.#lapses = lapses
  }

  get available(): number {
    return this.received - this.returned - this.committed
  }

  /** Takes the next entry; what it says that is not so, as parts of a sentence. */
  post(place: number, entry: Entry): string[] {
    this.#replay(entry)
    if (entry.what === 'prove') addProof(this.byRecords, entry)
    if (entry.what === 'bought') addBought(this.byRecords, entry)
    if (isEnding(entry.what)) addEnded(this.byRecords, entry)
    const { spent, held } = this.byEntries
    const [earnedBefore, committedBefore, availableBefore] = [this.earned, this.committed, this.available]
    this.earned = floorSatoshi(spent)
    this.committed = ceilSatoshi(spent + held)
    const change = this.committed - committedBefore
    const expected: Columns = {
      received: entry.what === 'received' ? entry.received : 0,
      reserved: Math.max(0, change),
      earned: this.earned - earnedBefore,
      released: Math.max(0, -change),
      returned: entry.what === 'returned' ? entry.returned : 0,
    }
    this.entries++
    this.received += expected.received
    const hasLapsed = this.#lapses !== 0 && timeOf(place) >= this.#lapses
    if (hasLapsed && expected.released > 0) expected.returned = Math.max(0, this.available)
    this.returned += expected.returned
    const wrong = ledgerColumns
      .filter((column) => entry[column] !== expected[column])
      .map((column) => `it moves ${entry[column]} satoshi as ${column} and must move ${expected[column]}`)
    if (held < 0n) wrong.push('less than nothing is held for records after it')
    // Only credit that is taken back may leave less than nothing, and nothing else may take from that.
    if (this.available < Math.min(0, availableBefore) && !isReversal(entry))
      wrong.push(`${this.available} satoshi are available after it`)
    return wrong
  }

  #replay(entry: Entry): void {
    const { bytes, record, maxPulls, paidUntil, pulls } = entry
    const to = this.byEntries
    const longestMs = paidUntil - timeOf(record)
    if (isEnding(entry.what)) {
      to.spent += storageUnits(bytes, keptMs(entry), entry)
      to.held -= storageUnits(bytes, longestMs, entry) + BigInt(maxPulls - pulls) * egressUnits(bytes, entry)
      to.byteMs += BigInt(billedBytes(bytes)) * BigInt(keptMs(entry))
      addLive(to, entry, -1)
      return
    }
    switch (entry.what) {
      case 'received':
      case 'returned':
        return
      case 'write':
        to.spent += ingressUnits(bytes, entry)
        to.held += storageUnits(bytes, longestMs, entry) + BigInt(maxPulls) * egressUnits(bytes, entry)
        to.ingress += billedBytes(bytes)
        addLive(to, entry, 1)
        return
      case 'pull':
        to.spent += egressUnits(bytes, entry)
        to.held -= egressUnits(bytes, entry)
        to.egress += billedBytes(bytes)
        to.pulls++
        return
      case 'prove':
        addProof(to, entry)
        return
      case 'bought':
        addBought(to, entry)
        return
      case 'extended':
        to.held += storageUnits(bytes, paidUntil - entry.until, entry)
    }
  }

  /** A record that lives and is paid for. */
  addHead(head: StoredHead): void {
    const { bytes, maxPulls, pullsLeft, place, paidUntil } = head
    const to = this.byRecords
    const taken = maxPulls - pullsLeft
    to.spent += ingressUnits(bytes, head) + BigInt(taken) * egressUnits(bytes, head)
    to.held +=
      storageUnits(bytes, paidUntil - timeOf(place), head) + BigInt(pullsLeft) * egressUnits(bytes, head)
    to.ingress += billedBytes(bytes)
    to.egress += taken * billedBytes(bytes)
    to.pulls += taken
    addLive(to, { ...head, record: place }, 1)
  }

  /** How the row differs from the two recomputations, as parts of a sentence. */
  compare(row: Purse): string[] {
    const { byEntries, byRecords, received, returned, entries } = this
    const wrong: string[] = []
    const must = (name: string, found: unknown, is: unknown, by: string) => {
      if (found !== is) wrong.push(`${name} is ${found} and must be ${is} by its ${by}`)
    }
    must('received', row.received, received, 'entries')
    must('returned', row.returned, returned, 'entries')
    must('the number of entries', row.entries, entries, 'entries')
    for (const [recomputed, by] of [
      [byEntries, 'entries'],
      [byRecords, 'records'],
    ] as const)
      for (const name of meterNames) must(name, row[name], recomputed[name], by)
    return wrong
  }
}

const isReversal = ({ what, note }: Entry): boolean => what === 'returned' && note.startsWith(reversedNote)

const meterNames = [
  'spent',
  'held',
  'byteMs',
  'egress',
  'ingress',
  'records',
  'size',
  'sizeStart',
  'rate',
  'rateStart',
  'pulls',
] as const

function addProof(to: Meters, entry: Entry): void {
  to.spent += egressUnits(proofBytes, entry)
  to.egress += billedBytes(proofBytes)
}

/** A read of another owner's record: no record here says anything of it. */
function addBought(to: Meters, entry: Entry): void {
  to.spent += egressUnits(entry.bytes, entry)
  to.egress += billedBytes(entry.bytes)
}

/** Everything an ended record has cost and moved, from the entry of its end alone. */
function addEnded(to: Meters, entry: Entry): void {
  const { bytes, pulls } = entry
  to.spent += ingressUnits(bytes, entry) + storageUnits(bytes, keptMs(entry), entry)
  to.spent += BigInt(pulls) * egressUnits(bytes, entry)
  to.byteMs += BigInt(billedBytes(bytes)) * BigInt(keptMs(entry))
  to.ingress += billedBytes(bytes)
  to.egress += pulls * billedBytes(bytes)
  to.pulls += pulls
}

/** Adds a record to the live ones, or takes it from them. */
function addLive(
  to: Meters,
  { bytes, record, storageGBDay }: Pick<Entry, 'bytes' | 'record' | 'storageGBDay'>,
  sign: 1 | -1,
): void {
  const size = sign * billedBytes(bytes)
  const at = BigInt(timeOf(record))
  to.records += sign
  to.size += size
  to.sizeStart += BigInt(size) * at
  to.rate += BigInt(size) * BigInt(storageGBDay)
  to.rateStart += BigInt(size) * BigInt(storageGBDay) * at
}
