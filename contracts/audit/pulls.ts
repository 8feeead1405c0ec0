/** Each pull of a purse judged against the books (docs/protocol.md §4.10): forged, supported, or not proven by anybody. */
import { billedBytes, egressUnits } from '../../market/price.ts'
import type { UsagePull } from '../usage.ts'
import { type Books, lifetimeToleranceMs, type ReportPage } from './books.ts'
import { isBoxed, isIn, type Life } from './life.ts'
import { findingLimits, type Findings, type Kind, moment, printable, pullWords } from './findings.ts'
import { ReadPrefixes, repeatedReads } from './repeats.ts'
import { readFault } from './signed.ts'
import { Sum } from './sum.ts'
import { type Support, supportOf } from './support.ts'

export type Counted = (life: Life, pull: UsagePull, support: Support) => void

/** What makes a pull forged, before its record is looked at. */
interface Fault {
  readonly kind: Kind
  /** What is wrong with the read that is shown; of very many bad ones not kept. */
  readonly why?: string
  readonly texts?: readonly string[]
}

const missing: Fault = { kind: 'missing-read' }
const bad: Fault = { kind: 'bad-signature', why: 'what stands for the read is not what the receiver signed' }

/** What was found of a life so far: good pulls, and those of them that show of others that they are too many. */
interface SoFar {
  far: number
  byView: number
  before?: Partial<Record<Kind, Shown>>
}

/** Pulls beside a disputed one: the first of them, and how many there are. */
interface Shown {
  readonly first: readonly UsagePull[]
  readonly count: number
}
const none: Shown = { first: [], count: 0 }

export class PullBook {
  readonly #books: Books
  readonly #purse: string
  readonly #findings: Findings
  readonly #faults = new Map<number, Fault>()
  /** Of each repeated read, the pull that had it first. */
  readonly #firsts = new Map<number, UsagePull>()
  readonly #reads = new ReadPrefixes()
  readonly #listed = new Sum()
  #rewrittenAt = 0
  #namedPages = 0
  /** The highest price that was ever agreed on here. */
  #egressGB: number | undefined
  signatures = 0
  /** Places of pulls that are not paid. */
  readonly forged = new Set<number>()
  /** Pulls of records that are not in the books, where the books are not all there is. */
  foreign = 0
  /** Pulls of messages in boxes, of which no books know. */
  boxed = 0

  constructor(books: Books, purse: string, findings: Findings) {
    this.#books = books
    this.#purse = purse
    this.#findings = findings
    for (const life of books.lives) {
      life.clear()
      const { seen, path } = life.record
      if (seen === undefined) continue
      for (const { purse: of, ...pull } of seen) if (of === purse) this.#put(life, { ...pull, path })
    }
  }

  /** Notes the pulls of a page that were not seen before. Returns whether all reads are good that were looked at. */
  take(page: ReportPage, fresh: readonly UsagePull[], sample: (seq: number) => boolean): boolean {
    const { reads, pulls } = page.report
    const skipped = pulls.length - fresh.length
    const lacksAll = reads === undefined
    const texts =
      lacksAll && page.asked !== undefined && this.#namedPages < findingLimits.pages
        ? [page.text, page.asked]
        : undefined
    if (texts !== undefined) this.#namedPages++
    let isGood = true
    for (let index = 0; index < fresh.length; index++) {
      const pull = fresh[index]!
      this.#list(pull)
      if (pull.re === null) continue
      const read = reads?.[index + skipped]
      if (lacksAll && page.asked === undefined) continue
      if (typeof read !== 'string') {
        this.#faults.set(pull.seq, texts === undefined ? missing : { ...missing, texts })
        isGood = false
      } else if (sample(pull.seq)) {
        this.signatures++
        const why = readFault(read, pull, this.#books.relay)
        if (why === undefined) continue
        const isKept = this.#faults.size < findingLimits.findings
        this.#faults.set(pull.seq, isKept ? { ...bad, why: printable(why) } : bad)
        isGood = false
      }
    }
    return isGood
  }

  /**
   * After the last page: says of each pull what it is.
   * @param rewrittenAt the place up to which former audits have seen a history that the relay has rewritten since. What they
   * saw stands; later pulls that are too many beside it are not paid, and accuse nobody: the broken chain does
   */
  judge(counted: Counted, rewrittenAt = 0): void {
    this.#rewrittenAt = rewrittenAt
    const repeated = repeatedReads(this.#reads, () => this.#all())
    for (const [pull, first] of repeated) {
      this.#faults.set(pull.seq, { kind: 'read-twice' })
      this.#firsts.set(pull.seq, first)
    }
    for (const life of this.#books.lives) if (life.pullCount > 0) this.#judgeLife(life, counted)
  }

  #list(pull: UsagePull): void {
    this.#listed.add(billedBytes(pull.bytes))
    const life = this.#books.find(pull)
    if (life !== undefined) this.#put(life, pull)
    else if (isBoxed(pull)) this.boxed++
    else if (this.#books.isWhole) {
      this.#findings.add({
        kind: 'unknown-record',
        sentence: () => `${pullWords(pull)}: you have no such record on this relay`,
        pulls: [pull],
        path: pull.path,
        units: this.#dearest(pull),
      })
    } else this.foreign++
  }

  /** Billed bytes of all pulls taken. */
  get listedBytes(): bigint {
    return this.#listed.value
  }

  #put(life: Life, pull: UsagePull): void {
    life.list(pull)
    if (pull.re !== null) this.#reads.add(pull.re)
  }

  *#all(): Iterable<UsagePull> {
    for (const { pulls } of this.#books.lives) yield* pulls
  }

  /** What a pull of nobody's record would cost at prices that were ever agreed on here. */
  #dearest({ bytes }: UsagePull): bigint {
    this.#egressGB ??= this.#books.lives.reduce(
      (most, { record }) => Math.max(most, record.prices?.egressGB ?? 0),
      0,
    )
    return egressUnits(bytes, { egressGB: this.#egressGB })
  }

  #judgeLife(life: Life, counted: Counted): void {
    const { acks } = this.#books
    const so: SoFar = { far: 0, byView: 0 }
    const only = life.onlyPull
    for (const pull of only === undefined ? life.pulls : [only]) {
      const fault = this.#faults.get(pull.seq)
      const kind = fault?.kind ?? this.#faultOf(life, pull, so)
      if (kind !== undefined) {
        if (this.#isRewritten(kind, life, pull)) this.forged.add(pull.seq)
        else this.#accuse(life, pull, { fault: fault ?? { kind }, so })
        continue
      }
      so.far++
      if (pull.re === null) so.byView++
      counted(life, pull, supportOf(pull, { life, acks, isFirst: so.far === 1 }))
    }
  }

  /** Whether nothing is wrong with a pull but that it does not go with what the relay listed before it rewrote its history. */
  #isRewritten(kind: Kind, life: Life, pull: UsagePull): boolean {
    const isCounted = kind === 'above-max-pulls' || kind === 'above-bilateral-pulls'
    const other = kind === 'read-twice' ? this.#firsts.get(pull.seq) : isCounted ? life.first : undefined
    return other !== undefined && other.seq <= this.#rewrittenAt
  }

  /** What is wrong with a pull by its record's receipt; nothing can be without one. */
  #faultOf(life: Life, pull: UsagePull, so: SoFar): Kind | undefined {
    const { record, end } = life
    if (record.purse === undefined) return undefined
    if (!isIn(life, this.#purse)) return 'wrong-purse'
    if (pull.bytes !== record.bytes) return 'wrong-size'
    if (pull.at < record.at || pull.at > end + lifetimeToleranceMs) return 'outside-lifetime'
    if (so.far >= record.maxPulls) return 'above-max-pulls'
    if (pull.re === null && so.byView >= (record.bilateralPulls ?? 0)) return 'above-bilateral-pulls'
    return undefined
  }

  #sentence({ kind, why }: Fault, { record, end }: Life, pull: UsagePull): string {
    const words = pullWords(pull)
    const { at, bytes, purse, deletedAt, maxPulls, bilateralPulls = 0 } = record
    if (kind === 'missing-read') return `${words} is billed, and the relay has no signed read to show for it`
    if (kind === 'bad-signature') return `${words}: ${why}`
    if (kind === 'read-twice')
      return `${words} is billed for the read that pull ${this.#firsts.get(pull.seq)?.seq} was billed for already`
    if (kind === 'wrong-purse')
      return `${words} is billed to the purse ${this.#purse}, and the receipt names the purse ${purse}`
    if (kind === 'wrong-size') return `${words} is billed at ${pull.bytes} bytes, the receipt says ${bytes}`
    if (kind === 'above-max-pulls') return `${words} is one more than the ${maxPulls} that the record allowed`
    if (kind === 'above-bilateral-pulls')
      return `${words} came through the file-system view, where you pay for ${bilateralPulls} pulls of this record`
    if (pull.at < at) return `${words}: the record arrived at ${moment(at)}`
    return `${words}: the record ${end === deletedAt ? 'was deleted' : 'was paid for until'} ${moment(end)}`
  }

  #accuse(life: Life, pull: UsagePull, { fault, so }: { fault: Fault; so: SoFar }): void {
    const { kind, texts } = fault
    const shown = this.#shown(kind, pull, { life, so })
    this.forged.add(pull.seq)
    const { prices } = life.record
    this.#findings.add({
      kind,
      sentence: () => this.#sentence(fault, life, pull),
      path: life.path,
      receiptAt: life.purse === undefined ? undefined : life.at,
      pulls: [...shown.first, pull],
      count: shown.count + 1,
      // At the size that is billed, not that of the receipt.
      units: prices === undefined ? 0n : egressUnits(pull.bytes, prices),
      ...(texts === undefined ? {} : { texts }),
    })
  }

  /** The pulls beside which this one is too many. Looked for once: after one that is too many no other is good. */
  #shown(kind: Kind, { seq: disputed }: UsagePull, { life, so }: { life: Life; so: SoFar }): Shown {
    const twin = this.#firsts.get(disputed)
    if (kind === 'read-twice') return twin === undefined ? none : { first: [twin], count: 1 }
    if (kind !== 'above-max-pulls' && kind !== 'above-bilateral-pulls') return none
    const known = so.before?.[kind]
    if (known !== undefined) return known
    const isMeant = ({ seq, re }: UsagePull) =>
      seq < disputed && !this.forged.has(seq) && (kind === 'above-max-pulls' || re === null)
    const all = life.pulls.filter(isMeant)
    const shown = { first: all.slice(0, findingLimits.pulls - 1), count: all.length }
    so.before = { ...so.before, [kind]: shown }
    return shown
  }
}
