/** A contract as its terms and keys: which script holds the money, and which outputs each end of it has. */
import { concat, equal } from '../../market/bytes.ts'
import type { Hash } from '../../market/units.ts'
import { p2pkh } from '../transaction/script.ts'
import { type Output, serializeOutput, type Transaction } from '../transaction/transaction.ts'
import { demand, refused } from './refusal.ts'
import type { EscrowKeys, Side } from './keys.ts'
import { burnScript, expirySequence, expiringScript, multisig } from './scripts.ts'
import { canExpire, checkTerms, contractIdOf, jointOf, type Terms } from './terms.ts'

export interface Contract {
  readonly id: Hash
  readonly terms: Terms
  readonly keys: EscrowKeys
  /** Output 0 of the funding. */
  readonly joint: Output
}

/** How a contract may end: `paid` satoshi to the server, with both deposits returned (`settled`) or burned (`progress`). */
export interface State {
  readonly kind: 'settled' | 'progress'
  readonly paid: number
}
export type End = State | { readonly kind: 'expiry' }

/** @throws refusals for terms that break a rule, whoever made them: a script with another expiry would not hold the money */
export function contractOf(terms: Terms, keys: EscrowKeys): Contract {
  checkTerms(terms)
  const pair = [keys.joint.client, keys.joint.server] as const
  demand(!equal(...pair), 'same-party', 'both sides have the same key')
  const script = canExpire(terms)
    ? expiringScript(pair, terms.expiry, outputsOf({ terms, keys }, { kind: 'expiry' }))
    : multisig(pair)
  return { id: contractIdOf(terms), terms, keys, joint: { satoshis: jointOf(terms), script } }
}

/** Client, server, burned: those of nothing are left out. The rest is the fee. @throws `paid` outside the budget */
export function outputsOf({ terms, keys }: Pick<Contract, 'terms' | 'keys'>, end: End): readonly Output[] {
  const { budget, depositClient, depositServer } = terms
  if (end.kind !== 'expiry') checkPaid(terms, end.paid)
  const amounts = {
    settled: (paid: number) => [budget - paid + depositClient, paid + depositServer, 0] as const,
    progress: (paid: number) => [budget - paid, paid, depositClient + depositServer] as const,
    expiry: () => [budget + depositClient, depositServer, 0] as const,
  }
  const [client, server, burned] = end.kind === 'expiry' ? amounts.expiry() : amounts[end.kind](end.paid)
  return [
    { satoshis: client, script: p2pkh(keys.payout.client) },
    { satoshis: server, script: p2pkh(keys.payout.server) },
    { satoshis: burned, script: burnScript },
  ].filter(({ satoshis }) => satoshis > 0)
}

/** What one side has of an end, in satoshi. */
export const shareOf = (contract: Pick<Contract, 'terms' | 'keys'>, end: End, side: Side): number =>
  outputsOf(contract, end).find(({ script }) => equal(script, p2pkh(contract.keys.payout[side])))?.satoshis ??
  0

/** Which end a spend of the joint output is; undefined for a rollover, or for what neither side would sign. */
export function endOf(contract: Contract, { inputs, outputs }: Transaction): End | undefined {
  const { budget, depositServer } = contract.terms
  const toServer = p2pkh(contract.keys.payout.server)
  const server = outputs.find(({ script }) => equal(script, toServer))?.satoshis ?? 0
  const states: State[] = [
    { kind: 'settled', paid: server - depositServer },
    { kind: 'progress', paid: server },
  ]
  // The outputs of settled(0) and expiry are the same.
  const isExpiry = inputs.some(({ sequence }) => sequence === expirySequence)
  const ends: End[] = isExpiry
    ? [{ kind: 'expiry' }]
    : states.filter(({ paid }) => paid >= 0 && paid <= budget)
  return ends.find((end) => equal(bytesOf(outputsOf(contract, end)), bytesOf(outputs)))
}

const bytesOf = (outputs: readonly Output[]): Uint8Array => concat(...outputs.map(serializeOutput))

/** @throws `paid` */
export function checkPaid({ budget }: Pick<Terms, 'budget'>, paid: number): void {
  if (!Number.isSafeInteger(paid) || paid < 0 || paid > budget)
    throw refused('paid', `${paid} satoshi are not within the budget of ${budget}`)
}
