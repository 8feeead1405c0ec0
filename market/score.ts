/**
 * How a client judges what relays offer (docs/protocol.md §12.9): hard limits first, then a score in which every point is
 * explained. All in integers: scores are thousandths, money is satoshi. Nothing here is asked before own data are read.
 */
import { type AdvertNetwork, advertLimits, pricesOf, type SealedAdvert } from './advert.ts'
import { type Evidence, type Factor, type FactorName, factorsOf } from './factors.ts'
import { type Family, familyOf, neighbourhoodsOf } from './neighbours.ts'
import { ceilSatoshi } from './price.ts'
import type { Key, Prices } from './units.ts'
import { meterOf, milliSatoshis, type MonthlyUnits, type UsagePattern } from './usage-pattern.ts'

export type { Evidence, Factor, FactorName } from './factors.ts'
export { noEvidence, weights } from './factors.ts'

/** What a relay must be to be considered at all; what is not said is not asked for. */
export interface Limits {
  /** Relays that take no coins are of every network. */
  readonly network?: AdvertNetwork | undefined
  /** Ceilings of single prices, as adverts have them. */
  readonly most?: { readonly [name in keyof Prices]?: Prices[name] | undefined } | undefined
  /** Satoshi for a month of the pattern. */
  readonly monthly?: number | undefined
  /** Besides what the pattern needs. Bytes, seconds. */
  readonly recordBytes?: number | undefined
  readonly ttl?: number | undefined
  readonly bits?: number | undefined
  readonly features?: readonly string[] | undefined
  readonly families?: readonly Family[] | undefined
  readonly blocked?: ReadonlySet<Key> | undefined
  /** Addresses in private networks are for devnets and tests. */
  readonly allowPrivate?: boolean | undefined
  /** The last probe must have been answered. */
  readonly mustAnswer?: boolean | undefined
}

export interface Candidate {
  readonly sealed: SealedAdvert
  /** The channels that have this advert: told, and worth nothing. */
  readonly channels: readonly string[]
  /** Where its name was seen to lead to. */
  readonly addresses: readonly string[]
  /** Its address leads into a private network, as far as can be seen without asking. */
  readonly isPrivate: boolean
  readonly evidence: Evidence
}

const limitNames = [
  'blocked',
  'network',
  'private address',
  'address family',
  'stamp',
  'record bytes',
  'ttl',
  'features',
  'storage price',
  'egress price',
  'ingress price',
  'monthly cost',
  'another key',
  'dearer',
  'forged',
  'unreachable',
] as const
export type LimitName = (typeof limitNames)[number]

/** A limit that a relay does not keep. */
export interface Refused {
  readonly limit: LimitName
  readonly says: string
}

/** Everything that a relay's place came of. */
export interface Why {
  readonly relay: Key
  readonly url: string
  readonly network: AdvertNetwork | null
  readonly channels: readonly string[]
  readonly neighbourhoods: readonly string[]
  /** The highest of what it advertised and what it quoted since, and which. */
  readonly prices: Prices
  readonly pricesBy: 'advert' | 'quote'
  /** For a month of the pattern: satoshi, and thousandths of one by parts. */
  readonly monthly: {
    readonly satoshis: number
    readonly milli: { readonly storage: number; readonly egress: number; readonly ingress: number }
  }
  /** Empty: it is considered. */
  readonly refused: readonly Refused[]
  /** 0–1000, the sum of the points; null where a limit refuses it. */
  readonly score: number | null
  readonly factors: Readonly<Record<FactorName, Factor>> | null
}

export interface Assessing {
  readonly pattern: UsagePattern
  readonly limits: Limits
  /** Milliseconds since 1970. */
  readonly now: number
  /** The own relays: to be near one of them adds little. */
  readonly own?: readonly { readonly key: Key; readonly url: string }[] | undefined
}

/** Judges all of them together, since cheap is what is cheaper than others. The best first; what a limit refuses, last. */
export function assess(candidates: readonly Candidate[], asking: Assessing): Why[] {
  const own = (asking.own ?? []).map(({ key, url }) => ({ key, near: neighbourhoodsOf(url) }))
  const meter = meterOf(asking.pattern)
  const looked = candidates.map((candidate) => lookAt(candidate, { ...asking, meter }))
  const usual = Math.max(1, median(costsApart(looked.filter(({ refused }) => refused.length === 0))))
  const all = looked.map((why, index): Why => {
    if (why.refused.length > 0) return why
    const { sealed, evidence } = candidates[index]! // one for each
    const isNear = own.some(
      ({ key, near }) => key !== why.relay && near.some((name) => why.neighbourhoods.includes(name)),
    )
    const { satoshis } = why.monthly
    const { bits = advertLimits.bits } = asking.limits
    const factors = factorsOf({ sealed, evidence, satoshis, usual, isNear, bits, now: asking.now })
    return { ...why, factors, score: Object.values(factors).reduce((sum, { points }) => sum + points, 0) }
  })
  return all.sort(bestFirst)
}

/** Equal ones stand in the order of their keys, so that nobody's place depends on who was read first. */
function bestFirst(a: Why, b: Why): number {
  if (a.score !== b.score) return (b.score ?? -1) - (a.score ?? -1)
  if (a.monthly.satoshis !== b.monthly.satoshis) return a.monthly.satoshis - b.monthly.satoshis
  return a.relay < b.relay ? -1 : 1
}

/** Neighbours count as one, the cheapest: what is usual is not for one operator to say. */
function costsApart(all: readonly Why[]): number[] {
  const [near, costs] = [new Set<string>(), [] as number[]]
  for (const { neighbourhoods, monthly } of [...all].sort(cheapestFirst)) {
    if (neighbourhoods.some((name) => near.has(name))) continue
    for (const name of neighbourhoods) near.add(name)
    costs.push(monthly.satoshis)
  }
  return costs
}

const cheapestFirst = (a: Why, b: Why): number =>
  a.monthly.satoshis - b.monthly.satoshis || (a.relay < b.relay ? -1 : 1)

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? 0

/** Its cost, and what keeps it out. */
function lookAt(
  candidate: Candidate,
  {
    pattern,
    limits,
    now,
    meter,
  }: Pick<Assessing, 'pattern' | 'limits' | 'now'> & { meter: (prices: Prices) => MonthlyUnits },
): Why {
  const { sealed, evidence, channels, addresses } = candidate
  const { url, key: relay } = sealed.address
  const offered = pricesOf(sealed.advert)
  const { quoted } = evidence.probes
  const { timestamp } = sealed.advert
  // A quote of before the advert says nothing of it; one of the future came before whatever was quoted lately.
  const since = timestamp > now ? now - advertLimits.futureMs : timestamp
  const isQuoted = quoted !== null && quoted.at >= since
  const prices = isQuoted ? higher(offered, quoted.prices) : offered
  const { storage, egress, ingress } = meter(prices)
  const why: Why = {
    ...{ relay, url, network: sealed.advert.network, channels },
    neighbourhoods: neighbourhoodsOf(url, addresses),
    ...{ prices, pricesBy: isQuoted ? 'quote' : 'advert' },
    monthly: {
      satoshis: ceilSatoshi(storage + egress + ingress),
      milli: {
        storage: milliSatoshis(storage),
        egress: milliSatoshis(egress),
        ingress: milliSatoshis(ingress),
      },
    },
    ...{ refused: [], score: null, factors: null },
  }
  return { ...why, refused: refusals(candidate, why, { pattern, limits }) }
}

const higher = (a: Prices, b: Prices): Prices => ({
  storageGBDay: Math.max(a.storageGBDay, b.storageGBDay),
  egressGB: Math.max(a.egressGB, b.egressGB),
  ingressGB: Math.max(a.ingressGB, b.ingressGB),
})

/** Every limit that it does not keep, not only the first: its user may want to know what to loosen. */
function refusals(
  { sealed, evidence, isPrivate }: Candidate,
  { relay, url, prices, pricesBy, monthly }: Why,
  { pattern, limits }: Pick<Assessing, 'pattern' | 'limits'>,
): Refused[] {
  const found: Refused[] = []
  const unless = (isKept: boolean, limit: LimitName, says: () => string) => {
    if (!isKept) found.push({ limit, says: says() })
  }
  const { advert, bits } = sealed
  const { network, most = {}, families, features = [], bits: wanted = 0 } = limits
  const bytes = Math.max(pattern.bytes, limits.recordBytes ?? 0)
  const ttl = Math.max(pattern.ttl, limits.ttl ?? 0)
  const lacking = features.filter((feature) => !advert.features.includes(feature))
  const { another, asked, isLastAnswered } = evidence.probes
  const under = (price: number, ceiling: number | undefined, limit: LimitName) =>
    unless(price <= (ceiling ?? price), limit, () => `it asks ${price}, and ${ceiling} is your most`)
  unless(limits.blocked?.has(relay) !== true, 'blocked', () => 'you blocked it')
  unless(
    network === undefined || advert.network === null || advert.network === network,
    'network',
    () => `it takes coins of ${advert.network}, not of ${network}`,
  )
  unless(
    !isPrivate || limits.allowPrivate === true,
    'private address',
    () => `${url} is in a private network`,
  )
  unless(
    families === undefined || families.includes(familyOf(url)),
    'address family',
    () => `its address is ${familyOf(url)}`,
  )
  unless(bits >= wanted, 'stamp', () => `its stamp has ${bits} bits of ${wanted}`)
  unless(advert.limits.recordBytes >= bytes, 'record bytes', () => `${advert.limits.recordBytes} of ${bytes}`)
  unless(advert.limits.ttl >= ttl, 'ttl', () => `it keeps records for ${advert.limits.ttl} s, not ${ttl} s`)
  unless(lacking.length === 0, 'features', () => `it lacks ${lacking.join(', ')}`)
  under(prices.storageGBDay, most.storageGBDay, 'storage price')
  under(prices.egressGB, most.egressGB, 'egress price')
  under(prices.ingressGB, most.ingressGB, 'ingress price')
  under(monthly.satoshis, limits.monthly, 'monthly cost')
  unless(another === null, 'another key', () => `at its address answers ${another}`)
  const isDearer = pricesBy === 'quote' && !samePrice(prices, pricesOf(advert))
  unless(!isDearer, 'dearer', () => 'it quoted more than it advertises')
  unless(evidence.audits.forged === 0, 'forged', () => 'an audit of yours found forged claims in its bill')
  unless(limits.mustAnswer !== true || (asked > 0 && isLastAnswered), 'unreachable', () =>
    asked === 0 ? 'nobody asked it yet' : 'when it was asked last it did not answer, or had no room',
  )
  return found
}

const samePrice = (a: Prices, b: Prices): boolean =>
  a.storageGBDay === b.storageGBDay && a.egressGB === b.egressGB && a.ingressGB === b.ingressGB
