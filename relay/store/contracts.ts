/**
 * Escrow contracts as rows and operations on a batch: what a contract has come to is written together with what it books and
 * with the outputs that it takes. What is to be done then is relay/escrow/'s.
 */
import { z } from 'zod'
import { FundingWire, StakeWire } from '../../contracts/escrow/messages.ts'
import { Spend } from '../../contracts/escrow/machine.ts'
import { Server } from '../../contracts/escrow/server-state.ts'
import type { Stake } from '../../contracts/escrow/transactions.ts'
import { OwnKey } from '../../contracts/wallet/coins/rows.ts'
import { Trail } from '../../contracts/chain/scan.ts'
import { MarketError } from '../../market/errors.ts'
import { putBounded } from '../../market/lru.ts'
import { Hash, type Key, Milliseconds } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { damaged, hash, key, row, text, uint } from './codec.ts'
import * as keys from './keys.ts'
import type { Reader } from './postings.ts'
import { noHash, NumberRow } from './rows.ts'

/** Of each kind, of one contract: more than anybody can make without paying for it on the chain. */
const mostSightings = 32

/** What its state (contracts/escrow/) does not know and its duties need. */
export const Facts = z.strictObject({
  openedAt: Milliseconds,
  /** Of what asked for it: the same again is answered the same. */
  request: Hash,
  /** What the client puts in; what we do, and the key of it. */
  funding: FundingWire,
  ours: z.strictObject({ stake: StakeWire, key: OwnKey }).nullable(),
  /** The funding as we signed it; the network has taken it. */
  tx: z.string().nullable(),
  isTaken: z.boolean(),
  /** The contract that this one renews, and what that one was paid by it. */
  renews: z.strictObject({ id: Hash, paid: z.int().min(0) }).nullable(),
  /** Out of this purse into that of the contract before, for its records. */
  moved: z.int().min(0),
  /** Transactions that were seen, or made: fundings, spends of the joint output, others that spend a stake. */
  joints: z.array(Hash).max(mostSightings),
  spends: z.array(z.strictObject({ txid: Hash, end: Spend.shape.end })).max(mostSightings),
  others: z.array(Hash).max(mostSightings),
  /** When a spend was seen first. */
  closedAt: Milliseconds.nullable(),
  /** Its purse is closed. */
  isBooked: z.boolean(),
  /** The restore for which it was held. */
  heldFor: Milliseconds.nullable(),
})
export type Facts = z.infer<typeof Facts>

/** Of a contract that begins. */
export const newFacts = (known: Pick<Facts, 'openedAt' | 'request' | 'funding'> & Partial<Facts>): Facts => ({
  ...{ ours: null, tx: null, isTaken: false, renews: null, moved: 0, joints: [], spends: [], others: [] },
  ...{ closedAt: null, isBooked: false, heldFor: null },
  ...known,
})

export const withJoint = (facts: Facts, txid: Hash): Facts => ({
  ...facts,
  joints: sight(facts.joints, txid, (one) => one === txid),
})
export const withSpend = (facts: Facts, spend: Facts['spends'][number]): Facts => ({
  ...facts,
  spends: sight(facts.spends, spend, ({ txid }) => txid === spend.txid),
})
export const withOther = (facts: Facts, txid: Hash): Facts => ({
  ...facts,
  others: sight(facts.others, txid, (one) => one === txid),
})

function sight<T>(known: readonly T[], found: T, isSame: (one: T) => boolean): T[] {
  return known.length >= mostSightings || known.some(isSame) ? [...known] : [...known, found]
}

export interface Kept {
  readonly owner: Key
  readonly facts: Facts
  readonly state: Server
}

const ContractRow = row('contract', 1, { owner: key, facts: text, state: text })
/** Zeros where there is none. `current`: whose purse pays for new records first. */
const EscrowRow = row('contracts of an owner', 1, { current: hash, opening: hash })
/** `until`: when another contract may name it, if the one that does comes to nothing; `lapses`: how often one did. */
const StakeRow = row('stake', 1, { contract: hash, until: uint, lapses: uint })

export function findContract(from: Reader, id: Hash): Kept | undefined {
  const stored = from.get(keys.contractKey('k', id))
  if (stored === undefined) return undefined
  const known = decoded.get(id)
  if (known?.row.equals(stored)) return known.kept
  const { owner, facts, state } = ContractRow.decode(stored)
  try {
    const kept = { owner, facts: Facts.parse(JSON.parse(facts)), state: Server.parse(JSON.parse(state)) }
    remember(id, { row: stored, kept })
    return kept
  } catch (cause) {
    throw damaged(`the contract ${id} does not decode`, cause)
  }
}

/** What the rows looked at last say: most are looked at again. About 20 KB each. */
const decoded = new Map<Hash, { readonly row: Buffer; readonly kept: Kept }>()
const mostDecoded = 1024

const remember = (id: Hash, known: { readonly row: Buffer; readonly kept: Kept }): void =>
  putBounded(decoded, id, known, mostDecoded)

/** Followed from now on until it is over; nothing is written where nothing has changed. */
export function putContract(batch: Batch, id: Hash, { owner, facts, state }: Kept): void {
  const name = keys.contractKey('k', id)
  const row = ContractRow.encode({ owner, facts: JSON.stringify(facts), state: JSON.stringify(state) })
  if (batch.get(name)?.equals(row)) return
  batch.put(name, row)
  remember(id, { row, kept: { owner, facts, state } })
  if (!facts.isBooked) batch.put(keys.contractKey('n', id), Buffer.alloc(0))
}

/** Nothing changes it any more. */
export const endContract = (batch: Batch, id: Hash): void => batch.del(keys.contractKey('n', id))

/** It never came to be. */
export function dropContract(batch: Batch, id: Hash): void {
  batch.del(keys.contractKey('k', id))
  endContract(batch, id)
}

export interface Escrows {
  readonly current: Hash | undefined
  readonly opening: Hash | undefined
}

export function escrowsOf(from: Reader, owner: Key): Escrows {
  const stored = from.get(keys.escrowKey(owner))
  if (stored === undefined) return { current: undefined, opening: undefined }
  const { current, opening } = EscrowRow.decode(stored)
  const nameOf = (name: Hash) => (name === noHash ? undefined : name)
  return { current: nameOf(current), opening: nameOf(opening) }
}

export function putEscrows(batch: Batch, owner: Key, change: Partial<Escrows>): void {
  const { current = noHash, opening = noHash } = { ...escrowsOf(batch, owner), ...change }
  batch.put(keys.escrowKey(owner), EscrowRow.encode({ current, opening }))
}

type Outpoint = Pick<Stake, 'txid' | 'vout'>

/** Has those of our stakes that are ordinary coins again: no contract ever takes them. */
export const noContract: Hash = noHash

export function contractOfStake(from: Reader, outpoint: Outpoint): Hash | undefined {
  const stored = from.get(keys.stakeKey(outpoint))
  return stored === undefined ? undefined : StakeRow.decode(stored).contract
}

const hourMs = 3_600_000
/** Doublings of the hour: half a year. */
const mostLapses = 12
const forEver = Number.MAX_SAFE_INTEGER

/** @throws ERR_LIMIT for one that another contract has, or that lately backed one which came to nothing */
export function takeStake(batch: Batch, outpoint: Outpoint, id: Hash): void {
  const stored = batch.get(keys.stakeKey(outpoint))
  const { until, lapses } = stored === undefined ? { until: 0, lapses: 0 } : StakeRow.decode(stored)
  if (until > batch.now) {
    const extras = until === forEver ? {} : { retryAfterMs: until - batch.now }
    throw new MarketError('ERR_LIMIT', 'a stake is reserved, or lately was, for an opening', { extras })
  }
  batch.put(keys.stakeKey(outpoint), StakeRow.encode({ contract: id, until: forEver, lapses }))
}

/** The client's, of an opening that came to nothing: nobody reserves with it for an hour, and twice as long each time. */
export function lapseStake(batch: Batch, outpoint: Outpoint): void {
  const stored = batch.get(keys.stakeKey(outpoint))
  if (stored === undefined) return
  const { contract, lapses } = StakeRow.decode(stored)
  const until = batch.now + hourMs * 2 ** Math.min(lapses, mostLapses)
  batch.put(keys.stakeKey(outpoint), StakeRow.encode({ contract, until, lapses: lapses + 1 }))
}

/** When a row of it is of no more use. */
export function stakeRestsUntil(from: Reader, outpoint: Outpoint): number {
  const stored = from.get(keys.stakeKey(outpoint))
  return stored === undefined ? 0 : StakeRow.decode(stored).until
}

export const freeStake = (batch: Batch, outpoint: Outpoint): void => batch.del(keys.stakeKey(outpoint))

/** How far the chain was read for contracts. */
export function trailOf(from: Reader): Trail | undefined {
  const stored = from.get(trailRow)
  if (stored === undefined) return undefined
  try {
    return Trail.parse(JSON.parse(stored.toString()))
  } catch (cause) {
    throw damaged('the trail of the contracts does not decode', cause)
  }
}
export const putTrail = (batch: Batch, trail: Trail): void =>
  batch.put(trailRow, Buffer.from(JSON.stringify(trail)))

/** Whether no contract is to be opened any more. */
export const isDraining = (from: Reader): boolean => from.get(drainingRow) !== undefined
export function putDraining(batch: Batch, isOn: boolean): void {
  if (isOn) batch.put(drainingRow, NumberRow.encode({ value: batch.now }))
  else batch.del(drainingRow)
}

const trailRow = keys.metaKey('trail')
const drainingRow = keys.metaKey('draining')
