/**
 * What people tell each other of relays (docs/protocol.md §12.10): counts of what they saw themselves, as the text of a public
 * post, which is signed. A reader never takes over a judgement: he scores the counts himself, and gives them little weight.
 */
import { z } from 'zod'
import { canonicalize, parseCanonical } from './canonical.ts'
import { firstIssue } from './envelope.ts'
import { MarketError } from './errors.ts'
import { utf8Length } from './bytes.ts'
import { dayMs, Key, Milliseconds } from './units.ts'

export const observationLimits = {
  textBytes: 65_536,
  /** Of one post. */
  relays: 200,
  /** Of a report; who claims to have seen more is not taken for better. */
  count: 10_000,
  /** Older ones say nothing any more. */
  lifeMs: 30 * dayMs,
  /** How far an observer's clock may be ahead of ours. */
  futureMs: 600_000,
  /** Own probes from which on opinions that contradict them are set aside. */
  ownProbes: 3,
  /** Thousandths between two shares of answered probes that contradict each other. */
  contradiction: 500,
} as const

const Count = z.int().min(0).max(observationLimits.count)

/** One observer's counts of one relay. */
export const Observed = z
  .strictObject({
    relay: Key,
    probes: Count,
    /** Of `probes`, those that the relay's key answered. */
    answered: Count,
    /** Median, of those that were answered; null: none was. */
    latencyMs: z.int().min(0).max(600_000).nullable(),
    /** Contracts that ended as agreed, and that did not. */
    kept: Count,
    broken: Count,
    /** Audits that explained every satoshi, and that found forged claims. */
    explained: Count,
    forged: Count,
  })
  .refine(
    ({ probes, answered, latencyMs }) => answered <= probes && (latencyMs === null) === (answered === 0),
    {
      error: 'more answers than probes, or a latency without an answer',
    },
  )
export type Observed = z.infer<typeof Observed>

export const Observation = z.strictObject({
  type: z.literal('relayObservation'),
  v: z.literal(1),
  /** When it was made. */
  at: Milliseconds,
  relays: z.array(Observed).min(1).max(observationLimits.relays),
})
export type Observation = z.infer<typeof Observation>

/** The text of a post. @throws ERR_MALFORMED for what no reader would take */
export function encodeObservation(observation: Omit<Observation, 'type' | 'v'>): string {
  const whole = Observation.safeParse({ type: 'relayObservation', v: 1, ...observation })
  if (!whole.success) throw new MarketError('ERR_MALFORMED', firstIssue(whole.error))
  return canonicalize(whole.data)
}

/** Undefined for a post that is no observation, or none that could be one: most posts are about something else. */
export function decodeObservation(text: string): Observation | undefined {
  if (!text.startsWith('{"at":') || utf8Length(text) > observationLimits.textBytes) return undefined
  try {
    const { data } = Observation.safeParse(parseCanonical(text))
    const isOnce =
      data !== undefined && new Set(data.relays.map(({ relay }) => relay)).size === data.relays.length
    return isOnce ? data : undefined
  } catch (error) {
    if (error instanceof MarketError) return undefined
    throw error
  }
}

/** Who saw it. */
export interface Hearsay {
  readonly from: Key
  readonly at: number
  readonly observed: Observed
}

/** What observers together come to. */
export interface Opinion {
  /** 0–1000: the median of what each observer's counts score here. */
  readonly score: number
  readonly observers: number
  /** Observers whose counts contradict what we measured ourselves. */
  readonly setAside: number
}

/**
 * Scores reports on one relay. The newest of each observer counts, once; a relay's own word of itself does not; who contradicts
 * own measurements is set aside; of the rest the median, which a minority cannot move far. Undefined where nothing is left.
 */
export function opinionOf(
  heard: readonly Hearsay[],
  { own, now }: { readonly own: { readonly asked: number; readonly answered: number }; readonly now: number },
): Opinion | undefined {
  const { lifeMs, futureMs, ownProbes, contradiction } = observationLimits
  const newest = new Map<Key, Hearsay>()
  for (const one of heard) {
    if (one.from === one.observed.relay || one.at > now + futureMs || one.at < now - lifeMs) continue
    const known = newest.get(one.from)
    if (known === undefined || one.at > known.at) newest.set(one.from, one)
  }
  const contradicts = ({ observed: { probes, answered } }: Hearsay): boolean =>
    own.asked >= ownProbes &&
    probes > 0 &&
    Math.abs(share(own.answered, own.asked) - share(answered, probes)) >= contradiction
  const heeded = [...newest.values()].filter((one) => !contradicts(one))
  const setAside = newest.size - heeded.length
  if (newest.size === 0) return undefined
  if (heeded.length === 0) return { score: neutral, observers: 0, setAside }
  const scores = heeded.map(({ observed }) => scoreOf(observed)).sort((a, b) => a - b)
  return { score: scores[Math.floor((scores.length - 1) / 2)]!, observers: heeded.length, setAside } // there is one
}

/** What says neither well nor ill. */
const neutral = 500
const share = (part: number, whole: number): number => Math.floor((1000 * part) / whole)

/** A failure weighs as much as so many successes: trust is lost sooner than it is won. */
export const failureWeight = 4

/** 0–1000: the share of what went well, a success and a failure assumed of what is not known. */
export const trust = (good: number, bad: number): number => share(good + 1, good + bad + 2)

function scoreOf({ probes, answered, kept, broken, explained, forged }: Observed): number {
  const good = kept + explained
  const bad = failureWeight * broken + 10 * forged
  return Math.floor((trust(answered, failureWeight * (probes - answered)) + trust(good, bad)) / 2)
}
