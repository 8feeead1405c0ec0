/** What a user does with contracts: open one, end it, go on with it, have back what is his. */
import type { RelayAddress } from '../../market/address.ts'
import { formatAddress } from '../../market/address.ts'
import type { Hash } from '../../market/units.ts'
import { aheadLimit, leastRollover } from '../../contracts/escrow/amounts.ts'
import { isLive, nextClient } from '../../contracts/escrow/client-machine.ts'
import { machineTimes } from '../../contracts/escrow/machine.ts'
import type { ContractsOffer } from '../../contracts/escrow/offer.ts'
import { canExpire, contractIdOf, type Terms } from '../../contracts/escrow/terms.ts'
import { MarketError } from '../../market/errors.ts'
import { ClientError, isRetryable, Refused } from '../errors.ts'
import {
  keptContract,
  type KeptContract,
  keptContracts,
  newContract,
  prepaidOf,
  termsOf,
} from '../home/contracts.ts'
import { checkAllowed } from './allowed.ts'
import { follow, lockOf, tell, withContract } from './engine.ts'
import { rolloverDue, save } from './funding.ts'
import { type Plan, planOf, renewedTerms, termsFor, type Wish } from './plan.ts'
import { beginRenewal } from './renewal.ts'
import { contractAt, momentAt, secondsNow, type Site } from './site.ts'
import { stakeDue } from '../../contracts/escrow/transactions.ts'

export interface Agreeing {
  /** Nothing is paid unless it says yes. */
  readonly agree: (plan: Plan) => Promise<boolean>
}

export interface Opening extends Agreeing {
  readonly relay: RelayAddress
  readonly offer: ContractsOffer
  readonly wish: Omit<Wish, 'server'>
  readonly maxSpend?: number | undefined
}

/**
 * Opens a contract, or goes on with the opening of one. Undefined where the user did not agree: nothing was paid then.
 * @throws ERR_CONFLICT while another is open there; refusals; what the relay says: the stake comes back then
 */
export async function open(site: Site, opening: Opening): Promise<KeptContract | undefined> {
  const { relay, offer, wish, maxSpend = null, agree } = opening
  const terms = termsFor({ ...wish, server: relay.key }, offer, secondsNow(site))
  const begin = async () => {
    const begun = await openAt(site, relay)
    if (begun !== undefined) return goOn(site, begun)
    const contract = await contractAt(site, terms)
    const chain = await site.chain()
    if (chain.network !== terms.network)
      throw new ClientError(
        'ERR_USAGE',
        `${relay.url} is on ${terms.network}, and these coins are on ${chain.network}`,
      )
    const stake = stakeDue(contract, 'client', 1)
    if (!(await agree(planOf(contract, { stake, feeRate: await chain.feeRate(), isReady: offer.isReady }))))
      return undefined
    const { height, hash } = await chain.tip()
    const fresh = {
      ...newContract(terms, { relay: formatAddress(relay), state: { state: 'idle' } }),
      maxSpend,
    }
    const at = await momentAt(site)
    return goOn(site, { ...fresh, from: { height, hash } }, () => ({ on: 'open', terms, at }) as const)
  }
  return site.ctx.home.lock(lockOf(relay.key), begin)
}

/** The one that is on its way. @throws ERR_CONFLICT for one that is open */
async function openAt({ ctx }: Site, { key, url }: RelayAddress): Promise<KeptContract | undefined> {
  const all = (await keptContracts(ctx.home)).filter((kept) => termsOf(kept).server === key)
  const live = all.find(({ state }) => isLive(state))
  if (live !== undefined)
    throw new MarketError(
      'ERR_CONFLICT',
      `the contract ${live.id} with ${url} is open: renew it, or top it up`,
    )
  return all.find(({ state: { state } }) => state === 'staking' || state === 'opening' || state === 'signed')
}

/** To where the relay has signed; what it refuses for good is undone. */
async function goOn(
  site: Site,
  kept: KeptContract,
  event?: () => Parameters<typeof tell>[2],
): Promise<KeptContract> {
  try {
    const at = await momentAt(site)
    const told = await tell(site, kept, event?.() ?? { on: 'tick', at })
    return await follow(site, told)
  } catch (error) {
    const now = await keptContract(site.ctx.home, kept.id)
    const isFinal = error instanceof Refused && error.signed && !isRetryable(error)
    const isOurs = now?.state.state === 'staking' || now?.state.state === 'opening'
    if (now !== undefined && isOurs && (isFinal || now.stake === null))
      await tell(site, now, { on: 'cancel', at: await momentAt(site) }).then((gone) => follow(site, gone))
    throw error
  }
}

/**
 * Ends a contract: what was audited is offered, and `keep` beyond it so that records stay.
 * @throws ERR_CONFLICT for one that is not open; ERR_COST beyond what the user allows
 */
export const close = (
  site: Site,
  id: Hash,
  { audited = 0, keep = 0 }: { audited?: number | undefined; keep?: number | undefined },
) =>
  withContract(site, id, async (given) => {
    const kept = await follow(site, given)
    if ('spend' in kept.state || !isLive(kept.state)) return kept
    const at = await momentAt(site)
    const nothing = { reserved: 0, unproven: 0, cost: 0 }
    const { state } = nextClient(kept.state, { on: 'audited', audited, ...nothing, at })
    const known = await save(site, { ...kept, state })
    if ('audited' in state) checkAllowed(site, known, Math.min(state.audited + keep, state.terms.budget))
    const closing = await tell(site, known, { on: 'close', keep, prepaid: prepaidOf(known), at })
    return follow(site, closing)
  })

/** Takes back what is ours by time, or a stake that the relay has not used. @throws ERR_CONFLICT while it is too early, saying from when */
export const refund = (site: Site, id: Hash) =>
  withContract(site, id, async (given) => {
    const { state } = given.state
    // Nothing is signed yet, and nobody is asked to go on.
    if (state === 'staking' || state === 'opening')
      return follow(site, await tell(site, given, { on: 'cancel', at: await momentAt(site) }))
    const kept = await follow(site, given)
    const from = whenBack(kept)
    if (from === undefined) return kept
    const { medianTime } = await (await site.chain()).tip()
    const [when, now] = [from, medianTime].map((seconds) => new Date(seconds * 1000).toISOString())
    throw new MarketError(
      'ERR_CONFLICT',
      `this contract comes back from ${when} on, by the time of the chain, which is ${now}: close it with the relay, or wait`,
    )
  })

/** Unix seconds; undefined where it is back, or on its way. @throws ERR_CONFLICT where it never is */
function whenBack(kept: KeptContract): number | undefined {
  const { openBy, expiry } = termsOf(kept)
  if (kept.state.state === 'signed') return openBy + machineTimes.fundingGraceSeconds
  if (!isLive(kept.state)) return undefined
  if (canExpire(termsOf(kept))) return expiry
  throw new MarketError(
    'ERR_CONFLICT',
    'this contract has no expiry: only you and the relay together can end it',
  )
}

export interface Renewing extends Agreeing {
  readonly offer: ContractsOffer
  /** Owed, as it was audited just now; what the old contract pays. */
  readonly audited: number
  /** More budget; without, the same budget anew. */
  readonly topUp?: number | undefined
  /** Absent: as long as the old one was. With a top-up: until the old one would have ended. */
  readonly termSeconds?: number | undefined
}

/**
 * A next contract in the place of this one. Undefined where the user did not agree.
 * @throws ERR_CONFLICT for one that is not active, or has a renewal in flight
 */
export const renew = (site: Site, id: Hash, renewing: Renewing): Promise<KeptContract | undefined> =>
  withContract(site, id, async (given) => {
    const kept = await follow(site, given)
    if (kept.state.state !== 'active')
      throw new MarketError('ERR_CONFLICT', `a contract that is ${kept.state.state} is not renewed`)
    const { renewal } = kept.state
    if (renewal !== null) return goOver(site, kept, contractIdOf(renewal.terms))
    const at = await momentAt(site)
    const { audited } = renewing
    const told = nextClient(kept.state, { on: 'audited', audited, reserved: 0, unproven: 0, cost: 0, at })
    const old = await save(site, { ...kept, state: told.state })
    const pending = await pendingOf(site, id)
    const paid = pending?.renews?.paid ?? (await rolledBy(site, old, renewing))
    checkAllowed(site, kept, paid)
    const terms = pending === undefined ? nextTerms(site, termsOf(kept), renewing, paid) : termsOf(pending)
    const [was, next] = [await contractAt(site, termsOf(kept)), await contractAt(site, terms)]
    const stake = rolloverDue(was, next, paid)
    const feeRate = await (await site.chain()).feeRate()
    const before = { contract: was, paid }
    if (pending === undefined && !(await renewing.agree(planOf(next, { stake, feeRate, before }))))
      return undefined
    const begun = await beginRenewal(site, old, { terms, paid, pending })
    const event = { on: 'renew', terms, paid, prepaid: prepaidOf(old), at } as const
    return goOver(site, await tell(site, old, event), begun.id)
  })

/**
 * What is audited, and so much ahead as the relay wants of what goes over with live records. What was signed as settled it may
 * have in any case.
 */
async function rolledBy(site: Site, kept: KeptContract, { offer, audited }: Renewing): Promise<number> {
  const terms = termsOf(kept)
  const { reserved } = await site.peer(kept).ask({ type: 'ContractState', contract: kept.id })
  const creditLimit = Math.min(terms.creditLimit, offer.creditLimit)
  const least = leastRollover({ creditLimit }, offer.credit, { owed: audited, reserved })
  const settled = 'settled' in kept.state ? kept.state.settled : 0
  const ahead = Math.max(0, aheadLimit(terms) - prepaidOf(kept))
  return Math.min(terms.budget, Math.max(audited, settled, Math.min(least, audited + ahead)))
}

/** The old one, then the next, as the chain has them now. */
async function goOver(site: Site, old: KeptContract, id: Hash): Promise<KeptContract | undefined> {
  await follow(site, old)
  const next = await keptContract(site.ctx.home, id)
  return next && follow(site, next)
}

/** One that was begun, and that the old contract was not told of: a crash came between. */
async function pendingOf({ ctx }: Site, id: Hash): Promise<KeptContract | undefined> {
  const isPending = ({ renews, state: { state } }: KeptContract) =>
    renews?.id === id && (state === 'staking' || state === 'opening')
  const found = (await keptContracts(ctx.home)).findLast(isPending)
  return found !== undefined && ctx.now() < termsOf(found).openBy * 1000 ? found : undefined
}

function nextTerms(site: Site, old: Terms, { offer, topUp, termSeconds }: Renewing, paid: number): Terms {
  const now = secondsNow(site)
  const lasts = topUp === undefined ? old.expiry - old.created : old.expiry - now
  const budget = topUp === undefined ? old.budget : old.budget - paid + topUp
  const terms = renewedTerms(old, { offer, budget, termSeconds: termSeconds ?? lasts, now })
  const missing = terms.depositServer - old.depositServer - paid
  if (missing <= 0) return terms
  throw new ClientError(
    'ERR_UNSUPPORTED',
    `this relay puts in ${terms.depositServer} satoshi now, ${missing} more than come over: close this contract and open a new one`,
  )
}
