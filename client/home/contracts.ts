/**
 * Contracts with relays, one file each: where the contract stands is on disk before anything that follows from it is done, and
 * every transaction before it is sent. What is here can be done again from here, by whatever command comes next.
 */
import { z } from 'zod'
import { Client } from '../../contracts/escrow/client-state.ts'
import { FundingWire, messageLimits } from '../../contracts/escrow/messages.ts'
import { type Bearings, bearingsOf, checkBorne, isContractPurse } from '../../contracts/escrow/bearing.ts'
import { contractIdOf, type Terms } from '../../contracts/escrow/terms.ts'
import { Place } from '../../contracts/chain/chain.ts'
import type { Receipt } from '../../contracts/receipt.ts'
import { Address } from '../../market/address.ts'
import { Hash, type Key, Milliseconds } from '../../market/units.ts'
import { namesIn, readJson, writeDurably } from './durable.ts'
import type { Home } from './home.ts'

const Raw = z
  .string()
  .regex(/^(?:[0-9a-f]{2})+$/)
  .max(2 * messageLimits.transactionBytes)
const Sat = z.int().min(0)
const Verdict = z.enum(['explained', 'unproven', 'forged'])

const KeptContract = z.strictObject({
  id: Hash,
  /** Null after a recovery by keys alone, which do not tell where the relay is. */
  relay: Address.nullable(),
  state: Client,
  /** What we put in, and base64 of the BEEF that proves it; null until the wallet made it. */
  stake: z.strictObject({ funding: FundingWire, beef: z.base64() }).nullable(),
  /** What the relay put in; null until it said so. */
  theirs: FundingWire.nullable(),
  /** The transaction that funds it, as it is known best. */
  funding: Raw.nullable(),
  /** Gives the stake back to us. */
  reclaim: Raw.nullable(),
  /** Spends the joint output: what we sent, or saw. */
  ending: Raw.nullable(),
  /** What happened up to here is known; blocks above it are looked through for what nobody tells. */
  from: Place.nullable(),
  /** The joint output that is in a basket of the wallet, so that the wallet alone brings the contract back. */
  kept: Hash.nullable(),
  /** The spend of the joint output of which our part is in the wallet. */
  taken: Hash.nullable(),
  /** The most that may be signed over; null: the budget. Satoshi. */
  maxSpend: Sat.nullable(),
  /**
   * The contract that this one goes on from, and what that one pays. `prepaid`: what rollovers have paid so far beyond what was
   * audited; it is ahead, too.
   */
  renews: z.strictObject({ id: Hash, paid: Sat, prepaid: Sat }).nullable(),
  /** What the relay said last, and what the audit `at` made of it; 0: there was none. Satoshi. */
  heard: z
    .strictObject({ at: Milliseconds, owed: Sat, reserved: Sat, unproven: Sat, verdict: Verdict })
    .nullable(),
})
export type KeptContract = z.infer<typeof KeptContract>

export const newContract = (terms: Terms, about: Pick<KeptContract, 'relay' | 'state'>): KeptContract => {
  const none = { stake: null, theirs: null, funding: null, reclaim: null, ending: null, from: null }
  const id = contractIdOf(terms)
  return { id, ...about, ...none, kept: null, taken: null, maxSpend: null, renews: null, heard: null }
}

/** As of the last audit. */
export const prepaidOf = ({ renews }: Pick<KeptContract, 'renews'>): number => renews?.prepaid ?? 0

/** Of every state that is kept. */
export function termsOf({ state }: Pick<KeptContract, 'state'>): Terms {
  if (state.state === 'idle') throw new Error('an idle contract is not kept')
  return 'was' in state ? state.was.terms : state.terms
}

/** Once it returns, it is on disk. */
export const saveContract = (home: Home, contract: KeptContract): Promise<void> =>
  writeDurably(fileOf(home, contract.id), JSON.stringify(contract))

export const keptContract = (home: Home, id: Hash): Promise<KeptContract | undefined> =>
  readJson(fileOf(home, id), KeptContract)

/** All there ever were, the oldest first. @throws ERR_DAMAGED */
export async function keptContracts(home: Home): Promise<KeptContract[]> {
  const names = (await namesIn(home.path('contracts'))).filter((name) => name.endsWith('.json'))
  const all = await Promise.all(names.map((name) => readJson(home.path('contracts', name), KeptContract)))
  const present = all.filter((one) => one !== undefined)
  const order = (kept: KeptContract) => 2 * termsOf(kept).created + (kept.renews === null ? 0 : 1)
  return present.sort((a, b) => order(a) - order(b) || (a.id < b.id ? -1 : 1))
}

/** What the contracts with a relay bear there. What was never funded bears nothing, and of a renewal we lost nothing is known. */
export const bearingsAt = async (home: Home, relay: Key): Promise<Bearings> =>
  bearingsAmong(await keptContracts(home), relay)

function bearingsAmong(all: readonly KeptContract[], relay: Key): Bearings {
  const there = all.filter((kept) => termsOf(kept).server === relay)
  const isOurs = ({ state }: KeptContract) =>
    state.state !== 'cancelled' && !('spend' in state && state.spend.end.kind === 'unknown')
  return bearingsOf(
    there.filter(isOurs).map((kept) => ({ terms: termsOf(kept), renews: kept.renews?.id ?? null })),
  )
}

/** Holds a receipt that names a contract against its terms. @throws ERR_CONFLICT */
export async function checkBearer(home: Home, relay: Key, receipt: Receipt): Promise<void> {
  const { purse } = receipt.charge
  if (!isContractPurse(purse)) return
  const kept = await keptContract(home, purse)
  const bearings = bearingsAmong(kept === undefined ? [] : [kept], relay)
  // Only a record that a renewal has extended needs to know of the others, and there may be many.
  const isKnown = bearings.get(purse)?.ends.some((end) => receipt.paidUntil <= end) ?? true
  checkBorne(receipt, (isKnown ? bearings : await bearingsAt(home, relay)).get(purse))
}

const fileOf = (home: Home, id: Hash): string => home.path('contracts', `${id}.json`)
