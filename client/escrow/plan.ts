/** What a contract will be, in numbers, before anything of it is paid. */
import { randomBytes } from 'node:crypto'
import { feeFor, type Network } from '../../contracts/chain/chain.ts'
import { aheadLimit, mostClientLoss } from '../../contracts/escrow/amounts.ts'
import { type Contract, shareOf } from '../../contracts/escrow/contract.ts'
import type { ContractsOffer } from '../../contracts/escrow/offer.ts'
import { canExpire, parseTerms, serviceEnd, termsLimits, type Terms } from '../../contracts/escrow/terms.ts'
import { feeShare, inputBytes, p2pkhOutputBytes } from '../../contracts/escrow/transactions.ts'
import { toHex } from '../../market/bytes.ts'
import type { Hash, Key, Prices } from '../../market/units.ts'
import { ClientError } from '../errors.ts'

/** What we ask for where the relay leaves it to us. Satoshi, seconds. */
export const wishes = {
  creditLimit: 10_000,
  termSeconds: 30 * 86_400,
  period: 86_400,
  leastBudget: 1000,
  /** A stake lies still until the relay has begun, or may not any more. */
  mostOpenSeconds: 3600,
  /** Satoshi for 1000 bytes: ten times what networks demand. */
  mostFeeRate: 1000,
  /** So many times the fee of a close, as head room for what is signed long before. */
  mostOfClose: 10,
} as const

export interface Wish {
  readonly client: Key
  readonly server: Key
  readonly budget: number
  readonly termSeconds: number
  /** Without expiry: each side can hold all the money back for ever. */
  readonly isBare?: boolean | undefined
}

/** Less does not pay for what it locks: neither for us nor for the relay (docs/protocol.md §11.5). Satoshi. */
export const leastBudget = ({ depositServer }: Pick<ContractsOffer, 'depositServer'>): number =>
  Math.max(wishes.leastBudget, depositServer)

/** Terms that the relay has said it accepts. @throws ERR_UNSUPPORTED, ERR_USAGE, refusals, naming what does not fit */
export function termsFor(wish: Wish, offer: ContractsOffer, now: number): Terms {
  const { client, server, budget, termSeconds, isBare = false } = wish
  checkWish(wish, offer)
  return parseTerms({
    v: 1,
    ...(isBare && { profile: 0 }),
    ...{ network: offer.network, nonce: toHex(randomBytes(32)), client, server, budget },
    ...{ created: now, openBy: now + offer.openSeconds, expiry: now + termSeconds, period: wishes.period },
    ...numbersOf(offer, { budget, mostCredit: wishes.creditLimit }),
  })
}

/** The terms of the next contract: other times and budget, and what the relay asks now. @throws as `termsFor` */
export function renewedTerms(
  old: Terms,
  {
    offer,
    budget,
    termSeconds,
    now,
  }: Pick<Wish, 'budget' | 'termSeconds'> & { offer: ContractsOffer; now: number },
): Terms {
  checkWish({ budget, termSeconds, isBare: !canExpire(old) }, offer)
  return parseTerms({
    ...old,
    ...{ nonce: toHex(randomBytes(32)), budget },
    ...{ created: now, openBy: now + offer.openSeconds, expiry: now + termSeconds },
    ...numbersOf(offer, { budget, mostCredit: old.creditLimit }),
  })
}

function numbersOf(offer: ContractsOffer, { budget, mostCredit }: { budget: number; mostCredit: number }) {
  const { prices, feeRate, closeFee, closeMargin, depositServer } = offer
  const creditLimit = Math.min(mostCredit, offer.creditLimit, budget)
  const depositClient = Math.max(creditLimit, 2 * depositServer)
  checkFair(offer, { budget, depositClient })
  return { prices, feeRate, closeFee, closeMargin, depositServer, creditLimit, depositClient }
}

function checkWish(
  { budget, termSeconds, isBare = false }: Pick<Wish, 'budget' | 'termSeconds' | 'isBare'>,
  offer: ContractsOffer,
): void {
  const { isOpen, profiles, budget: most, leastSeconds, mostSeconds, openSeconds } = offer
  if (!isOpen) throw new ClientError('ERR_UNSUPPORTED', 'this relay opens no contracts now')
  if (!profiles.includes(isBare ? 0 : 1))
    throw new ClientError(
      'ERR_UNSUPPORTED',
      `this relay opens no contracts ${isBare ? 'without' : 'with'} expiry`,
    )
  if (openSeconds > wishes.mostOpenSeconds)
    throw new ClientError(
      'ERR_UNSUPPORTED',
      `this relay may let your stake wait for ${openSeconds} seconds until it begins, and ${wishes.mostOpenSeconds} are the most you should`,
    )
  if (budget > most) throw new ClientError('ERR_USAGE', `this relay takes budgets of up to ${most} satoshi`)
  if (budget < leastBudget(offer))
    throw new ClientError(
      'ERR_USAGE',
      `a contract is worth its fees from a budget of ${leastBudget(offer)} satoshi on`,
    )
  if (termSeconds < leastSeconds || termSeconds > mostSeconds)
    throw new ClientError(
      'ERR_USAGE',
      `this relay opens contracts of ${leastSeconds} to ${mostSeconds} seconds`,
    )
}

/** Fees are for miners, and deposits hostages: who asks for far more than they take wants something else. @throws ERR_COST */
function checkFair(
  { feeRate, closeFee }: ContractsOffer,
  { budget, depositClient }: { budget: number; depositClient: number },
): void {
  if (feeRate > wishes.mostFeeRate || closeFee > wishes.mostOfClose * feeFor(termsLimits.closeBytes, feeRate))
    throw new ClientError(
      'ERR_COST',
      `this relay wants fees of ${closeFee} satoshi at ${feeRate} for 1000 bytes`,
    )
  if (depositClient > Math.max(budget, 2 * wishes.creditLimit))
    throw new ClientError(
      'ERR_COST',
      `this relay wants a deposit of ${depositClient} satoshi, more than the budget`,
    )
}

/** What a next contract costs more than the one agreed on, in words: its user is asked then; undefined: nothing. */
export function dearerIn(offer: ContractsOffer, old: Terms): string | undefined {
  const costs = (
    { prices, feeRate, closeFee, closeMargin, depositServer }: ContractsOffer | Terms,
    openSeconds: number,
  ) => ({
    ...prices,
    ...{ feeRate, closeFee, closeMargin, depositServer, openSeconds },
  })
  const agreed: Record<string, number> = costs(old, old.openBy - old.created)
  const dearer = Object.entries(costs(offer, offer.openSeconds)).filter(
    ([name, amount]) => amount > agreed[name]!,
  ) // the same names
  if (dearer.length === 0) return undefined
  return dearer.map(([name, amount]) => `${name} ${amount} instead of ${agreed[name]}`).join(', ')
}

/** All in satoshi and unix seconds. */
export interface Plan {
  /** False: no stake of the relay lies ready, and the opening waits for one, or is refused. */
  readonly isReady: boolean
  readonly network: Network
  readonly contract: Hash
  readonly prices: Prices
  /** What leaves the wallet, the fee of the network for that beside it. */
  readonly stake: number
  readonly stakeFee: number
  /** Of a renewal, what comes over from the contract before it; null: there is none. */
  readonly carried: number | null
  /** Where it goes: what may be used, what comes back if nobody burns it, what is spent in any case. */
  readonly budget: number
  readonly deposit: number
  readonly relayDeposit: number
  readonly fundingFee: number
  readonly closeFee: number
  /** Signed beyond what was audited, at most. */
  readonly ahead: number
  /** Beyond what was used, whatever the relay does; fees included. Without expiry all of it can be held back for ever. */
  readonly mostLost: number
  /** Until then the relay may begin; after it the stake comes back. */
  readonly openBy: number
  /** When service ends, and when what is left comes back though the relay is gone; null: never by itself. */
  readonly serviceEnd: number
  readonly expiry: number | null
  /** Back at once, if it is closed without being used. */
  readonly unused: number
}

/** One input, the stake, and change in as many outputs as wallets split it into. */
const stakeBytes = 4 + 1 + 1 + 4 + inputBytes + 8 * p2pkhOutputBytes

/** @param before of a renewal, and what it pays to the relay for the time until now */
export function planOf(
  contract: Contract,
  given: {
    stake: number
    feeRate: number
    before?: { contract: Contract; paid: number }
    isReady?: boolean | undefined
  },
): Plan {
  const { stake, feeRate, before, isReady = true } = given
  const { id, terms } = contract
  const {
    network,
    prices,
    budget,
    depositClient: deposit,
    depositServer: relayDeposit,
    closeFee,
    expiry,
  } = terms
  const stakeFee = feeFor(stakeBytes, feeRate)
  const carried = before === undefined ? null : carriedOver(before.contract, contract, before.paid)
  const fundingFee =
    carried === null ? feeShare(contract, 'client', 1) : stake + carried - contract.joint.satoshis
  return {
    isReady,
    ...{
      network,
      contract: id,
      prices,
      stake,
      stakeFee,
      carried,
      budget,
      deposit,
      relayDeposit,
      fundingFee,
      closeFee,
    },
    ahead: aheadLimit(terms),
    mostLost: canExpire(terms) ? mostClientLoss(terms) + stakeFee + fundingFee + closeFee : stake + stakeFee,
    ...{ openBy: terms.openBy, serviceEnd: serviceEnd(terms) },
    expiry: canExpire(terms) ? expiry : null,
    unused: shareOf(contract, { kind: 'settled', paid: 0 }, 'client'),
  }
}

/** The old joint output less what the relay has of it: what it is paid, and what its deposit is less now. */
const carriedOver = (old: Contract, next: Contract, paid: number): number =>
  old.joint.satoshis - paid - (old.terms.depositServer - next.terms.depositServer)
