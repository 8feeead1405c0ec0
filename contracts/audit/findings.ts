/** What an audit finds, in words. */
import { ceilSatoshi } from '../../market/price.ts'
import { receiverOf, recordIdOf } from './books.ts'
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
  /** Whether signed texts alone can convince a third person. */
  readonly isProvable: boolean
  readonly path?: string
  /** `at` of the receipt that shows it. */
  readonly receiptAt?: number
  /** Signed texts that show it, beside pages of the pulls. */
  readonly texts?: readonly string[]
}

/** Findings that are kept; of more the number and the sum are. */
const mostFindings = 1000

/** Collects findings, and what they come to. */
export class Findings {
  readonly kept: Finding[] = []
  count = 0
  units = 0n

  add(found: {
    kind: Kind
    sentence: string
    units?: bigint
    pulls?: readonly Pick<UsagePull, 'seq' | 'at'>[]
    path?: string
    receiptAt?: number | undefined
    texts?: readonly string[]
    isProvable?: boolean
  }): void {
    const { kind, sentence, units = 0n, pulls = [], path, receiptAt, texts } = found
    this.count++
    this.units += units
    if (this.kept.length >= mostFindings) return
    this.kept.push({
      kind,
      sentence,
      satoshis: ceilSatoshi(units),
      seqs: pulls.map(({ seq }) => seq),
      times: pulls.map(({ at }) => at),
      isProvable: found.isProvable ?? !unprovable.includes(kind),
      ...(path === undefined ? {} : { path }),
      ...(receiptAt === undefined ? {} : { receiptAt }),
      ...(texts === undefined ? {} : { texts }),
    })
  }
}

/** A moment, for people. */
export const moment = (ms: number): string =>
  new Date(ms).toISOString().replace('T', ' ').replace('Z', ' UTC')

export const shortKey = (key: string): string => `${key.slice(0, 8)}…${key.slice(-4)}`

export const recordWords = (path: string): string =>
  `record ${recordIdOf(path)} for ${shortKey(receiverOf(path))}`

/** `pull 12 (record … for …, at …)`. */
export const pullWords = ({ seq, path, at }: Pick<UsagePull, 'seq' | 'path' | 'at'>): string =>
  `pull ${seq} (${recordWords(path)}, ${moment(at)})`
