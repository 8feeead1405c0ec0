/** What a user does with contracts that there are: end one, go on with it, have back what is his. */
import type { Hash } from '../../market/units.ts'
import { aheadLimit, deepBlocks, leastRollover } from '../../contracts/escrow/amounts.ts'
import { isLive, nextClient } from '../../contracts/escrow/client-machine.ts'
import { isDeep, machineTimes } from '../../contracts/escrow/machine.ts'
import type { ContractsOffer } from '../../contracts/escrow/offer.ts'
import { canExpire, contractIdOf, type Terms } from '../../contracts/escrow/terms.ts'
import { MarketError } from '../../market/errors.ts'
import { ClientError } from '../errors.ts'
import { keptContract, type KeptContract, keptContracts, prepaidOf, termsOf } from '../home/contracts.ts'
import { checkAllowed } from './allowed.ts'
import { follow, tell, withContract } from './engine.ts'
import { rolloverDue, save } from './funding.ts'
import { type Agreeing, isUnsigned, takeBack } from './opening.ts'
import { planOf, renewedTerms } from './plan.ts'
import { beginRenewal } from './renewal.ts'
import { contractAt, momentAt, secondsNow, type Site } from './site.ts'

export { open, type Opening } from './opening.ts'

/**
 * Ends a contract: what was audited is offered, and `keep` beyond it so that records stay. One that nobody signed yet is called
 * off, and its stake comes back.
 * @throws ERR_CONFLICT for one that is signed and not open yet; ERR_COST beyond what the user allows
 */
export const close = (
  site: Site,
  id: Hash,
  { audited = 0, keep = 0 }: { audited?: number | undefined; keep?: number | undefined },
) =>
  withContract(site, id, async (given) => {
    if (isUnsigned(given.state)) return takeBack(site, given)
    const kept = await follow(site, given)
    if (kept.state.state === 'signed') throw await tooEarly(site, kept)
    if ('spend' in kept.state || !isLive(kept.state)) return kept
    const at = await momentAt(site)
    const nothing = { reserved: 0, unproven: 0, cost: 0 }
    const { state } = nextClient(kept.state, {
      on: 'audited',
      audited,
      ...nothing,
      prepaid: prepaidOf(kept),
      at,
    })
    const known = await save(site, { ...kept, state })
    if ('audited' in state) checkAllowed(site, known, Math.min(state.audited + keep, state.terms.budget))
    const closing = await tell(site, known, { on: 'close', keep, prepaid: prepaidOf(known), at })
    return follow(site, closing)
  })

/** Takes back what is ours by time, or a stake that the relay has not used. @throws ERR_CONFLICT while it is too early, saying from when */
export const refund = (site: Site, id: Hash) =>
  withContract(site, id, async (given) => {
    if (isUnsigned(given.state)) return takeBack(site, given)
    const kept = await follow(site, given)
    if (whenBack(kept) === undefined) return kept
    throw await tooEarly(site, kept)
  })

async function tooEarly(site: Site, kept: KeptContract): Promise<MarketError> {
  const { medianTime } = await (await site.chain()).tip()
  const [when, now] = [whenBack(kept)!, medianTime].map((seconds) => new Date(seconds * 1000).toISOString()) // the caller asked
  const before = kept.state.state === 'signed' ? 'unless it opens first' : 'close it with the relay, or wait'
  return new MarketError(
    'ERR_CONFLICT',
    `this contract comes back from ${when} on, by the time of the chain, which is ${now}: ${before}`,
  )
}

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
 * @throws ERR_CONFLICT for one that is not active, or whose funding may still be undone; nothing was paid then
 */
export const renew = (site: Site, id: Hash, renewing: Renewing): Promise<KeptContract | undefined> =>
  withContract(site, id, async (given) => {
    const kept = await follow(site, given)
    if (kept.state.state !== 'active')
      throw new MarketError('ERR_CONFLICT', `a contract that is ${kept.state.state} is not renewed`)
    const { renewal } = kept.state
    if (renewal !== null) return goOver(site, kept, contractIdOf(renewal.terms))
    checkDeep(kept.state)
    const at = await momentAt(site)
    const { audited } = renewing
    const nothing = { reserved: 0, unproven: 0, cost: 0, prepaid: prepaidOf(kept) }
    const told = nextClient(kept.state, { on: 'audited', audited, ...nothing, at })
    const old = await save(site, { ...kept, state: told.state })
    const pending = await pendingOf(site, id)
    const paid = pending?.renews?.paid ?? (await rolledBy(site, old, renewing))
    checkAllowed(site, kept, paid)
    const terms = pending === undefined ? nextTerms(site, termsOf(kept), renewing, paid) : termsOf(pending)
    const [was, next] = [await contractAt(site, termsOf(kept)), await contractAt(site, terms)]
    const stake = rolloverDue(was, next, paid)
    const feeRate = await (await site.chain()).feeRate()
    const before = { contract: was, paid }
    const event = { on: 'renew', terms, paid, prepaid: prepaidOf(old), at } as const
    nextClient(old.state, event) // what it refuses costs nothing yet
    if (!(await renewing.agree(planOf(next, { stake, feeRate, before })))) return undefined
    const begun = await beginRenewal(site, old, { terms, paid, pending })
    return goOver(site, await tell(site, old, event), begun.id)
  })

/** Before any coin moves: a stake of the next one would hang on what may be undone. @throws ERR_CONFLICT */
function checkDeep({ depth }: { readonly depth: number }): void {
  if (isDeep(depth)) return
  throw new MarketError(
    'ERR_CONFLICT',
    `the funding of this contract may still be undone: wait until it is ${deepBlocks} blocks deep; it is ${depth}`,
  )
}

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
  const isPending = ({ renews, state }: KeptContract) => renews?.id === id && isUnsigned(state)
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
