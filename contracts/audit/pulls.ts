/** Each pull of a purse judged against the books (docs/protocol.md §4.10): forged, supported, or not proven by anybody. */
import { billedBytes, egressUnits } from '../../market/price.ts'
import type { UsagePull } from '../usage.ts'
import { type Books, isUnacked, type Life, lifetimeToleranceMs, type ReportPage } from './books.ts'
import { type Findings, type Kind, moment, pullWords } from './findings.ts'
import { ReadPrefixes, repeatedReads } from './repeats.ts'
import { readFault } from './signed.ts'
import { Sum } from './sum.ts'

/** What became of a pull that is not forged. */
export type Support = 'acknowledged' | 'payable' | 'unproven'
export type Counted = (life: Life, pull: UsagePull, support: Support) => void

/** What makes a pull forged, before its record is looked at. */
interface Fault {
  readonly kind: Kind
  readonly sentence: string
  readonly texts?: readonly string[]
}

export class PullBook {
  readonly #books: Books
  readonly #purse: string
  readonly #findings: Findings
  readonly #faults = new Map<number, Fault>()
  /** Of each repeated read, the pull that had it first. */
  readonly #firsts = new Map<number, UsagePull>()
  readonly #reads = new ReadPrefixes()
  readonly #listed = new Sum()
  signatures = 0
  readonly forged = new Set<number>()
  /** Pulls of records that are not in the books, where the books are not all there is. */
  foreign: UsagePull[] = []

  /** @param withSeen false where the relay's history has begun anew: what former audits saw counts no more */
  constructor(books: Books, purse: string, findings: Findings, withSeen = true) {
    this.#books = books
    this.#purse = purse
    this.#findings = findings
    for (const life of books.lives) {
      life.clear()
      const { seen, path } = life.record
      if (seen === undefined || !withSeen) continue
      for (const { purse: of, ...pull } of seen) if (of === purse) this.#put(life, { ...pull, path })
    }
  }

  /** Notes the pulls of a page that were not seen before. Returns whether all reads are good that were looked at. */
  take(page: ReportPage, fresh: readonly UsagePull[], sample: (seq: number) => boolean): boolean {
    const { reads, pulls } = page.report
    const skipped = pulls.length - fresh.length
    const lacksAll = reads === undefined
    let isGood = true
    for (let index = 0; index < fresh.length; index++) {
      const pull = fresh[index]!
      this.#list(pull)
      if (pull.re === null) continue
      const read = reads?.[index + skipped]
      if (lacksAll && page.asked === undefined) continue
      if (typeof read !== 'string') {
        const texts = lacksAll && page.asked !== undefined ? { texts: [page.text, page.asked] } : {}
        const sentence = `${pullWords(pull)} is billed, and the relay has no signed read to show for it`
        this.#faults.set(pull.seq, { kind: 'missing-read', sentence, ...texts })
        isGood = false
      } else if (sample(pull.seq)) {
        this.signatures++
        const fault = readFault(read, pull, this.#books.relay)
        if (fault === undefined) continue
        this.#faults.set(pull.seq, { kind: 'bad-signature', sentence: `${pullWords(pull)}: ${fault}` })
        isGood = false
      }
    }
    return isGood
  }

  /** After the last page: says of each pull what it is. */
  judge(counted: Counted): void {
    const repeated = repeatedReads(this.#reads, () => this.#all())
    for (const [pull, first] of repeated) {
      const sentence = `${pullWords(pull)} is billed for the read that pull ${first.seq} was billed for already`
      this.#faults.set(pull.seq, { kind: 'read-twice', sentence })
      this.#firsts.set(pull.seq, first)
    }
    for (const life of this.#books.lives) if (life.pullCount > 0) this.#judgeLife(life, counted)
  }

  #list(pull: UsagePull): void {
    this.#listed.add(billedBytes(pull.bytes))
    const life = this.#books.find(pull)
    if (life !== undefined) this.#put(life, pull)
    else if (this.#books.isWhole) {
      const sentence = `${pullWords(pull)}: you have no such record on this relay`
      this.#findings.add({
        kind: 'unknown-record',
        sentence,
        pulls: [pull],
        path: pull.path,
        units: this.#dearest(pull),
      })
    } else this.foreign.push(pull)
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
    const prices = this.#books.lives.map(({ record }) => record.prices?.egressGB ?? 0)
    return egressUnits(bytes, { egressGB: prices.reduce((most, price) => Math.max(most, price), 0) })
  }

  #judgeLife(life: Life, counted: Counted): void {
    const { acks } = this.#books
    const so = { far: 0, byView: 0 }
    const only = life.onlyPull
    for (const pull of only === undefined ? life.pulls : [only]) {
      const fault = this.#faults.get(pull.seq)
      const kind = fault?.kind ?? this.#faultOf(life, pull, so)
      if (kind !== undefined) {
        this.#accuse(life, pull, fault ?? { kind, sentence: this.#sentence(kind, life, pull) })
        continue
      }
      so.far++
      if (pull.re === null) so.byView++
      if (pull.re !== null && acks.has(pull.re)) counted(life, pull, 'acknowledged')
      else if (life.purse === undefined) counted(life, pull, 'unproven')
      else counted(life, pull, so.far === 1 || pull.re === null || isUnacked(life) ? 'payable' : 'unproven')
    }
  }

  /** What is wrong with a pull by its record's receipt; nothing can be without one. */
  #faultOf({ record, end }: Life, pull: UsagePull, so: { far: number; byView: number }): Kind | undefined {
    if (record.purse === undefined) return undefined
    if (record.purse !== this.#purse && record.movedTo?.includes(this.#purse) !== true) return 'wrong-purse'
    if (pull.bytes !== record.bytes) return 'wrong-size'
    if (pull.at < record.at || pull.at > end + lifetimeToleranceMs) return 'outside-lifetime'
    if (so.far >= record.maxPulls) return 'above-max-pulls'
    if (pull.re === null && so.byView >= (record.bilateralPulls ?? 0)) return 'above-bilateral-pulls'
    return undefined
  }

  #sentence(kind: Kind, { record, end }: Life, pull: UsagePull): string {
    const words = pullWords(pull)
    const { at, bytes, purse, deletedAt, maxPulls, bilateralPulls = 0 } = record
    if (kind === 'wrong-purse')
      return `${words} is billed to the purse ${this.#purse}, and the receipt names the purse ${purse}`
    if (kind === 'wrong-size') return `${words} is billed at ${pull.bytes} bytes, the receipt says ${bytes}`
    if (kind === 'above-max-pulls') return `${words} is one more than the ${maxPulls} that the record allowed`
    if (kind === 'above-bilateral-pulls')
      return `${words} came through the file-system view, where you pay for ${bilateralPulls} pulls of this record`
    if (pull.at < at) return `${words}: the record arrived at ${moment(at)}`
    return `${words}: the record ${end === deletedAt ? 'was deleted' : 'was paid for until'} ${moment(end)}`
  }

  #accuse(life: Life, pull: UsagePull, { kind, sentence, texts }: Fault): void {
    const first = this.#firsts.get(pull.seq)
    const before = life.pulls.filter(({ seq }) => seq < pull.seq && !this.forged.has(seq))
    this.forged.add(pull.seq)
    const shown: Partial<Record<Kind, readonly UsagePull[]>> = {
      'above-max-pulls': before,
      'above-bilateral-pulls': before.filter(({ re }) => re === null),
      'read-twice': first === undefined ? [] : [first],
    }
    const { prices } = life.record
    this.#findings.add({
      kind,
      sentence,
      path: life.path,
      receiptAt: life.purse === undefined ? undefined : life.at,
      pulls: [...(shown[kind] ?? []), pull],
      // At the size that is billed, not that of the receipt.
      units: prices === undefined ? 0n : egressUnits(pull.bytes, prices),
      ...(texts === undefined ? {} : { texts }),
    })
  }
}
