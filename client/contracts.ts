/** Contracts with relays as their user sees them: with the coins of this identity, which are open no longer than that takes. */
import type { Chain } from '../contracts/chain/chain.ts'
import { isLive } from '../contracts/escrow/client-machine.ts'
import { ContractsOffer } from '../contracts/escrow/offer.ts'
import { parseAddress, type RelayAddress } from '../market/address.ts'
import { auditAll } from './audit.ts'
import { coinsOf } from './coins.ts'
import type { Context } from './context.ts'
import { ClientError } from './errors.ts'
import { close, open, refund, renew } from './escrow/operations.ts'
import { contractNamed as named } from './escrow/named.ts'
import { type Leaving, leavingWith } from './escrow/leaving.ts'
import { withContract } from './escrow/engine.ts'
import { type Audited, auditedIn, payAudited } from './escrow/paying.ts'
import { lostPeer, relayPeer } from './escrow/peer.ts'
import { leastBudget, type Plan, wishes } from './escrow/plan.ts'
import { recover } from './escrow/recover.ts'
import { keyHolder, type Purse, type Site } from './escrow/site.ts'
import { isOver, tend } from './escrow/tend.ts'
import { type View, viewOf } from './escrow/view.ts'
import { type KeptContract, keptContracts, saveContract } from './home/contracts.ts'
import { type CoinOptions, openView } from './money/wallet.ts'
import { relaysNamed } from './people/relays.ts'
import type { CallOptions } from './wire/connection.ts'

export type { Leaving } from './escrow/leaving.ts'
export type { Plan } from './escrow/plan.ts'
export type { View } from './escrow/view.ts'

export type ContractCall = CallOptions & CoinOptions

export interface OpenCall extends ContractCall {
  /** What may be used, in satoshi. */
  readonly budget: number
  /** The least budget that the relay opens, where that is more. */
  readonly isRaised?: boolean | undefined
  readonly termSeconds?: number | undefined
  /** Without expiry: each side can hold all the money back for ever. */
  readonly isBare?: boolean | undefined
  /** The most that may be signed over in satoshi; the budget unless said. */
  readonly maxSpend?: number | undefined
  /** Nothing is paid unless it says yes; without it, what was called for is agreed to. */
  readonly agree?: ((plan: Plan) => Promise<boolean>) | undefined
}

export interface RenewCall extends ContractCall, Pick<OpenCall, 'agree'> {
  readonly termSeconds?: number | undefined
  /** Adds so much to what is left, in satoshi; without, the next contract has the budget of this one. */
  readonly topUp?: number | undefined
}

/** What one pass came to, of one contract. */
export type Pass = View & { readonly before: View['state']; readonly error?: Error }

export interface TendCall extends ContractCall {
  /** Lets contracts end, instead of making the next one. */
  readonly isEnding?: boolean | undefined
}

const yes = async (): Promise<boolean> => true

/** Those of one identity. A contract is named by its id, the beginning of it, or its relay. */
export class Contracts {
  readonly #ctx: Context

  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  /**
   * Opens one, or goes on with an opening; `agree` hears every number first. Undefined where it said no.
   * @throws ERR_UNSUPPORTED for a relay that opens none; ERR_CONFLICT while one is open there; ERR_USAGE
   */
  open(reference: string, call: OpenCall): Promise<View | undefined> {
    return atSite(this.#ctx, call, async (site) => {
      const [relay] = await relaysNamed(this.#ctx, reference, call.signal)
      const { termSeconds = wishes.termSeconds, isBare, maxSpend, agree = yes, isRaised = false } = call
      const offer = await offerAt(this.#ctx, relay!, call) // what is named is found, or it throws
      const budget = isRaised ? Math.max(call.budget, leastBudget(offer)) : call.budget
      const wish = { client: this.#ctx.wallet.identity, budget, termSeconds, isBare }
      const kept = await open(site, { relay: relay!, offer, wish, maxSpend, agree })
      return kept && viewOf(site, kept)
    })
  }

  /** Every contract there ever was, as it was known last, without asking anybody; the oldest first. */
  async list(): Promise<View[]> {
    const all = await keptContracts(this.#ctx.home)
    return Promise.all(all.map((kept) => viewOf(this.#parts, kept)))
  }

  /** As it was known last. @throws ERR_NOT_FOUND */
  async get(reference: string): Promise<View> {
    return viewOf(this.#parts, await named(this.#ctx, reference))
  }

  /** Pays what an audit of now comes to; `maxSpend` bounds from now on all that is ever signed over. @throws ERR_COST */
  pay(
    reference: string,
    { maxSpend, ...call }: ContractCall & { readonly maxSpend?: number | undefined } = {},
  ): Promise<View> {
    return atSite(this.#ctx, call, async (site) => {
      const { id } = await named(this.#ctx, reference)
      if (maxSpend !== undefined)
        await withContract(site, id, (kept) => saveContract(site.ctx.home, { ...kept, maxSpend }))
      const audited = await auditOf(this.#ctx, await named(this.#ctx, id), call)
      if (audited === undefined)
        throw new ClientError('ERR_UNTRUSTED', 'the relay says nothing of this contract')
      const paid = await withContract(site, id, async (kept) => {
        const { reserved } = await site.peer(kept).ask({ type: 'ContractState', contract: id })
        return payAudited(site, kept, { ...audited, reserved }, { isWanted: true })
      })
      return viewOf(site, paid)
    })
  }

  /** What it would stop paying for if it were closed now. */
  leaving(reference: string, call: ContractCall = {}): Promise<Leaving> {
    return atSite(this.#ctx, call, async (site) => leavingWith(site, await named(this.#ctx, reference)))
  }

  /** Ends it by agreement, for what was audited and `keep` satoshi beyond it, so that records stay; one that is not signed yet is called off. */
  close(
    reference: string,
    { keep, ...call }: ContractCall & { readonly keep?: number | undefined } = {},
  ): Promise<View> {
    return atSite(this.#ctx, call, async (site) => {
      const kept = await named(this.#ctx, reference)
      // A relay that does not answer any more is settled with for what was audited before.
      const audited = isLive(kept.state)
        ? await auditOf(this.#ctx, kept, call).catch(() => undefined)
        : undefined
      const sure = audited === undefined || audited.verdict === 'forged' ? undefined : audited.audited
      return viewOf(site, await close(site, kept.id, { audited: sure, keep }))
    })
  }

  /** Has back by time what the relay does not settle. @throws ERR_CONFLICT while it is too early, saying from when */
  refund(reference: string, call: ContractCall = {}): Promise<View> {
    return atSite(this.#ctx, call, async (site) =>
      viewOf(site, await refund(site, (await named(this.#ctx, reference)).id)),
    )
  }

  /** A next contract in its place; `topUp` to have more, `termSeconds` to have it longer. Undefined where `agree` said no. */
  renew(reference: string, call: RenewCall = {}): Promise<View | undefined> {
    return atSite(this.#ctx, call, async (site) => {
      const kept = await named(this.#ctx, reference)
      const offer = await offerAt(this.#ctx, addressOf(kept), call)
      const audited = await auditOf(this.#ctx, kept, call)
      const known = 'audited' in kept.state ? kept.state.audited : 0
      const { topUp, termSeconds, agree = yes } = call
      const order = { offer, audited: Math.max(known, audited?.audited ?? 0), topUp, termSeconds, agree }
      const next = await renew(site, kept.id, order)
      return next && viewOf(site, next)
    })
  }

  /** One pass of an agent over all of them: paid by audits, ended, renewed, refunded. What fails stands with its contract. */
  async tend(call: TendCall = {}): Promise<Pass[]> {
    const ctx = this.#ctx
    // Coins are for who has something to do with them.
    if ((await keptContracts(ctx.home)).every(isOver)) return []
    return atSite(ctx, call, async (site) => {
      const done = await tend(site, {
        audit: (kept, signal) => auditOf(ctx, kept, { ...call, signal }),
        ...{ isEnding: call.isEnding, signal: call.signal },
        offer: async ({ relay }, signal) =>
          relay === null ? undefined : offerAt(ctx, parseAddress(relay), { ...call, signal }),
      })
      const passes = done.map(async ({ kept, before, error }) => ({
        ...(await viewOf(site, kept)),
        before,
        ...(error && { error }),
      }))
      return Promise.all(passes)
    })
  }

  /** Brings back what the wallet knows and this home does not. */
  recover(call: ContractCall = {}): Promise<View[]> {
    return atSite(this.#ctx, call, async (site) =>
      Promise.all((await recover(site)).map((kept) => viewOf(site, kept))),
    )
  }

  get #parts() {
    return { ctx: this.#ctx, holder: keyHolder(this.#ctx) }
  }
}

async function atSite<T>(ctx: Context, call: ContractCall, work: (site: Site) => Promise<T>): Promise<T> {
  const coins = coinsOf(ctx, call)
  let chain: Promise<Chain> | undefined
  let purse: Promise<Purse> | undefined
  const site: Site = {
    ctx,
    holder: keyHolder(ctx),
    chain: () => {
      chain ??= openView(ctx, call)
      return chain
    },
    purse: () => {
      purse ??= coins.payer()
      return purse
    },
    peer: ({ relay }, signal = call.signal) =>
      relay === null ? lostPeer : relayPeer(ctx, ctx.connect(parseAddress(relay)), { signal }),
  }
  try {
    return await work(site)
  } finally {
    await coins.close()
    await (await chain?.catch(() => undefined))?.close()
  }
}

async function offerAt(ctx: Context, relay: RelayAddress, { signal }: CallOptions): Promise<ContractsOffer> {
  const { contracts } = await ctx.connect(relay).info(signal)
  const offer = ContractsOffer.safeParse(contracts)
  if (offer.success) return offer.data
  throw new ClientError('ERR_UNSUPPORTED', `${relay.url} opens no contracts`)
}

function addressOf({ relay }: KeptContract): RelayAddress {
  if (relay !== null) return parseAddress(relay)
  throw new ClientError('ERR_UNREACHABLE', 'it is not known where the relay of this contract is')
}

/** With the acks of friends brought in before. @throws what keeps the relay from being audited */
async function auditOf(
  ctx: Context,
  kept: KeptContract,
  { signal }: CallOptions,
): Promise<Audited | undefined> {
  if (kept.relay === null) return undefined
  const [at] = await auditAll(ctx, kept.relay, { prove: 0, signal })
  return at && auditedIn(ctx, at, kept.id)
}
