/** What the adverts of a book are worth to this user: with his usage, his evidence, his limits. */
import { chooseSet, type ChosenSet, type Wanted } from '../../market/choose-set.ts'
import { AdvertNetwork } from '../../market/advert.ts'
import { noEvidence } from '../../market/factors.ts'
import { opinionOf } from '../../market/observation.ts'
import { assess, type Candidate, type Limits, type Why } from '../../market/score.ts'
import { type UsagePattern, usualPattern } from '../../market/usage-pattern.ts'
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
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

/** Where the pattern came from, as far as it was not said. */
export interface Usage {
  readonly pattern: UsagePattern
  readonly by: 'journal' | 'usual' | 'said'
}

async function usageOf(ctx: Context, given: PartOfPattern = {}): Promise<Usage> {
  const own = await ownPattern(ctx)
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  const known = own === undefined ? 'usual' : 'journal'
  const by = Object.keys(said).length === Object.keys(usualPattern).length ? 'said' : known
  return { pattern: { ...(own ?? usualPattern), ...said }, by }
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

/**
 * Probes those that keep the limits, the best first, and the other relays that claim an address of theirs. Those that did not answer
 * last come after all others: who promises much and is not there keeps nobody from being asked.
 */
export async function probeBest(
  ctx: Context,
  known: readonly KnownAdvert[],
  judged: Judged,
  {
    most = probeLimits.relays,
    asked = new Set(),
    ...options
  }: Omit<ProbeOptions, 'pattern'> & {
    readonly most?: number
    /** Who has been asked in this call. */
    readonly asked?: ReadonlySet<Key>
  } = {},
): Promise<Probed[]> {
  const byKey = new Map(known.map((one) => [one.sealed.address.key, one]))
  // What was refused for an answer of another time is asked again: a relay may have come back.
  const keeping = judged.all.filter(({ refused }) => refused.every(({ limit }) => isOfProbes.has(limit)))
  const before = await savedProbes(ctx.home)
  const isGone = ({ relay }: Why): boolean => before.get(relay)?.probes.at(-1)?.ms === null
  const open = [...keeping.filter((why) => !isGone(why)), ...keeping.filter(isGone)].filter(
    ({ relay }) => !asked.has(relay),
  )
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

/**
 * Judges, probes the best, judges again by what they answered, and picks a set of those that did; while some did not, and the set
 * is short, the next best are asked. @throws ERR_LIMIT, ERR_DAMAGED
 */
export async function choose(
  ctx: Context,
  known: readonly KnownAdvert[],
  {
    wishes,
    wanted,
    ...options
  }: Omit<ProbeOptions, 'pattern'> & { readonly wishes: Wishes; readonly wanted: Wanted },
): Promise<Choice> {
  const probed: Probed[] = []
  for (;;) {
    const first = await judge(ctx, known, wishes)
    const asked = new Set(probed.map(({ relay }) => relay))
    // Several times as many as are wanted, since some will not answer, or be neighbours.
    const most = Math.max(0, Math.min(probeLimits.relays - probed.length, probesFor * wanted.count))
    const more = await probeBest(ctx, known, first, { ...options, most, asked })
    probed.push(...more)
    const judged = await judge(ctx, known, wishes, { mustAnswer: true })
    const set = chooseSet(judged.all, wanted)
    if (set.chosen.length === wanted.count || more.every(({ ms }) => ms !== null))
      return { ...judged, set, probed }
  }
}
const probesFor = 6

/** Digits of a key that name a relay, at least. */
const leastOfKey = 6

/** One relay, by its key, the beginning of it, its URL or address. @throws ERR_NOT_FOUND, ERR_CONFLICT */
export function named(all: readonly Why[], reference: string): Why {
  const asked = reference.replace(/\/+$/, '')
  const isShort = asked.length < leastOfKey && /^[0-9a-f]+$/.test(asked)
  const found = all.filter(
    ({ relay, url }) =>
      url === asked || `${url}#${relay}` === asked || (asked.length >= leastOfKey && relay.startsWith(asked)),
  )
  if (found.length === 1) return found[0]!
  if (found.length === 0 && isShort)
    throw new MarketError(
      'ERR_NOT_FOUND',
      `${reference} is too short: name at least ${leastOfKey} digits of a key`,
    )
  if (found.length === 0)
    throw new MarketError('ERR_NOT_FOUND', `no advert of ${reference} is known: relay market list`)
  throw new MarketError('ERR_CONFLICT', `${reference} is ${found.length} relays: name one by its key`)
}
