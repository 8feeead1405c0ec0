/** How much may be owed, paid and settled at each moment: what keeps every loss within one increment. All in satoshi. */
import type { State } from './contract.ts'
import type { Terms } from './terms.ts'

/** What a relay lends beside its terms; published. */
export interface CreditPolicy {
  /** Of somebody without history: the client's fees of one contract, so that vanishing with fresh keys gains nothing. */
  readonly firstCredit: number
  /** While the funding is in no block. */
  readonly zeroConfCredit: number
  /** What a client may owe at a close that is agreed to nevertheless. */
  readonly forgive: number
}
export const defaultPolicy: CreditPolicy = { firstCredit: 140, zeroConfCredit: 40, forgive: 0 }

/** Blocks after which nothing is undone any more. */
export const deepBlocks = 6
/** How much of what was earned is lent, and of the limit while the funding may still be undone. */
const [earnedShare, youngShare] = [8, 4]

/** What the client signs beyond what it has audited: with more, burning the deposits could pay for the server. */
export const aheadLimit = ({ depositServer }: Pick<Terms, 'depositServer'>): number => depositServer

/** The most that is served beyond what is signed. @param earned the highest amount settled, in the contract before too */
export const creditLimit = (
  terms: Pick<Terms, 'creditLimit'>,
  { firstCredit }: CreditPolicy,
  earned: number,
): number => Math.min(terms.creditLimit, firstCredit + Math.floor(earned / earnedShare))

/** The most that is served at all on a funding so deep (0: in no block): it may be undone, and every payment with it. */
export function youngLimit(terms: Pick<Terms, 'creditLimit'>, policy: CreditPolicy, depth: number): number {
  if (depth >= deepBlocks) return Number.POSITIVE_INFINITY
  if (depth === 0) return policy.zeroConfCredit
  return Math.max(policy.zeroConfCredit, Math.floor(terms.creditLimit / youngShare))
}

/**
 * What the server loses at most, whatever the client does; fees besides.
 * @param isChanged the funding was undone while it was young, and mined with another txid: what was signed on it is void
 */
export const mostServerLoss = (
  terms: Pick<Terms, 'creditLimit' | 'depositServer'>,
  policy: CreditPolicy,
  {
    earned,
    isChanged = false,
    isRenewal = false,
  }: { earned: number; isChanged?: boolean; isRenewal?: boolean },
): number => {
  const credit = creditLimit(terms, policy, earned)
  const young = isChanged ? youngLimit(terms, policy, deepBlocks - 1) : 0
  // What came over from the contract before was not signed for on the funding that is gone, either.
  return (isRenewal ? credit + young : Math.max(credit, young)) + terms.depositServer
}

/**
 * The least that a renewal pays: what goes over with it, owed and reserved, is within the credit of the next contract, on which
 * nothing is signed yet.
 */
export function leastRollover(
  next: Pick<Terms, 'creditLimit'>,
  policy: CreditPolicy,
  { owed, reserved }: Pick<Books, 'owed' | 'reserved'>,
): number {
  const total = owed + reserved
  const lent = Math.ceil(((total - policy.firstCredit) * earnedShare) / (earnedShare + 1))
  let paid = Math.max(0, total - next.creditLimit, lent)
  while (total - paid > creditLimit(next, policy, paid)) paid++ // by rounding
  return paid
}

/** What goes over into the next contract: what is owed and reserved beyond what the rollover pays of it. */
export const booksAfter = (
  { owed, reserved }: Pick<Books, 'owed' | 'reserved'>,
  paid: number,
): { owed: number; reserved: number } => ({
  owed: Math.max(0, owed - paid),
  reserved: Math.max(0, reserved - Math.max(0, paid - owed)),
})

/**
 * The same as the client has verified it: what goes over, and how far rollovers are ahead of it, this one and those before:
 * the sum is what the server has without having served it.
 */
export const auditAfter = (
  { audited, prepaid }: Pick<Audit, 'audited' | 'prepaid'>,
  paid: number,
): { audited: number; prepaid: number } => ({
  audited: Math.max(0, audited - paid),
  prepaid: prepaid + Math.max(0, paid - audited),
})

/** What the client loses at most, whatever the server does; fees besides. */
export const mostClientLoss = (terms: Pick<Terms, 'depositClient' | 'depositServer'>): number =>
  aheadLimit(terms) + terms.depositClient

/** The books of a contract's purse at a moment. */
export interface Books {
  readonly owed: number
  /** For what live records may still come to. */
  readonly reserved: number
  /** Of `owed` and `reserved`, what came from the contract before: if this one is undone while it is young, that one pays. */
  readonly moved?: number
}

export interface Standing {
  readonly terms: Terms
  /** Highest progress signed. */
  readonly paid: number
  /** Smallest settled that the server has signed: the client may publish it. Infinity: none. */
  readonly lowestSigned: number
  /** Settled, here and in the contract before. */
  readonly earned: number
  /** Confirmations of the funding. */
  readonly depth: number
}

export interface Quote {
  readonly owed: number
  readonly reserved: number
  readonly credit: number
  /** With so much signed the same write is accepted; undefined where no payment helps (now). */
  readonly paidNeeded?: number
}

/**
 * Whether a write of at most `cost` may be accepted. Both limits hold at once: a client that vanishes has the credit, one that
 * undoes its funding what was served on it at all.
 * @returns undefined when it may, else what is missing
 */
export function missingFor(
  standing: Standing,
  { owed, reserved, moved = 0 }: Books,
  cost: number,
  policy: CreditPolicy,
): Quote | undefined {
  const { terms, paid, earned, depth } = standing
  // A state is chosen when it is over: for little that is owed one that pays much more is none, it would burn the deposits.
  const most = Math.min(standing.lowestSigned, owed + terms.depositServer)
  const total = owed + reserved + cost
  const counted = depth < deepBlocks ? total - moved : total
  const credit = creditLimit(terms, policy, earned)
  const quote = { owed, reserved, credit }
  if (total > terms.budget || counted > youngLimit(terms, policy, depth)) return quote
  if (total - Math.min(paid, most) <= credit) return undefined
  return total - most > credit ? quote : { ...quote, paidNeeded: total - credit }
}

export interface Audit {
  /** Owed, as the client has verified it. */
  readonly audited: number
  /** Of live records, by their receipts. */
  readonly reserved: number
  /** Claimed with a good read, not acknowledged yet. */
  readonly unproven: number
  /** The worst case of writes about to be sent. */
  readonly cost: number
  /** Of what rollovers paid, what the contracts before have not come to: ahead of the audit, too. */
  readonly prepaid: number
}

/** What the client signs after an audit: never less than before, `settled` within the audit, `paid` little beyond it. */
export function payable(
  terms: Pick<Terms, 'budget' | 'depositServer'>,
  { audited, reserved, unproven, cost, prepaid }: Audit,
  last: { readonly paid: number; readonly settled: number },
): { paid: number; settled: number } {
  const ahead = Math.min(reserved + unproven + cost, Math.max(0, aheadLimit(terms) - prepaid))
  const settled = Math.max(last.settled, Math.min(terms.budget, audited))
  return { settled, paid: Math.max(last.paid, settled, Math.min(terms.budget, audited + ahead)) }
}

/** Seconds between two payments, at least and, while more is owed, at most. */
export const paymentTimes = { leastSeconds: 1, mostSeconds: 600 } as const
/** Without a write that needs it: when a quarter of the credit is used, or after the longest time. */
export const isPaymentDue = (owed: number, paid: number, credit: number, seconds: number): boolean =>
  owed > paid && (4 * (owed - paid) >= credit || seconds >= paymentTimes.mostSeconds)

/**
 * How a server closes alone; fixed, so that a client can count on it. Little is given up, so that nothing burns for it; for
 * more than that the smallest state is published that covers what is owed.
 * @param progress amounts of the states the client signed @param settled the highest @returns undefined: wait for expiry
 */
export function closeAlone(
  terms: Pick<Terms, 'creditLimit'>,
  { firstCredit }: CreditPolicy,
  { owed, settled, progress }: { owed: number; settled: number; progress: readonly number[] },
): State | undefined {
  const settle: State | undefined = settled === 0 ? undefined : { kind: 'settled', paid: settled }
  // Never more than the credit is given up: far behind its payments, a share of what is settled would be more.
  const little = Math.min(terms.creditLimit, Math.max(firstCredit, Math.floor(settled / earnedShare)))
  if (owed - settled <= little) return settle
  const covering = progress.filter((paid) => paid >= owed)
  const paid = covering.length > 0 ? Math.min(...covering) : Math.max(0, ...progress)
  return paid <= settled ? settle : { kind: 'progress', paid }
}
