/** What the adverts of a book are worth to this user: with his usage, his evidence, his limits. */
import { chooseSet, type ChosenSet, type Wanted } from '../../market/choose-set.ts'
import { AdvertNetwork } from '../../market/advert.ts'
import { noEvidence } from '../../market/factors.ts'
import { opinionOf } from '../../market/observation.ts'
import { assess, type Candidate, type Limits, type Why } from '../../market/score.ts'
import { type UsagePattern, usualPattern } from '../../market/usage-pattern.ts'
import type { Context } from '../context.ts'
import { codeOf } from '../errors.ts'
import { marketSettings, savedProbes } from '../home/market.ts'
import { networkOf } from '../money/wallet.ts'
import { ownRelays } from '../people/relays.ts'
import type { KnownAdvert } from './book.ts'
import { ownEvidence, ownPattern } from './history.ts'
import { hearsay } from './observations.ts'
import { probe, type Probed, probeLimits, type ProbeOptions } from './probe.ts'

type PartOfPattern = { readonly [name in keyof UsagePattern]?: UsagePattern[name] | undefined }

/** What the user says of himself; the rest is known, or usual. */
export interface Wishes {
  /** Over what his journal says. */
  readonly pattern?: PartOfPattern | undefined
  /** Of the network of his coins unless said. */
  readonly limits?: Omit<Limits, 'blocked' | 'allowPrivate' | 'mustAnswer'> | undefined
}

/** Where the pattern came from. */
export interface Usage {
  readonly pattern: UsagePattern
  readonly by: 'journal' | 'usual'
}

export async function usageOf(ctx: Context, given: PartOfPattern = {}): Promise<Usage> {
  const own = await ownPattern(ctx)
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  return { pattern: { ...(own ?? usualPattern), ...said }, by: own === undefined ? 'usual' : 'journal' }
}

export interface Judged {
  readonly usage: Usage
  readonly limits: Limits
  /** The best first. */
  readonly all: Why[]
}

/** Judges all of these adverts by what is known here; nobody is asked. @throws ERR_DAMAGED */
export async function judge(
  ctx: Context,
  known: readonly KnownAdvert[],
  { pattern, limits = {} }: Wishes,
  { mustAnswer = false }: { readonly mustAnswer?: boolean } = {},
): Promise<Judged> {
  const { home, dialer } = ctx
  const now = ctx.now()
  const [usage, settings, evidence, probes, heard, isForbidden, own, network] = await Promise.all([
    usageOf(ctx, pattern),
    marketSettings(home),
    ownEvidence(home),
    savedProbes(home),
    hearsay(ctx),
    dialer.judge(),
    ownRelays(ctx),
    limits.network ?? ownNetwork(ctx),
  ])
  const candidates = known.map(({ sealed, seen, channels }): Candidate => {
    const { key, url } = sealed.address
    const ours = { ...noEvidence(seen), ...evidence.get(key) }
    const opinion = opinionOf(heard.get(key) ?? [], { own: ours.probes, now }) ?? null
    const addresses = probes.get(key)?.addresses ?? []
    return { sealed, channels, addresses, isPrivate: isForbidden(url), evidence: { ...ours, opinion } }
  })
  const all: Limits = { ...limits, network, mustAnswer, blocked: new Set(settings.blocked) }
  return { usage, limits: all, all: assess(candidates, { ...usage, limits: all, now, own }) }
}

/** Of the coins of this home; undefined while no chain was named. */
async function ownNetwork(ctx: Context): Promise<AdvertNetwork | undefined> {
  try {
    return AdvertNetwork.parse(await networkOf(ctx, {}))
  } catch (error) {
    if (codeOf(error) === 'ERR_USAGE') return undefined
    throw error
  }
}

/** Probes those that keep the limits, the best first, and the other relays that claim an address of theirs. */
export async function probeBest(
  ctx: Context,
  known: readonly KnownAdvert[],
  judged: Judged,
  { most = probeLimits.relays, ...options }: Omit<ProbeOptions, 'pattern'> & { readonly most?: number } = {},
): Promise<Probed[]> {
  const byKey = new Map(known.map((one) => [one.sealed.address.key, one]))
  // What was refused for an answer of another time is asked again: a relay may have come back.
  const open = judged.all.filter(({ refused }) => refused.every(({ limit }) => isOfProbes.has(limit)))
  const wanted = open.slice(0, most)
  const claimed = new Set(wanted.map(({ url }) => url))
  const rivals = open.slice(most).filter(({ url }) => claimed.has(url))
  const targets = [...wanted, ...rivals].map(({ relay }) => {
    const { address, advert } = byKey.get(relay)!.sealed // it was judged by it
    return { address, recordBytes: advert.limits.recordBytes, ttl: advert.limits.ttl }
  })
  return probe(ctx, targets, { ...options, pattern: judged.usage.pattern })
}
const isOfProbes: ReadonlySet<string> = new Set(['another key', 'dearer', 'unreachable'])

export interface Choice extends Judged {
  readonly set: ChosenSet
  readonly probed: readonly Probed[]
}

/** Judges, probes the best, judges again by what they answered, and picks a set of those that did. @throws ERR_LIMIT, ERR_DAMAGED */
export async function choose(
  ctx: Context,
  known: readonly KnownAdvert[],
  {
    wishes,
    wanted,
    ...options
  }: Omit<ProbeOptions, 'pattern'> & { readonly wishes: Wishes; readonly wanted: Wanted },
): Promise<Choice> {
  const first = await judge(ctx, known, wishes)
  // Several times as many as are wanted, since some will not answer, or be neighbours.
  const most = Math.min(probeLimits.relays, probesFor * wanted.count)
  const probed = await probeBest(ctx, known, first, { ...options, most })
  const judged = await judge(ctx, known, wishes, { mustAnswer: true })
  return { ...judged, set: chooseSet(judged.all, wanted), probed }
}
const probesFor = 6
