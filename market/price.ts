/**
 * What service costs (docs/protocol.md §4.9). Amounts are exact, in units of which one satoshi has 86 400 000 · 10^9, so
 * that a price of one satoshi per GB and day times one byte and one millisecond is one unit. Rounding happens here, once.
 */
import { dayMs, type Prices, protocolLimits } from './units.ts'

/** Counted on top of the content of a record, stored or moved: its envelope, its index. */
const overheadBytes = 512
/** What a `prove` is billed as: one pull of so many bytes. */
export const proofBytes = 1024

/** Units of one byte moved at a price of one satoshi per GB. */
const unitsPerByte = BigInt(dayMs)
export const unitsPerSatoshi = unitsPerByte * 1_000_000_000n

export const freePrices: Prices = { egressGB: 0, ingressGB: 0, storageGBDay: 0 }
export const isFree = ({ storageGBDay, egressGB, ingressGB }: Prices): boolean =>
  storageGBDay === 0 && egressGB === 0 && ingressGB === 0

export const samePrices = (a: Prices, b: Prices): boolean =>
  a.storageGBDay === b.storageGBDay && a.egressGB === b.egressGB && a.ingressGB === b.ingressGB

/** What one record of `bytes` content bytes is charged by: what its receipt says. */
export interface Service {
  readonly bytes: number
  /** Storage is billed from here … */
  readonly at: number
  /** … to here at most, milliseconds since 1970. */
  readonly paidUntil: number
  readonly maxPulls: number
  readonly prices: Prices
}

export const billedBytes = (bytes: number): number => bytes + overheadBytes

export const ingressUnits = (bytes: number, prices: Prices): bigint =>
  BigInt(billedBytes(bytes)) * BigInt(prices.ingressGB) * unitsPerByte

/** One pull. */
export const egressUnits = (bytes: number, prices: Pick<Prices, 'egressGB'>): bigint =>
  BigInt(billedBytes(bytes)) * BigInt(prices.egressGB) * unitsPerByte

/** Nothing for a time that is not positive: a record may come when it is as good as over. */
export const storageUnits = (bytes: number, ms: number, prices: Prices): bigint =>
  ms <= 0 ? 0n : BigInt(billedBytes(bytes)) * BigInt(ms) * BigInt(prices.storageGBDay)

/** The most a record can come to: kept until the end, pulled as often as it may be. */
export const worstUnits = ({ bytes, at, paidUntil, maxPulls, prices }: Service): bigint =>
  ingressUnits(bytes, prices) +
  storageUnits(bytes, paidUntil - at, prices) +
  BigInt(maxPulls) * egressUnits(bytes, prices)

/** What is owed: a begun satoshi is not yet owed. */
export const floorSatoshi = (units: bigint): number => Number(units / unitsPerSatoshi)

/** What is reserved or quoted: a begun satoshi counts whole. */
export const ceilSatoshi = (units: bigint): number => Number((units + unitsPerSatoshi - 1n) / unitsPerSatoshi)

/** For people: satoshi to three decimals, rounded up. */
export function formatUnits(units: bigint): string {
  const thousandths = (units * 1000n + unitsPerSatoshi - 1n) / unitsPerSatoshi
  const digits = thousandths.toString().padStart(4, '0')
  return `${digits.slice(0, -3)}.${digits.slice(-3)}`.replace(/\.?0+$/, '')
}

export interface Wish {
  readonly bytes: number
  /** Seconds. */
  readonly ttl: number
  readonly maxPulls: number
}

/** The most that a record may come to which is yet to be written: its sender's clock may be ahead of the relay's. */
export const quoteUnits = ({ bytes, ttl, maxPulls }: Wish, prices: Prices): bigint =>
  worstUnits({ bytes, at: 0, paidUntil: ttl * 1000 + protocolLimits.freshFutureMs, maxPulls, prices })
