/** The arithmetic of a purse (docs/protocol.md §4.9): what it holds, what an entry does to it. No rows are touched here. */
import { type UsagePull, usageAfter, usageStart } from '../../contracts/usage.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import {
  billedBytes,
  ceilSatoshi,
  egressUnits,
  floorSatoshi,
  ingressUnits,
  proofBytes,
  storageUnits,
  worstUnits,
} from '../../market/price.ts'
import type { Prices } from '../../market/units.ts'
import { timeOf } from './place.ts'
import { type Entry, isEnding, type Purse, type StoredHead } from './rows.ts'

/** The five columns of an entry, in satoshi. */
export type Moves = Pick<Entry, 'received' | 'reserved' | 'earned' | 'released' | 'returned'>
/** What an entry rests on; its moves follow from it and from the purse. */
export type Facts = Omit<Entry, 'purse' | keyof Moves>

/** In which order purses pay: free credit first, since it lapses; what a user has paid for last. */
export const purseOrder = ['trial', 'grant', 'credit'] as const

/** Satoshi that records have cost so far, each at its last entry. */
export const earned = ({ spent }: Purse): number => floorSatoshi(spent)
/** Earned, and reserved for what live records may still come to. */
export const committed = ({ spent, held }: Purse): number => ceilSatoshi(spent + held)
/** For new records; below zero where what came in was taken back. */
export const available = (purse: Purse): number => purse.received - purse.returned - committed(purse)

/** Whether a record that comes to so many units at most fits in. */
export const affords = (purse: Purse, units: bigint): boolean =>
  purse.received - purse.returned >= ceilSatoshi(purse.spent + purse.held + units)

export const hasLapsed = ({ lapses }: Purse, now: number): boolean => lapses !== 0 && now >= lapses

/** Whether it pays for no record any longer that is written now. */
export const hasEnded = ({ serviceEnd }: Purse, now: number): boolean => serviceEnd !== 0 && now >= serviceEnd

export const newPurse = (openedAt: number, name: string, { lapses = 0, serviceEnd = 0 } = {}): Purse => ({
  openedAt,
  lapses,
  serviceEnd,
  received: 0,
  returned: 0,
  spent: 0n,
  held: 0n,
  byteMs: 0n,
  egress: 0,
  ingress: 0,
  records: 0,
  size: 0,
  sizeStart: 0n,
  rate: 0n,
  rateStart: 0n,
  entries: 0,
  pulls: 0,
  chain: toHex(usageStart(name)),
})

/** Milliseconds for which the storage of a record that ended at `until` is owed. */
export const storedMs = ({
  record,
  until,
  paidUntil,
}: Pick<Facts, 'record' | 'until' | 'paidUntil'>): number =>
  Math.max(0, Math.min(until, paidUntil) - timeOf(record))

/** What a record may cost more when it is paid for until `paidUntil`, and was until `until`. */
export const extensionUnits = (facts: Pick<Facts, 'bytes' | 'paidUntil' | 'until' | keyof Prices>): bigint =>
  storageUnits(facts.bytes, facts.paidUntil - facts.until, facts)

/**
 * Posts `facts` to the purse, which is changed, and says what moved. The moves are differences of totals that are each
 * rounded once, so however many entries there are, nothing is lost or made by rounding.
 */
export function post(purse: Purse, facts: Facts, amount: Partial<Moves> = {}): Moves {
  const before = { earned: earned(purse), committed: committed(purse) }
  const units = unitsOf(facts)
  purse.spent += units.spent
  purse.held += units.held
  purse.entries++
  meter(purse, facts)
  const change = committed(purse) - before.committed
  const moves: Moves = {
    received: amount.received ?? 0,
    reserved: Math.max(0, change),
    earned: earned(purse) - before.earned,
    released: Math.max(0, -change),
    returned: amount.returned ?? 0,
  }
  purse.received += moves.received
  purse.returned += moves.returned
  return moves
}

/** What an entry adds to the units spent and held. */
function unitsOf(facts: Facts): { spent: bigint; held: bigint } {
  const { bytes, record, paidUntil, maxPulls } = facts
  if (isEnding(facts.what)) {
    const spent = storageUnits(bytes, storedMs(facts), facts)
    const most = storageUnits(bytes, paidUntil - timeOf(record), facts)
    return { spent, held: -most - BigInt(maxPulls - facts.pulls) * egressUnits(bytes, facts) }
  }
  switch (facts.what) {
    case 'received':
    case 'returned':
      return { spent: 0n, held: 0n }
    case 'write': {
      const spent = ingressUnits(bytes, facts)
      return {
        spent,
        held: worstUnits({ bytes, at: timeOf(record), paidUntil, maxPulls, prices: facts }) - spent,
      }
    }
    case 'pull': {
      const spent = egressUnits(bytes, facts)
      return { spent, held: -spent }
    }
    case 'prove':
      return { spent: egressUnits(proofBytes, facts), held: 0n }
    case 'bought':
      return { spent: egressUnits(bytes, facts), held: 0n }
    case 'extended':
      return { spent: 0n, held: extensionUnits(facts) }
  }
}

function meter(purse: Purse, facts: Facts): void {
  const size = billedBytes(facts.bytes)
  if (isEnding(facts.what)) {
    purse.byteMs += BigInt(size) * BigInt(storedMs(facts))
    addLive(purse, facts, -1)
    return
  }
  switch (facts.what) {
    case 'write':
      purse.ingress += size
      addLive(purse, facts, 1)
      return
    case 'pull':
    case 'bought':
      purse.egress += size
      return
    case 'prove':
      purse.egress += billedBytes(proofBytes)
      return
    case 'received':
    case 'returned':
    case 'extended':
      return
  }
}

/** Adds a record to the live ones, or takes it from them. */
function addLive(purse: Purse, { bytes, record, storageGBDay }: Facts, sign: 1 | -1): void {
  const size = billedBytes(bytes)
  const rate = BigInt(sign * size) * BigInt(storageGBDay)
  const at = BigInt(timeOf(record))
  purse.records += sign
  purse.size += sign * size
  purse.sizeStart += BigInt(sign * size) * at
  purse.rate += rate
  purse.rateStart += rate * at
}

/** A pull as its purse's chain has it; `seq` is its number there. */
export type ChainedPull = Omit<UsagePull, 'seq'>

/** Adds a billed pull to the purse's chain. */
export function chainPull(purse: Purse, pull: ChainedPull): void {
  purse.pulls++
  purse.chain = toHex(usageAfter(fromHex(purse.chain), { ...pull, seq: purse.pulls }))
}

/** Owed at `at`, as if no record had ended that is live. */
export const floorOwed = ({ spent, rate, rateStart }: Purse, at: number): number =>
  floorSatoshi(spent + rate * BigInt(at) - rateStart)

/** What an account says of a purse at `at`: the storage of live records up to then is owed. */
export interface Statement {
  readonly owed: number
  readonly reserved: number
  readonly available: number
  readonly byteMs: bigint
}

/** @param overdue live records that ended before `at` and whose end is not booked yet */
export function statementAt(purse: Purse, at: number, overdue: readonly StoredHead[]): Statement {
  let accrued = purse.rate * BigInt(at) - purse.rateStart
  let byteMs = purse.byteMs + BigInt(purse.size) * BigInt(at) - purse.sizeStart
  for (const head of overdue) {
    const lateMs = BigInt(Math.max(0, at - Math.max(head.paidUntil, timeOf(head.place))))
    accrued -= BigInt(billedBytes(head.bytes)) * BigInt(head.storageGBDay) * lateMs
    byteMs -= BigInt(billedBytes(head.bytes)) * lateMs
  }
  const owed = floorSatoshi(purse.spent + accrued)
  return { owed, reserved: committed(purse) - owed, available: available(purse), byteMs }
}
