/** The parts of a relay's score (docs/protocol.md §12.9): each is 0–1000 by a rule of one line, and weighed. */
import type { SealedAdvert } from './advert.ts'
import { failureWeight, type Opinion, trust } from './observation.ts'
import { dayMs, type Prices } from './units.ts'

/** What we know of a relay by ourselves, and what those we follow say. */
export interface Evidence {
  readonly probes: {
    readonly asked: number
    readonly answered: number
    readonly isLastAnswered: boolean
    /** Median of those that were answered. */
    readonly latencyMs: number | null
    /** The key that answers at its address in its place. */
    readonly another: string | null
    /** The prices that it signed last, and when. */
    readonly quoted: { readonly at: number; readonly prices: Prices } | null
  }
  /** Contracts that ended as agreed, and that did not. */
  readonly contracts: { readonly open: number; readonly kept: number; readonly broken: number }
  readonly audits: { readonly explained: number; readonly unproven: number; readonly forged: number }
  /** When its first advert came here. */
  readonly firstSeen: number
  readonly opinion: Opinion | null
}

export const noEvidence = (firstSeen: number): Evidence => ({
  probes: { asked: 0, answered: 0, isLastAnswered: false, latencyMs: null, another: null, quoted: null },
  contracts: { open: 0, kept: 0, broken: 0 },
  audits: { explained: 0, unproven: 0, forged: 0 },
  firstSeen,
  opinion: null,
})

/** Thousandths of the whole. What others say is worth less than anything that we saw, and paid for, ourselves. */
export const weights = {
  cost: 400,
  success: 200,
  history: 170,
  latency: 80,
  diversity: 50,
  age: 40,
  stamp: 30,
  hearsay: 30,
} as const
export type FactorName = keyof typeof weights

export interface Factor {
  /** 0–1000. */
  readonly score: number
  readonly weight: number
  /** ⌊score · weight / 1000⌋: what it adds to the whole. */
  readonly points: number
  readonly says: string
}

export interface Facts {
  readonly sealed: SealedAdvert
  readonly evidence: Evidence
  /** For a month of the pattern, and the median of all that are considered. */
  readonly satoshis: number
  readonly usual: number
  readonly isNear: boolean
  /** Asked for. */
  readonly bits: number
  readonly now: number
}

const scale = 1000
/** A latency that scores half. */
const halfLatencyMs = 200
/** Scores before anything was measured: below what a fair measurement gives. */
const unmeasured = { success: 300, latency: 300 } as const
/** A relay is old once it is known for so long. */
const oldMs = 30 * dayMs
/** An advert is stale once it is so old. */
const staleMs = 7 * dayMs
/** Each bit beyond those asked for is as much work again as all before. */
const perBit = 125

export function factorsOf(facts: Facts): Record<FactorName, Factor> {
  const { evidence, satoshis, usual, isNear, bits, sealed, now } = facts
  const { probes, contracts, audits, opinion, firstSeen } = evidence
  const good = contracts.kept + audits.explained
  const bad = failureWeight * contracts.broken + audits.unproven
  const known = Math.max(0, now - firstSeen)
  const made = Math.max(0, now - sealed.advert.timestamp)
  return {
    cost: factor(
      'cost',
      part(usual, usual + satoshis),
      `${satoshis} satoshi a month for your usage; half of the relays ask ${usual} or less`,
    ),
    success: factor(
      'success',
      probes.asked === 0
        ? unmeasured.success
        : trust(probes.answered, failureWeight * (probes.asked - probes.answered)),
      probes.asked === 0 ? 'not probed yet' : `${probes.answered} of ${probes.asked} probes answered`,
    ),
    history: factor(
      'history',
      trust(good, bad),
      `${contracts.kept} contracts kept, ${contracts.broken} broken, ${contracts.open} open; ${audits.explained} audits explained, ${audits.unproven} not wholly`,
    ),
    latency: factor(
      'latency',
      probes.latencyMs === null ? unmeasured.latency : part(halfLatencyMs, halfLatencyMs + probes.latencyMs),
      probes.latencyMs === null ? 'not measured' : `${probes.latencyMs} ms in the median`,
    ),
    diversity: factor(
      'diversity',
      isNear ? 0 : scale,
      isNear ? 'a neighbour of a relay of yours' : 'no neighbour of your relays',
    ),
    age: factor(
      'age',
      Math.floor((part(Math.min(known, oldMs), oldMs) + scale - part(Math.min(made, staleMs), staleMs)) / 2),
      `known here for ${hours(known)}, advertised ${hours(made)} ago`,
    ),
    stamp: factor(
      'stamp',
      Math.min(scale, perBit * Math.max(0, sealed.bits - bits)),
      `${sealed.bits} bits, ${bits} are asked for`,
    ),
    hearsay: factor(
      'hearsay',
      opinion?.score ?? scale / 2,
      opinion === null
        ? 'nobody you follow told of it'
        : `${opinion.observers} you follow told of it, ${opinion.setAside} set aside for contradicting your own probes`,
    ),
  }
}

const factor = (name: FactorName, score: number, says: string): Factor => {
  const weight = weights[name]
  return { score, weight, points: Math.floor((score * weight) / scale), says }
}

/** @param whole above 0 */
const part = (some: number, whole: number): number => Math.floor((scale * some) / whole)

const hours = (ms: number): string => {
  const all = Math.floor(ms / 3_600_000)
  return all < 48 ? `${all} h` : `${Math.floor(all / 24)} days`
}
