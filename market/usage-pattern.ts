/**
 * How somebody uses relays: so many records of one kind. With it the prices of any relay become one number, satoshi per month,
 * in which relays with quite different prices can be compared (docs/protocol.md §12.9).
 */
import { z } from 'zod'
import { ceilSatoshi, egressUnits, ingressUnits, storageUnits, unitsPerSatoshi } from './price.ts'
import { dayMs, type Prices } from './units.ts'

/** A month has so many days here. */
export const monthDays = 30

export const UsagePattern = z.strictObject({
  /** Records that are written in a month. */
  records: z.int().min(0).max(1_000_000_000),
  /** Bytes of content of each. */
  bytes: z.int().min(1).max(1_000_000_000_000),
  /** For how long each is kept, seconds. */
  ttl: z.int().min(1).max(1_000_000_000),
  /** How often each is pulled from each relay; a thousandth is the unit, since not every copy is pulled. */
  milliPulls: z.int().min(0).max(1_000_000_000),
})
export type UsagePattern = z.infer<typeof UsagePattern>

/** Of somebody of whom nothing is known: twenty messages a day, kept for a week, each read once. */
export const usualPattern: UsagePattern = { records: 600, bytes: 4096, ttl: 7 * 86_400, milliPulls: 1000 }

/** What it costs by its parts, exact, in units of market/price.ts. */
export interface MonthlyUnits {
  readonly ingress: bigint
  readonly storage: bigint
  readonly egress: bigint
}

/**
 * What the records of one month come to over their whole lives: once as many expire as are written, that is a month's bill. Made
 * once for a pattern, since a bill is in proportion to each price.
 */
export function meterOf({ records, bytes, ttl, milliPulls }: UsagePattern): (prices: Prices) => MonthlyUnits {
  const [many, one] = [BigInt(records), { storageGBDay: 1, egressGB: 1, ingressGB: 1 }]
  const ingress = many * ingressUnits(bytes, one)
  const storage = many * storageUnits(bytes, ttl * 1000, one)
  // Exact: the units of a byte are a multiple of 1000.
  const egress = (many * BigInt(milliPulls) * egressUnits(bytes, one)) / 1000n
  return ({ storageGBDay, egressGB, ingressGB }) => ({
    ingress: ingress * BigInt(ingressGB),
    storage: storage * BigInt(storageGBDay),
    egress: egress * BigInt(egressGB),
  })
}

/** Satoshi per month; a begun satoshi counts whole. */
export const monthlySatoshis = (pattern: UsagePattern, prices: Prices): number => {
  const { ingress, storage, egress } = meterOf(pattern)(prices)
  return ceilSatoshi(ingress + storage + egress)
}

/** Thousandths of a satoshi, rounded up: for parts that would otherwise all be one. */
export const milliSatoshis = (units: bigint): number =>
  Number((units * 1000n + unitsPerSatoshi - 1n) / unitsPerSatoshi)

/** A record as its writer remembers it; milliseconds. */
export interface PastRecord {
  /** At least 1. */
  readonly bytes: number
  readonly sent: number
  readonly expires: number
  /** By receivers who said so, from one relay. */
  readonly pulls: number
}

/**
 * What these records come to as a pattern; undefined without any. Records of less than a day count as those of a day, so that a
 * first hour is not taken for a habit. Times and pulls are those of the mean byte: what is paid for is bytes over time, so one
 * small record that is kept for a year does not make a year of the large ones.
 */
export function patternOf(past: readonly PastRecord[], now: number): UsagePattern | undefined {
  if (past.length === 0) return undefined
  const since = past.reduce((least, { sent }) => Math.min(least, sent), now)
  const days = Math.max(1, Math.ceil((now - since) / dayMs))
  const sum = (of: (one: PastRecord) => number) => past.reduce((all, one) => all + of(one), 0)
  const whole = sum(({ bytes }) => bytes)
  /** Exact: the sums are beyond doubles. */
  const ofByte = (of: (one: PastRecord) => number) => {
    const all = past.reduce((all, one) => all + BigInt(one.bytes) * BigInt(of(one)), 0n)
    return Number((all + BigInt(whole) - 1n) / BigInt(whole))
  }
  return UsagePattern.parse({
    records: Math.ceil((past.length * monthDays) / days),
    bytes: Math.ceil(whole / past.length),
    ttl: Math.max(1, Math.ceil(ofByte(({ sent, expires }) => Math.max(0, expires - sent)) / 1000)),
    milliPulls: ofByte(({ pulls }) => pulls * 1000),
  })
}
