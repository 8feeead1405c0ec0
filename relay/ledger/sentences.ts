/** The words for what is in the books. */
import { ledgerColumns } from '../../contracts/account.ts'
import {
  ceilSatoshi,
  egressUnits,
  floorSatoshi,
  formatUnits,
  ingressUnits,
  proofBytes,
  storageUnits,
  worstUnits,
} from '../../market/price.ts'
import type { Prices } from '../../market/units.ts'
import { timeOf } from '../store/place.ts'
import * as purses from '../store/purses.ts'
import { type Ending, type Entry, isEnding, type Pull, type Purse } from '../store/rows.ts'

/** A record as entries about it see it. */
export type RecordFacts = Pick<Entry, 'bytes' | 'record' | 'paidUntil' | 'maxPulls'> & Prices

export const moment = (ms: number): string => new Date(ms).toISOString()
export const shortKey = (key: string): string => `${key.slice(0, 8)}…${key.slice(-4)}`
export const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`

/** Satoshi to three decimals; what is finer is rounded up, and said to be. */
export function exact(units: bigint): string {
  return `${isWhole(units * 1000n) ? 'exactly' : 'a little less than'} ${formatUnits(units)}`
}

export const mostOf = ({ bytes, record, paidUntil, maxPulls, ...prices }: RecordFacts): bigint =>
  worstUnits({ bytes, at: timeOf(record), paidUntil, maxPulls, prices })

/** What a record has cost by `until`, its proofs apart. */
export function costOf(facts: RecordFacts, { until, pulls }: { until: number; pulls: number }) {
  const { bytes } = facts
  const keptMs = purses.storedMs({ ...facts, until })
  const [taken, kept] = [ingressUnits(bytes, facts), storageUnits(bytes, keptMs, facts)]
  const pulled = BigInt(pulls) * egressUnits(bytes, facts)
  return { taken, kept, pulled, keptMs, units: taken + kept + pulled }
}

/** The cost of a record and its parts. */
export function costInWords(facts: RecordFacts, end: { until: number; pulls: number }): string {
  const { taken, kept, pulled, keptMs, units } = costOf(facts, end)
  const storage = `${formatUnits(kept)} for its storage for ${(keptMs / 1000).toFixed(3)} s`
  const moved = `${formatUnits(taken)} to take it in, ${formatUnits(pulled)} for ${count(end.pulls, 'pull')}`
  return `${exact(units)} satoshi: ${moved}, ${storage}`
}

/** The satoshi that an entry moved, and in which purse. */
export function movesOf(entry: Entry): string {
  const moved = ledgerColumns
    .filter((column) => entry[column] > 0)
    .map((column) => `${column} ${entry[column]}`)
  return `purse ${entry.purse}: ${moved.length === 0 ? 'no whole satoshi moved' : moved.join(', ')}`
}

/** One entry in the story of an account. */
export function entryInWords(place: number, entry: Entry): string {
  return `${moment(timeOf(place))} ${happened(entry)} (${movesOf(entry)})`
}

function happened(entry: Entry): string {
  const { recordId, note, bytes, paidUntil, maxPulls, pulls } = entry
  if (isEnding(entry.what)) {
    const cost = `it cost ${formatUnits(costOf(entry, entry).units)} of at most ${formatUnits(mostOf(entry))} satoshi`
    return `${recordId} ${endings[entry.what]} after ${count(pulls, 'pull')}: ${cost}, not counting proofs`
  }
  switch (entry.what) {
    case 'received':
      return `${entry.received} satoshi came in: ${note}`
    case 'returned':
      return `${entry.returned} satoshi went out: ${note}`
    case 'write': {
      const most = `at most ${formatUnits(mostOf(entry))} satoshi`
      return `${recordId} was written to ${shortKey(note)}: ${bytes} bytes, paid for until ${moment(paidUntil)}, ${count(maxPulls, 'pull')}, ${most}`
    }
    case 'pull':
      return `${recordId} was pulled, for ${formatUnits(egressUnits(bytes, entry))} satoshi`
    case 'prove':
      return `${recordId} was proven, for ${formatUnits(egressUnits(proofBytes, entry))} satoshi`
    case 'extended':
      return `${recordId} was extended: paid for until ${moment(paidUntil)} instead of ${moment(entry.until)}, at most ${formatUnits(purses.extensionUnits(entry))} satoshi more`
    case 'bought':
      return `${recordId} of ${shortKey(note)} was read, for ${formatUnits(egressUnits(bytes, entry))} satoshi`
  }
}

export const endings: Record<Ending, string> = {
  deleted: 'was deleted',
  expired: 'expired',
  unpaid: 'is paid for no longer, though kept for a time of grace,',
}

/** By whose signed read a record was pulled; without one it came through the file-system view. */
export const pulledBy = ({ receiver, re, text }: Pull): string =>
  `by ${shortKey(receiver)} ${text === '' ? 'through the file-system view' : `with the signed read ${re}`}`

const isWhole = (units: bigint): boolean => floorSatoshi(units) === ceilSatoshi(units)

/** A purse as its last entry left it, and the sum of its parts. */
export function purseInWords(name: string, purse: Purse): string {
  const { received, returned, spent, records } = purse
  const [earned, available] = [purses.earned(purse), purses.available(purse)]
  const reserved = purses.committed(purse) - earned
  const sum = `${returned} returned + ${earned} earned + ${reserved} reserved + ${available} available`
  return [
    `purse ${name}: received ${received}`,
    ...(returned === 0 ? [] : [`returned ${returned}`]),
    `spent ${earned} (${exact(spent)})`,
    `${reserved} reserved for ${count(records, 'live record')}${isWhole(spent) ? '' : ' and a begun satoshi'}`,
    `${available} available: ${received} = ${sum}`,
  ].join(', ')
}
