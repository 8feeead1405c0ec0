/** Paying for service as it is used: cumulative, never settled beyond the audit, little ahead of it, within what the user allows. */
import { z } from 'zod'
import { aheadLimit, auditAfter, booksAfter } from '../../contracts/escrow/amounts.ts'
import { nextClient } from '../../contracts/escrow/client-machine.ts'
import type { LiveClient } from '../../contracts/escrow/client-state.ts'
import { serviceEnd } from '../../contracts/escrow/terms.ts'
import { formatAddress } from '../../market/address.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { isUnpaid, Refused } from '../errors.ts'
import { keptContract, type KeptContract, keptContracts, prepaidOf, termsOf } from '../home/contracts.ts'
import { type AuditedAt, auditRelays } from '../money/audit.ts'
import type { Connection } from '../wire/connection.ts'
import { allowedIn, checkAllowed, type Payee, withLimit } from './allowed.ts'
import { lockOf } from './engine.ts'
import { pay } from './ending.ts'
import { save } from './funding.ts'
import { relayPeer } from './peer.ts'
import { keyHolder, nowhere, type Site, secondsNow } from './site.ts'

type Active = KeptContract & { readonly state: Extract<LiveClient, { state: 'active' }> }
export const isActive = (kept: KeptContract): kept is Active => kept.state.state === 'active'

/** What an audit makes of one contract. Satoshi. */
export interface Audited {
  /** To be settled: acknowledged or tolerated, and claimed. */
  readonly audited: number
  /** Claimed with good reads that nobody acknowledged. */
  readonly unproven: number
  readonly owed: number
  readonly verdict: 'explained' | 'unproven' | 'forged'
  /** What rollovers have paid beyond what the contracts before have come to; as known before unless said. */
  readonly prepaid?: number
  /** When; now unless said. */
  readonly at?: number
}

export interface Amounts extends Audited {
  /** Of live records, as the relay says; it moves nothing but what is ahead, and that has its limit. */
  readonly reserved: number
  /** Of writes about to be sent. */
  readonly cost?: number
}

/**
 * Signs and sends what an audit allows. What is forged is not paid: then nothing more is settled.
 * @param isWanted also what was signed before is sent again @throws ERR_COST beyond what the user allows
 */
export async function payAudited(
  site: Pick<Site, 'ctx' | 'holder' | 'peer'>,
  kept: KeptContract,
  amounts: Amounts,
  { isWanted = false }: { isWanted?: boolean } = {},
): Promise<KeptContract> {
  const { audited, unproven, owed, verdict, reserved, cost = 0 } = amounts
  const { prepaid = prepaidOf(kept), at = site.ctx.now() } = amounts
  const heard = { at, owed, reserved, unproven, verdict }
  const known = { ...kept, heard, renews: kept.renews && { ...kept.renews, prepaid } }
  const { state } = known
  if (!('paid' in state)) return save(site, known)
  const sure = verdict === 'forged' ? state.audited : audited
  checkAllowed(site, kept, Math.min(sure, termsOf(kept).budget))
  // What is ahead is cut to what is allowed; what is owed is not promised away.
  const room = Math.max(0, allowedIn(site, kept) - Math.max(sure, state.audited))
  const ahead = Math.min(room, reserved + unproven + cost)
  const event = { on: 'audited', audited: sure, reserved: 0, unproven: 0, cost: ahead, isWanted } as const
  const moment = { now: secondsNow(site), medianTime: 0 }
  const { state: next, actions } = nextClient(state, { ...event, prepaid, at: moment })
  let saved = await save(site, { ...known, state: next })
  for (const action of actions) if (action.do === 'pay') saved = (await pay(site, saved, action)).kept
  return saved
}

export const payingLimits = {
  /** Between two audits for writes at one contract, milliseconds; an agent audits besides. */
  auditEveryMs: 60_000,
  /** Of what may be ahead, this part is signed beyond what a write needs, so that the next ones need not ask. */
  spareShare: 4,
} as const

/** The contract out of which writes at this relay are paid. */
async function activeAt(
  { home, now }: Pick<Context, 'home' | 'now'>,
  relay: Key,
): Promise<Active | undefined> {
  const all = (await keptContracts(home)).filter(isActive)
  const isServing = (kept: Active) =>
    termsOf(kept).server === relay && now() < serviceEnd(termsOf(kept)) * 1000
  return all.findLast(isServing)
}

const Needed = z.looseObject({
  quote: z.looseObject({ paidNeeded: z.int().min(0), credit: z.int().min(0) }),
})

/**
 * A write was refused for want of a payment: pays, if a contract there allows it.
 * @returns whether the same write is worth sending again @throws ERR_COST beyond what the user allows
 */
async function payForWrite(
  ctx: Context,
  connection: Connection,
  { refusal, payee }: { refusal: Refused; payee: Payee | undefined },
): Promise<boolean> {
  const { paidNeeded: needed, credit = 0 } = Needed.safeParse(refusal.extras).data?.quote ?? {}
  const { key } = connection.address
  if (needed === undefined || (await activeAt(ctx, key)) === undefined) return false
  return ctx.home.lock(lockOf(key), async () => {
    const kept = await activeAt(ctx, key)
    if (kept === undefined) return false
    const site = siteOf(ctx, connection)
    checkAllowed(site, kept, needed, payee)
    const now = await knownFor(ctx, connection, { kept, needed })
    const most = aheadLimit(termsOf(kept))
    if (needed > now.audited + most) return false
    // What is lent is signed for too: then the next writes have it.
    const spare = Math.min(credit, Math.floor(most / payingLimits.spareShare))
    const amounts = { ...now, reserved: 0, cost: Math.max(0, needed + spare - now.audited) }
    await payAudited(site, kept, amounts, { isWanted: true })
    return true
  })
}

const siteOf = (ctx: Context, connection: Connection): Site => ({
  ...{ ctx, holder: keyHolder(ctx), chain: nowhere, purse: nowhere },
  peer: () => relayPeer(ctx, connection),
})

/** Payments for one write: prices may change between two. */
const mostPayments = 2

/** Writes, and where that is refused for want of a payment, pays and writes again. @throws as `write`; ERR_COST */
export async function withPayment<T>(
  given: Context,
  connection: Connection,
  write: () => Promise<T>,
  payee?: Payee,
): Promise<T> {
  const ctx = withLimit(given, payee?.maxSpend)
  for (let left = mostPayments; ; left--) {
    try {
      return await write()
    } catch (error) {
      if (!isUnpaid(error)) throw error
      if (left === 0 || !(await payForWrite(ctx, connection, { refusal: error, payee })))
        throw await about(ctx, { refusal: error, payee, relay: connection.address.key })
    }
  }
}

/** Beside what the relay says: of which record, and of the contract that would pay what is known here. */
async function about(
  ctx: Context,
  { refusal, payee, relay: key }: { refusal: Refused; payee: Payee | undefined; relay: Key },
): Promise<Refused> {
  const { relay, code, message, signed, extras } = refusal
  const kept = await activeAt(ctx, key)
  const own = {
    ...(payee && { recordId: payee.recordId }),
    ...(kept && { contract: kept.id, depth: kept.state.depth }),
  }
  return new Refused(relay, { code, error: message, signed, extras: { ...extras, ...own } })
}

/** What was audited before, where that is enough or just now; else an audit. */
async function knownFor(
  ctx: Context,
  connection: Connection,
  { kept, needed }: { kept: Active; needed: number },
): Promise<Audited> {
  const { audited } = kept.state
  const { at = 0, unproven = 0, owed = audited, verdict = 'explained' as const } = kept.heard ?? {}
  const before = { audited, unproven, owed, verdict, at }
  const isFresh = ctx.now() < at + payingLimits.auditEveryMs
  if (isFresh || needed <= audited + aheadLimit(termsOf(kept))) return before
  return (await auditedAt(ctx, connection, kept.id)) ?? before
}

/** An audit of the relay, as far as this contract goes; undefined where it says nothing of it. @throws as `auditRelays` */
async function auditedAt(ctx: Context, { address }: Connection, id: Hash): Promise<Audited | undefined> {
  const [at] = await auditRelays(ctx, formatAddress(address), { prove: 0 })
  return at && auditedIn(ctx, at, id)
}

/**
 * What an audit makes of a contract. Records stay in the purse that they were written to: what those of the contract before
 * come to, beyond what its rollover paid, is owed under this one. @throws why the relay was not audited
 */
export async function auditedIn(
  ctx: Pick<Context, 'home'>,
  at: AuditedAt,
  id: Hash,
): Promise<Audited | undefined> {
  if ('error' in at) throw at.error
  const purse = at.purses.find((one) => one.purse === id)
  if (purse === undefined) return undefined
  const { toPay: audited, unproven, claimed: owed, verdict } = purse
  const own: Audited = { audited, unproven: unproven.satoshis, owed, verdict }
  const renews = (await keptContract(ctx.home, id))?.renews ?? null
  const before = renews === null ? undefined : await auditedIn(ctx, at, renews.id)
  if (renews === null || before === undefined) return own
  const over = auditAfter({ audited: before.audited, prepaid: before.prepaid ?? 0 }, renews.paid)
  return {
    audited: audited + over.audited,
    unproven: own.unproven + before.unproven,
    owed: owed + booksAfter({ owed: before.owed, reserved: 0 }, renews.paid).owed,
    prepaid: over.prepaid,
    verdict: worst.find((one) => one === verdict || one === before.verdict) ?? verdict,
  }
}

const worst = ['forged', 'unproven', 'explained'] as const
