/** The funding of a contract as it is rebuilt of what is kept, and our part of its signatures. */
import type { Contract } from '../../contracts/escrow/contract.ts'
import { readFunding } from '../../contracts/escrow/messages.ts'
import { refused } from '../../contracts/escrow/refusal.ts'
import type { Server } from '../../contracts/escrow/server-state.ts'
import type { Terms } from '../../contracts/escrow/terms.ts'
import { type Draft, fundingDraft, withUnlocking } from '../../contracts/escrow/transactions.ts'
import { unlockP2pkh } from '../../contracts/transaction/script.ts'
import { sighash, sighashType } from '../../contracts/transaction/sighash.ts'
import type { Transaction } from '../../contracts/transaction/transaction.ts'
import type { OwnKey } from '../../contracts/wallet/coins/rows.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { concat } from '../../market/bytes.ts'
import type { Kept } from '../store/contracts.ts'
import type { Derived } from './parts.ts'
import type { OwnStake } from './own-stakes.ts'

/** Undefined where there is no contract: nothing is reserved. */
export function termsOf(state: Server): Terms | undefined {
  if ('terms' in state) return state.terms
  return 'was' in state ? state.was.terms : undefined
}

/** An opening whose stakes are set aside: of what its funding is made. */
export interface Reservation {
  readonly contract: Contract
  readonly draft: Draft
  /** Of the client: these inputs come first. */
  readonly stakes: number
  readonly ours: OwnStake
}

/** @throws `state` where nothing is reserved */
export async function fundingOf(derived: Derived, { facts, state }: Kept): Promise<Reservation> {
  const terms = termsOf(state)
  if (facts.ours === null || terms === undefined) throw refused('state', 'there is no reservation')
  const contract = await derived.of(terms)
  const client = readFunding(facts.funding)
  const { stakes } = readFunding({ stakes: [facts.ours.stake], change: null })
  const draft = fundingDraft(contract, client, { stakes, change: null })
  return { contract, draft, stakes: client.stakes.length, ours: { stake: stakes[0]!, key: facts.ours.key } } // there is one
}

/** Our stake is the last input. */
export function signOwn(
  keys: KeyWallet,
  { half, draft, key }: { half: Transaction; draft: Draft; key: OwnKey },
): Transaction {
  const index = half.inputs.length - 1
  const own = keys.ownKey(key)
  const digest = sighash(half, index, draft.spent[index]!) // one for each input
  const scripts: (Uint8Array | undefined)[] = []
  scripts[index] = unlockP2pkh(concat(own.sign(digest), Uint8Array.of(sighashType)), own.publicKey)
  return withUnlocking(half, scripts)
}
