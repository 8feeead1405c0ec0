/** Whom the simulation is about: relays with costs, disks and manners, and users with habits and budgets. */
import { toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import type { SealedAdvert } from '../../market/advert.ts'
import { billedBytes } from '../../market/price.ts'
import {
  decidePrices,
  type Drift,
  type MovingPrice,
  noDrift,
  type RuleParameters,
} from '../../market/pricing-rule.ts'
import { dayMs } from '../../market/units.ts'
import type { UsagePattern } from '../../market/usage-pattern.ts'
import type { Chance } from './random.ts'

export const manners = ['fair', 'greedy', 'failing'] as const
/** Prices by the rule and answers; four times as dear as that, whatever its load; by the rule, and often silent. */
export type Manner = (typeof manners)[number]

export const ticksPerDay = 3
export const tickMs = dayMs / ticksPerDay
export const gigabyte = 1_000_000_000
/** Of relays: one in so many. */
const oneIn = { greedy: 33, failing: 33 } as const
const greed = 4
/** What a user with the smallest and the largest purse pays, times what his usage costs a usual relay. */
export const purses = [1.3, 1.8, 2.5, 4] as const

/** Four habits: bytes kept at a time, and bytes pulled in a day, follow. */
export const habits: readonly UsagePattern[] = [
  { records: 600, bytes: 4096, ttl: 7 * 86_400, milliPulls: 1000 },
  { records: 3000, bytes: 2048, ttl: 30 * 86_400, milliPulls: 2000 },
  { records: 60, bytes: 400_000, ttl: 30 * 86_400, milliPulls: 1000 },
  { records: 30, bytes: 1_000_000, ttl: 90 * 86_400, milliPulls: 200 },
]
const stored = ({ records, bytes, ttl }: UsagePattern): number =>
  Math.ceil((records * billedBytes(bytes) * ttl) / (30 * 86_400))
const served = ({ records, bytes, milliPulls }: UsagePattern): number =>
  Math.ceil((records * billedBytes(bytes) * milliPulls) / 30_000)
/** Of a user of each habit. */
export const keptBytes = habits.map(stored)
export const dailyBytes = habits.map(served)

export interface SimRelay {
  readonly key: string
  readonly manner: Manner
  readonly parameters: RuleParameters
  readonly capacityBytes: number
  readonly latencyMs: number
  /** How often it answers, of 1. */
  readonly uptime: number
  prices: Record<MovingPrice, number>
  drifts: Record<MovingPrice, Drift>
  /** Users of each habit. */
  readonly users: number[]
  storedBytes: number
  servedBytes: number
  sealed: SealedAdvert
  /** Satoshi, of the last days that count. */
  revenue: number
  cost: number
}

/** As much disk and bandwidth together as the users need at a little more than two thirds of it. */
export function makeRelays(
  count: number,
  demand: { kept: number; daily: number },
  chance: Chance,
): SimRelay[] {
  const sizes = Array.from({ length: count }, () => chance.about(0.6))
  const all = sizes.reduce((sum, size) => sum + size, 0)
  return sizes.map((size, index) => {
    const manner: Manner =
      index % oneIn.greedy === 7 ? 'greedy' : index % oneIn.failing === 19 ? 'failing' : 'fair'
    const capacityBytes = Math.ceil((demand.kept * 1.45 * size) / all)
    const bandwidth = Math.max(1, Math.ceil((demand.daily * 1.45 * size) / all / gigabyte))
    const costs = chance.about(0.15)
    const parameters: RuleParameters = {
      diskCost: Math.ceil((capacityBytes / gigabyte) * 30_000 * costs * chance.about(0.1)),
      trafficCost: Math.ceil(20_000 * costs * chance.about(0.1)),
      fixedCost: Math.ceil((capacityBytes / gigabyte) * 10_000 * costs),
      bandwidth,
      ...{ margin: 20 + chance.below(21), target: 70, step: 5, band: 5 },
      ...{ storageFloor: 1, storageCeiling: 1_000_000_000, egressFloor: 1, egressCeiling: 1_000_000_000 },
    }
    const key = `02${toHex(sha256(`relay ${index}`))}`
    const load = { storedBytes: capacityBytes * 0.7, capacityBytes, servedBytes: bandwidth * 0.7 * gigabyte }
    const first = decidePrices({ ...load, connections: 0, connectionLimit: 1 }, parameters, free)
    const times = manner === 'greedy' ? greed : 1
    const prices = {
      storageGBDay: first.storageGBDay.after * times,
      egressGB: first.egressGB.after * times,
    }
    return {
      ...{ key, manner, parameters, capacityBytes, prices },
      latencyMs: 20 + chance.below(200),
      uptime: manner === 'failing' ? 0.6 + 0.25 * chance() : 0.99 + 0.01 * chance(),
      drifts: { storageGBDay: noDrift, egressGB: noDrift },
      users: habits.map(() => 0),
      ...{ storedBytes: 0, servedBytes: 0, revenue: 0, cost: 0 },
      sealed: advertOf(key, index, prices, 0),
    }
  })
}

const free = { storageGBDay: 0, egressGB: 0 }

/** As a channel would bring it, but for the signature, which nobody looks at here. */
export function advertOf(
  serverPubKey: string,
  index: number,
  prices: Record<MovingPrice, number>,
  now: number,
): SealedAdvert {
  const url = `https://10${index % 10}.${Math.floor(index / 4) % 250}.${index % 4}.${index % 250}`
  const advert = {
    ...{ type: 'serverBroadcast' as const, serverPubKey, address: url, protocol: 1 as const, features: [] },
    ...{ storageCostPerGigPerDay: prices.storageGBDay, bandwidthCostPerGig: prices.egressGB },
    ...{ network: 'main' as const, limits: { recordBytes: 1 << 20, ttl: 366 * 86_400 } },
    ...{ timestamp: now, seq: now, expires: now + 86_400_000, proofOfWork: '0', signature: '30' },
  }
  return {
    advert,
    text: '',
    hash: '',
    bits: 20,
    address: { url, key: serverPubKey } as SealedAdvert['address'],
  }
}

/** Each counts by himself: where he is, since when, and what he lived through there. */
export interface Users {
  readonly count: number
  readonly habit: Uint8Array
  readonly purse: Uint8Array
  /** The tick at which he comes. */
  readonly from: Uint16Array
  /** The relay he is at; −1: at none. */
  readonly at: Int16Array
  readonly since: Uint16Array
  readonly reviewed: Uint16Array
  readonly asked: Uint16Array
  readonly answered: Uint16Array
  readonly kept: Uint8Array
  readonly broken: Uint8Array
}

/** A third is there at the beginning; the others come in the first thirty days. */
export function makeUsers(count: number, chance: Chance): Users {
  const users: Users = {
    count,
    habit: new Uint8Array(count),
    purse: new Uint8Array(count),
    from: new Uint16Array(count),
    at: new Int16Array(count).fill(-1),
    since: new Uint16Array(count),
    reviewed: new Uint16Array(count),
    asked: new Uint16Array(count),
    answered: new Uint16Array(count),
    kept: new Uint8Array(count),
    broken: new Uint8Array(count),
  }
  for (let user = 0; user < count; user++) {
    const draw = chance()
    users.habit[user] = draw < 0.5 ? 0 : draw < 0.75 ? 1 : draw < 0.95 ? 2 : 3
    users.purse[user] = chance.below(purses.length)
    users.from[user] = chance() < 1 / 3 ? 0 : chance.below(30 * ticksPerDay)
  }
  return users
}
