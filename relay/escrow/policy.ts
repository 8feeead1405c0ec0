/** Which contracts this relay opens. What it says of them (contracts/escrow/offer.ts) is what it does. */
import { deepBlocks } from '../../contracts/escrow/amounts.ts'
import { machineTimes } from '../../contracts/escrow/machine.ts'
import type { ContractsOffer } from '../../contracts/escrow/offer.ts'
import type { Terms } from '../../contracts/escrow/terms.ts'
import type { Network } from '../../contracts/chain/chain.ts'
import { canonicalize } from '../../market/canonical.ts'
import { MarketError } from '../../market/errors.ts'
import { isFree } from '../../market/price.ts'
import type { Prices } from '../../market/units.ts'
import type { Policy } from './policy-options.ts'

/** What the clocks of two honest parties differ by at most, as for messages; seconds. */
const clockSeconds = 120

export interface Circumstances {
  readonly network: Network
  readonly prices: Prices
  readonly isDraining: boolean
}

/** What is published. `isReady`: a stake lies ready; without, openings wait until the operator has funded the wallet. */
export type PublishedOffer = ContractsOffer & { readonly isReady: boolean }

export function offerOf(
  policy: Policy,
  { network, prices, isDraining }: Circumstances,
): ContractsOffer | null {
  if (isFree(prices) || policy.poolSize === 0) return null
  const { withoutExpiry, firstCredit, zeroConfCredit, forgive, ...rest } = policy
  const { poolSize: _, openingsPerAddress: __, openFee: ___, ...numbers } = rest
  return {
    v: 1,
    network,
    isOpen: !isDraining,
    profiles: withoutExpiry === 1 ? [1, 0] : [1],
    prices,
    ...numbers,
    credit: { firstCredit, zeroConfCredit, forgive },
    deepBlocks,
  }
}

/**
 * Terms that were checked in themselves, against what this relay offers.
 * @throws ERR_FORBIDDEN while none are opened, ERR_CONFLICT with `field` for the first number that is outside the offer
 */
export function checkAcceptable(terms: Terms, offer: ContractsOffer | null, now: number): void {
  if (offer === null)
    throw new MarketError('ERR_FORBIDDEN', 'this relay sells nothing: it opens no contracts')
  if (!offer.isOpen) throw new MarketError('ERR_FORBIDDEN', 'this relay opens no contracts any more')
  const { created, openBy, expiry } = terms
  const isWithin: { readonly [field: string]: boolean } = {
    profile: offer.profiles.includes(terms.profile ?? 1),
    prices: canonicalize(terms.prices) === canonicalize(offer.prices),
    feeRate: terms.feeRate === offer.feeRate,
    closeFee: terms.closeFee >= offer.closeFee,
    depositServer: terms.depositServer === offer.depositServer,
    creditLimit: terms.creditLimit <= offer.creditLimit,
    // Less does not pay for what it locks.
    budget: terms.budget >= offer.depositServer && terms.budget <= offer.budget,
    closeMargin: terms.closeMargin >= offer.closeMargin,
    created: Math.abs(now - created) <= clockSeconds + offer.openSeconds,
    openBy: openBy - created <= offer.openSeconds,
    // Asking for the end begins so early: before that there is to be some service.
    expiry:
      expiry - created >= Math.max(offer.leastSeconds, (machineTimes.endMargins + 1) * terms.closeMargin) &&
      expiry - created <= offer.mostSeconds,
  }
  const field = Object.keys(isWithin).find((name) => !isWithin[name])
  if (field === undefined) return
  const sentence = `the terms are outside what this relay offers: ${field}`
  throw new MarketError('ERR_CONFLICT', sentence, { extras: { refusal: 'policy', field } })
}
