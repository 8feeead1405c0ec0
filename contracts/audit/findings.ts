/** What an audit finds, in words. */
import { ceilSatoshi } from '../../market/price.ts'
import { mostSatoshi } from '../../market/units.ts'
import type { FailedProof } from './books.ts'
import { receiverOf, recordIdOf } from './life.ts'
import type { UsagePull } from '../usage.ts'

/** In the order in which they are explained (docs/protocol.md §4.10). */
export const kinds = [
  'bad-signature',
  'missing-read',
  'read-twice',
  'wrong-size',
  'unknown-record',
  'outside-lifetime',
  'above-max-pulls',
  'above-bilateral-pulls',
  'broken-chain',
  'wrong-purse',
  'wrong-price',
  'wrong-storage',
  'wrong-ingress',
  'wrong-egress',
  'failed-proof',
] as const
export type Kind = (typeof kinds)[number]

/** Only the owner's own books show these, and nobody need believe them. */
export const unprovable: readonly Kind[] = [
  'unknown-record',
  'wrong-storage',
  'wrong-ingress',
  'wrong-egress',
]

export interface Finding {
  readonly kind: Kind
  readonly sentence: string
  /** What the relay asks too much because of it, rounded up. */
  readonly satoshis: number
  /** The pulls that show it, and when the relay says they were: pages of these are its evidence. */
  readonly seqs: readonly number[]
  readonly times: readonly number[]
  /** How many pulls show it, where these are only the first of them, and the disputed one. */
  readonly count?: number
  /** Whether signed texts alone can convince a third person. */
  readonly isProvable: boolean
  readonly path?: string
  /** `at` of the receipt that shows it. */
  readonly receiptAt?: number
  /** Signed texts that show it, beside pages of the pulls. */
  readonly texts?: readonly string[]
}

/** A relay may be at fault as often as it likes: this is what is kept of it. */
export const findingLimits = {
  /** Of more findings the number and the sum are. */
  findings: 1000,
  /** Pulls that one finding names. */
  pulls: 100,
  /** Whole pages that findings of one sort name; each may have megabytes. */
  pages: 16,
  /** Characters. */
  sentence: 1000,
} as const

/** Collects findings, and what they come to. */
export class Findings {
  readonly kept: Finding[] = []
  count = 0
  units = 0n

  /** Accuses of a record that is billed or was promised, and is not there. */
  addLoss({ path, at, sentence, texts }: FailedProof, units = 0n): void {
    const words = `${recordWords(path)}: ${sentence}`
    this.add({ kind: 'failed-proof', sentence: words, path, receiptAt: at, texts, units })
  }

  add(found: {
    kind: Kind
    /** Made where it is kept. */
    sentence: string | (() => string)
    units?: bigint
    /** At most `findingLimits.pulls`; the last one is that which is disputed. */
    pulls?: readonly Pick<UsagePull, 'seq' | 'at'>[]
    /** Of pulls, where there are more. */
    count?: number
    path?: string
    receiptAt?: number | undefined
    texts?: readonly string[]
    isProvable?: boolean
  }): void {
    const { kind, sentence, units = 0n, pulls = [], count = 0, path, receiptAt, texts } = found
    this.count++
    this.units += units
    if (this.kept.length >= findingLimits.findings) return
    this.kept.push({
      kind,
      sentence: printable(typeof sentence === 'string' ? sentence : sentence()),
      satoshis: satoshisOf(units),
      seqs: pulls.map(({ seq }) => seq),
      times: pulls.map(({ at }) => at),
      ...(count > pulls.length ? { count } : {}),
      isProvable: found.isProvable ?? !unprovable.includes(kind),
      ...(path === undefined ? {} : { path }),
      ...(receiptAt === undefined ? {} : { receiptAt }),
      ...(texts === undefined ? {} : { texts }),
    })
  }
}

/** Rounded up, and never more than there are. */
export const satoshisOf = (units: bigint): number => Math.min(ceilSatoshi(units), mostSatoshi)

/** What a sentence made of others' words may have: no control, no direction, no end. */
export const printable = (text: string): string =>
  text
    .slice(0, findingLimits.sentence)
    .replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd')
    .toWellFormed()

/** The last moment there is a date for, milliseconds since 1970. */
const lastMoment = 8.64e15

/** A moment, for people. */
export const moment = (ms: number): string =>
  new Date(Math.max(-lastMoment, Math.min(ms, lastMoment)))
    .toISOString()
    .replace('T', ' ')
    .replace('Z', ' UTC')

export const shortKey = (key: string): string => `${key.slice(0, 8)}…${key.slice(-4)}`

export const recordWords = (path: string): string =>
  `record ${recordIdOf(path)} for ${shortKey(receiverOf(path))}`

/** `pull 12 (record … for …, at …)`. */
export const pullWords = ({ seq, path, at }: Pick<UsagePull, 'seq' | 'path' | 'at'>): string =>
  `pull ${seq} (${recordWords(path)}, ${moment(at)})`
