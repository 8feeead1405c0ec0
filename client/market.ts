/** The market as its user sees it: which relays there are, what they would cost him, which to take, and why. */
import type { SealedAdvert } from '../market/advert.ts'
import { formatAddress } from '../market/address.ts'
import type { Wanted } from '../market/choose-set.ts'
import { MarketError } from '../market/errors.ts'
import { encodeObservation, type Observation } from '../market/observation.ts'
import type { Why } from '../market/score.ts'
import type { Key } from '../market/units.ts'
import { monthDays } from '../market/usage-pattern.ts'
import type { Context } from './context.ts'
import { Contracts, type OpenCall, type Plan, type View } from './contracts.ts'
import type { Delivery, SendOptions } from './delivery.ts'
import { ClientError } from './errors.ts'
import { wishes as contractWishes } from './escrow/plan.ts'
import { Feeds } from './feeds.ts'
import { marketSettings, saveMarketSettings } from './home/market.ts'
import { joinRelay } from './mail/joining.ts'
import { Book, type ChannelRead, type KnownAdvert } from './market/book.ts'
import { addChannel, allowNamed, channelNames, removeChannel } from './market/channels.ts'
import { choose, type Choice, judge, type Judged, named, probeBest, type Wishes } from './market/choose.ts'
import { observationSubject, ownObservation } from './market/observations.ts'
import type { Probed, ProbeOptions } from './market/probe.ts'
import { ownRelays } from './people/relays.ts'

export type { ChannelRead, KnownAdvert } from './market/book.ts'
export type { Choice, Judged, Usage, Wishes } from './market/choose.ts'
export type { Probed } from './market/probe.ts'

export interface MarketCall extends Wishes {
  /** Channels to be read for this call, instead of the user's own. */
  readonly channels?: readonly string[] | undefined
  /** What is known already is enough: no channel is read. */
  readonly isOffline?: boolean | undefined
  /** Of the stamp of an advert, at least. */
  readonly bits?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** Adverts that hold, judged, and how the reading of each channel went. */
export interface Listing extends Judged {
  readonly known: readonly KnownAdvert[]
  readonly reads: readonly ChannelRead[]
}

export interface ChooseCall extends MarketCall, Wanted, Pick<ProbeOptions, 'jitter'> {}

/** How one relay of a chosen set is taken. */
export interface OpenedAt {
  readonly why: Why
  /** Undefined for one that charges nothing: there is nothing to be paid. */
  readonly view?: View
  /** The user did not agree, or it failed: it is no relay of his then. */
  readonly isRefused?: boolean
  readonly error?: Error
}

export interface OpenSetCall extends Omit<OpenCall, 'budget' | 'agree'> {
  /** Satoshi of each contract; what the pattern costs for the term unless said, and the least that the relay opens. */
  readonly budget?: number | undefined
  /** Hears every number of a contract before anything of it is signed; nothing is paid unless it says yes. */
  readonly agree: (plan: Plan, why: Why) => Promise<boolean>
}

/** Reading own records never asks anything of this. */
export class Market {
  readonly #ctx: Context

  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  /** Reads the channels, and judges everything that holds, the best first. What a channel fails with stands beside it. */
  async list(call: MarketCall = {}): Promise<Listing> {
    const { known, reads } = await this.#look(call)
    return { ...(await judge(this.#ctx, known, wishesOf(call))), known, reads }
  }

  /** One relay of the market, by its key, the beginning of it, its URL or address. @throws ERR_NOT_FOUND, ERR_CONFLICT */
  async why(
    reference: string,
    call: MarketCall = {},
  ): Promise<{
    readonly why: Why
    readonly sealed: SealedAdvert
    readonly usage: Judged['usage']
    readonly place: number
  }> {
    const { all, known, usage } = await this.list({ isOffline: true, ...call })
    const why = named(all, reference)
    const { sealed } = known.find((one) => one.sealed.address.key === why.relay)! // it was judged by it
    return { why, sealed, usage, place: all.indexOf(why) + 1 }
  }

  /** Asks those that keep the limits whether they are there, the best first, or those that are named. */
  async probe(
    call: MarketCall &
      Pick<ProbeOptions, 'jitter'> & { readonly relays?: readonly string[]; readonly most?: number } = {},
  ): Promise<Probed[]> {
    const { known, ...judged } = await this.list(call)
    const { relays, signal, jitter, most } = call
    const all =
      relays === undefined || relays.length === 0 ? judged.all : relays.map((one) => named(judged.all, one))
    return probeBest(this.#ctx, known, { ...judged, all }, { signal, jitter, ...(most && { most }) })
  }

  /** Probes the best and picks `count` of those that answer, within the budget. Nothing is bound by it. @throws ERR_LIMIT */
  async choose(call: ChooseCall): Promise<Choice & Pick<Listing, 'known' | 'reads'>> {
    const { known, reads } = await this.#look(call)
    const { count, budget, signal, jitter } = call
    const options = { wishes: wishesOf(call), wanted: { count, budget }, signal, jitter }
    return { ...(await choose(this.#ctx, known, options)), known, reads }
  }

  /**
   * Takes a chosen set: opens a contract with each that charges, one after another, and puts records there from then on. What
   * fails with one stops no other; called again, it goes on where it stopped.
   */
  async open({ set }: Pick<Choice, 'set'>, call: OpenSetCall): Promise<OpenedAt[]> {
    const done: OpenedAt[] = []
    for (const { why } of set.chosen) {
      call.signal?.throwIfAborted()
      try {
        const view = why.network === null ? undefined : await this.#contractWith(why, call)
        const isTaken = why.network === null || view !== undefined
        if (isTaken) await this.#join(why, call)
        done.push({ why, ...(view && { view }), isRefused: !isTaken })
      } catch (error) {
        done.push({ why, isRefused: true, error: error as Error })
      }
    }
    return done
  }

  /** The channels that are read. */
  channels(): Promise<readonly string[]> {
    return channelNames(this.#ctx)
  }

  /** @throws ERR_MALFORMED, ERR_LIMIT */
  addChannel(name: string): Promise<readonly string[]> {
    return addChannel(this.#ctx, name)
  }

  /** @throws ERR_NOT_FOUND */
  removeChannel(name: string): Promise<readonly string[]> {
    return removeChannel(this.#ctx, name)
  }

  /** Whom never to choose. */
  async blocked(): Promise<readonly Key[]> {
    return (await marketSettings(this.#ctx.home)).blocked
  }

  /** What lies on it already is read as ever. */
  async block(relay: Key, isBlocked: boolean): Promise<void> {
    await this.#ctx.home.lock('market-settings', async () => {
      const settings = await marketSettings(this.#ctx.home)
      const others = settings.blocked.filter((key) => key !== relay)
      await saveMarketSettings(this.#ctx.home, {
        ...settings,
        blocked: isBlocked ? [...others, relay] : others,
      })
    })
  }

  /** What we could tell others of relays; undefined where we know nothing. */
  observation(): Promise<Omit<Observation, 'type' | 'v'> | undefined> {
    return ownObservation(this.#ctx)
  }

  /** Tells it, in a public post, signed: everybody may read it. @throws ERR_NOT_FOUND where we know nothing; as `Feeds.post` */
  async observe(options: Pick<SendOptions, 'signal' | 'maxCost' | 'onQuote'> = {}): Promise<Delivery> {
    const observation = await this.observation()
    if (observation === undefined)
      throw new MarketError('ERR_NOT_FOUND', 'you know nothing of relays yet: probe some, or use them')
    return new Feeds(this.#ctx).post(encodeObservation(observation), {
      ...options,
      subject: observationSubject,
    })
  }

  /**
   * The one that is open there already, or a new one; undefined where the user did not agree.
   * @throws ERR_COST for prices above those that it was chosen by: nothing is asked or paid then
   */
  async #contractWith(why: Why, { agree, ...call }: OpenSetCall): Promise<View | undefined> {
    const contracts = new Contracts(this.#ctx)
    const open = (await contracts.list()).find(
      ({ server, state }) => server === why.relay && state === 'active',
    )
    if (open !== undefined) return open
    const { termSeconds = contractWishes.termSeconds } = call
    const needed = Math.ceil((why.monthly.satoshis * termSeconds) / monthSeconds)
    return contracts.open(addressOf(why), {
      ...call,
      budget: call.budget ?? needed,
      isRaised: call.budget === undefined,
      agree: async (plan) => {
        checkPrices(plan, why)
        return agree(plan, why)
      },
    })
  }

  /** Puts records there from now on. */
  async #join(why: Why, call: OpenSetCall): Promise<void> {
    const isOwn = (await ownRelays(this.#ctx)).some(({ key }) => key === why.relay)
    if (!isOwn) await joinRelay(this.#ctx, addressOf(why), call)
  }

  async #look({ channels, isOffline = false, bits, signal }: MarketCall) {
    await allowNamed(this.#ctx)
    const book = await Book.load(this.#ctx, { bits })
    const names = isOffline ? [] : (channels ?? (await channelNames(this.#ctx)))
    const reads = await book.refresh(this.#ctx, names, signal)
    return { known: book.live(), reads }
  }
}

const monthSeconds = monthDays * 86_400
const addressOf = ({ url, relay }: Why): string => formatAddress({ url, key: relay })

/** What it was chosen by is the highest that it advertised and quoted: a contract may not be dearer. @throws ERR_COST */
function checkPrices({ prices }: Plan, { url, prices: known }: Why): void {
  const dearer = priceNames.filter((name) => prices[name] > known[name])
  if (dearer.length === 0) return
  const says = dearer.map((name) => `${name} ${prices[name]} instead of ${known[name]}`).join(', ')
  throw new ClientError('ERR_COST', `${url} asks more in a contract than it was chosen by: ${says}`)
}
const priceNames = ['storageGBDay', 'egressGB', 'ingressGB'] as const

const wishesOf = ({ pattern, limits, bits }: MarketCall): Wishes => ({ pattern, limits: { bits, ...limits } })
