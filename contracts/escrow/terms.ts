/**
 * What a user and a relay agree on before any money moves. Everything else of a contract, its id, its keys, each of its
 * transactions, follows from its terms, so that nothing that was not agreed on can be signed.
 */
import { z } from 'zod'
import { canonicalize } from '../../market/canonical.ts'
import { firstIssue } from '../../market/envelope.ts'
import { sha256Hex } from '../../market/hash.ts'
import { dayMs, Hash, Key, Prices } from '../../market/units.ts'
import { feeFor, mostFeeRate, Network } from '../chain/chain.ts'
import { demand, refused } from './refusal.ts'

export const termsLimits = {
  /** Below it a lock is a height: the expiry branch of the script would open by a height. */
  leastExpiry: 500_000_000,
  /** From 2^31 on the script reads a negative number, and the expiry branch is open at once. */
  expiryEnd: 2_147_483_648,
  /** Median time past can lead the clock by two hours; as much again to be mined in. Seconds. */
  leastMarginSeconds: 14_400,
  mostSeconds: (366 * dayMs) / 1000,
  /** The joint output holds less. */
  jointSatoshis: 2 ** 51,
  /** What any close weighs at most, with room. */
  closeBytes: 340,
} as const

const Amount = z.int().min(0).max(termsLimits.jointSatoshis)
const Seconds = z.int().min(0).max(0xffffffff)

/** Satoshi and unix seconds, integers all. Only the form: `checkTerms` says whether the numbers fit each other. */
export const Terms = z.strictObject({
  v: z.literal(1),
  /** A bare 2-of-2 without expiry, the protocol's first form: each side can hold all the money back for ever. */
  profile: z.literal(0).optional(),
  network: Network,
  nonce: Hash,
  client: Key,
  server: Key,
  created: Seconds,
  /** Until then the funding is signed, or the opening is over. */
  openBy: Seconds,
  /** From then on everybody gets back what the first state gave, whoever publishes it. */
  expiry: Seconds,
  /** How long before `expiry` the server closes at the latest; service ends there. */
  closeMargin: Seconds,
  budget: Amount,
  depositClient: Amount,
  depositServer: Amount,
  /** The most that is owed beyond what is settled. */
  creditLimit: Amount,
  /** Satoshi for 1000 bytes of the funding. */
  feeRate: z.int().min(0).max(mostFeeRate),
  closeFee: Amount,
  prices: z.strictObject(Prices.shape),
  /** Between two routine payments. */
  period: Seconds.min(1),
})
export type Terms = z.infer<typeof Terms>

/**
 * The terms that a value is.
 * @throws a refusal (refusal.ts) that names the first rule it breaks
 */
export function parseTerms(value: unknown): Terms {
  const parsed = Terms.safeParse(value)
  if (!parsed.success) throw refused('form', `not the terms of a contract: ${firstIssue(parsed.error)}`)
  checkTerms(parsed.data)
  return parsed.data
}

/** Every rule between the numbers, for both sides. @throws refusals */
export function checkTerms(terms: Terms): void {
  const { created, openBy, expiry, closeMargin, budget, creditLimit, depositClient, depositServer } = terms
  const { leastExpiry, expiryEnd, leastMarginSeconds, mostSeconds, jointSatoshis, closeBytes } = termsLimits
  demand(terms.client !== terms.server, 'same-party', 'a contract is between two')
  demand(
    expiry >= leastExpiry && expiry < expiryEnd,
    'expiry-range',
    'the script cannot hold the money until this expiry',
  )
  demand(closeMargin >= leastMarginSeconds, 'close-margin', `closeMargin is below ${leastMarginSeconds} s`)
  demand(created < openBy, 'open-by', 'openBy is not after created')
  demand(openBy + closeMargin < expiry, 'open-by', 'there is no time between opening and closing')
  demand(expiry - created <= mostSeconds, 'too-long', 'a contract lasts 366 days at most')
  demand(budget >= 1, 'too-much', 'the budget is nothing')
  demand(jointOf(terms) < jointSatoshis, 'too-much', 'more than a joint output may hold')
  demand(creditLimit <= budget, 'credit-limit', 'the credit is more than the budget')
  demand(depositClient >= creditLimit, 'client-deposit', 'the client risks less than its credit')
  demand(
    depositServer <= depositClient / 2,
    'server-deposit',
    'the server risks more than half of the client',
  )
  const closeFee = feeFor(closeBytes, terms.feeRate)
  demand(terms.closeFee >= closeFee, 'close-fee', `closeFee is below ${closeFee} satoshi`)
}

/** The one text of terms: what is kept in wallets, and what the id is the hash of. */
export const termsText = (terms: Terms): string => canonicalize(terms)

/** Names the contract, its keys and its purse. */
export const contractIdOf = (terms: Terms): Hash => sha256Hex(`relay escrow terms 1\n${termsText(terms)}`)

/** What the joint output holds, in satoshi. */
export const jointOf = ({
  budget,
  closeFee,
  depositClient,
  depositServer,
}: Pick<Terms, 'budget' | 'closeFee' | 'depositClient' | 'depositServer'>): number =>
  budget + closeFee + depositClient + depositServer

/** Whether the money comes back by itself; what does not is said before anybody signs. */
export const canExpire = ({ profile }: Terms): boolean => profile === undefined

/** Service, writes and reservations end here; unix seconds. */
export const serviceEnd = ({ expiry, closeMargin }: Terms): number => expiry - closeMargin
