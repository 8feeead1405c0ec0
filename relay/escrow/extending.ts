/**
 * A renewal pays for live records longer: to the end of service of the next contract, oldest first, as far as that would take
 * new ones for so much. They stay in their purses and at their prices.
 */
import { type CreditPolicy, deepBlocks, missingFor } from '../../contracts/escrow/amounts.ts'
import { standingOf } from '../../contracts/escrow/server-machine.ts'
import type { Server } from '../../contracts/escrow/server-state.ts'
import { contractIdOf, serviceEnd, type Terms } from '../../contracts/escrow/terms.ts'
import { ceilSatoshi, egressUnits, proofBytes } from '../../market/price.ts'
import type { Hash } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import { findContract, type Kept, putContract } from '../store/contracts.ts'
import * as keys from '../store/keys.ts'
import { bookReceived } from '../store/ledger.ts'
import { extendable, extendPaid, extensionCost } from '../store/paid-until.ts'
import { lastPlace } from '../store/place.ts'
import { purseOf, type Reader } from '../store/postings.ts'
import { available } from '../store/purses.ts'
import type { Arrival, Id } from '../store/records.ts'
import { IndexRow, type StoredHead } from '../store/rows.ts'
import type { Store } from '../store/store.ts'
import { booksOf } from './books.ts'

/** Records that are looked at in one commit. */
const recordsAtOnce = 64

/** Proofs of live records that may be asked for once their purse is closed. */
const proofsLater = 256

/** A purse has no worst case for proofs: with nothing left in it, nobody could ask whether its records are still held. */
export const proofRoom = ({ prices }: Pick<Terms, 'prices'>): number =>
  ceilSatoshi(BigInt(proofsLater) * egressUnits(proofBytes, prices))

/** The terms that a contract went over into, once its joint output is spent that way. */
export const nextOf = (state: Server): Terms | undefined =>
  state.state === 'closed' && state.spend.end.kind === 'rollover' ? state.was.renewal?.terms : undefined

/**
 * Extends the live records of a contract that was renewed, and of those it renewed itself. What does not fit keeps its
 * `paidUntil`, as does what is in its time of grace. May be repeated: what was extended is not extended again.
 */
export async function extendRecords(
  store: Store,
  { id, kept: { owner }, terms, policy }: { id: Hash; kept: Kept; terms: Terms; policy: CreditPolicy },
): Promise<void> {
  const next = contractIdOf(terms)
  if (findContract(store, next)?.state.state !== 'active') return
  const [until, room] = [serviceEnd(terms) * 1000, proofRoom(terms)]
  const purses = chainOf(store, id)
  const prefix = keys.outboxPrefix(owner)
  const records = store.scan({ gt: keys.placeKey(prefix, 0), lte: keys.placeKey(prefix, lastPlace) })
  try {
    for (;;) {
      const rows = await records.next(recordsAtOnce)
      if (rows.length === 0) return
      const ids = rows.map(([, value]) => ({ owner, recordId: IndexRow.decode(value).recordId }))
      const isDue = (from: Reader, now: number, of: Id) => {
        const head = extendable(from, of, { now, until })
        return head !== undefined && purses.has(head.purse) ? head : undefined
      }
      if (ids.every((of) => isDue(store, 0, of) === undefined)) continue
      await store.commit((batch) => {
        for (const of of ids) {
          const head = isDue(batch, batch.now, of)
          if (head !== undefined) extend(batch, { of, head, id, next, until, room, policy })
        }
      })
    }
  } finally {
    await records.close()
  }
}

interface Extension {
  readonly of: Id
  readonly head: StoredHead
  /** The contract that was renewed, and the next one. */
  readonly id: Hash
  readonly next: Hash
  readonly until: number
  /** For proofs, in its purse. */
  readonly room: number
  readonly policy: CreditPolicy
}

/** Brings into the purse of the record what is missing there: what the next contract pays of it is settled when the old one is closed. */
function extend(batch: Batch<Arrival>, { of, head, id, next, until, room, policy }: Extension): void {
  const { owner } = of
  const purse = purseOf(batch, owner, head.purse)
  const cost = extensionCost(purse, head, until)
  if (!carries(batch, { next, policy, cost })) return
  const satoshi = cost + room - available(purse)
  if (satoshi > 0) {
    bookReceived(batch, { owner, purse: head.purse, satoshi, note: `contract ${next}` })
    const kept = findContract(batch, id)
    if (head.purse !== id && kept !== undefined)
      putContract(batch, id, { ...kept, facts: { ...kept.facts, moved: kept.facts.moved + satoshi } })
  }
  extendPaid(batch, of, { head, until })
}

/** As a new record would be accepted under the next contract, which is as deep as the end of the old one. */
function carries(
  batch: Batch<Arrival>,
  { next, policy, cost }: Pick<Extension, 'next' | 'policy'> & { cost: number },
): boolean {
  const kept = findContract(batch, next)
  const standing = kept && standingOf(kept.state, { now: Math.floor(batch.now / 1000), medianTime: 0 })
  if (kept === undefined || standing === undefined) return false
  const books = booksOf(batch, { id: next, kept }, batch.now)
  return missingFor({ ...standing, depth: deepBlocks }, books, cost, policy) === undefined
}

/** The contract, and those that went over into it. */
function chainOf(from: Reader, id: Hash): ReadonlySet<Hash> {
  const chain = new Set<Hash>()
  for (let at: Hash | undefined = id; at !== undefined && !chain.has(at); ) {
    chain.add(at)
    at = findContract(from, at)?.facts.renews?.id
  }
  return chain
}
