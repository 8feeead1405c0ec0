/** Who may write, at what price, and out of which purse (docs/protocol.md §4.9). Decided inside the batch of the write. */
import type { Quote } from '../contracts/account.ts'
import { MarketError } from '../market/errors.ts'
import { ceilSatoshi, freePrices, isFree, type Wish, worstUnits } from '../market/price.ts'
import { dayMs, type Key, type Prices } from '../market/units.ts'
import type { ContractTerms } from './escrow/admission.ts'
import type { Contracts } from './escrow/contracts.ts'
import type { Limits } from './limits.ts'
import type { Capacity } from './market/capacity.ts'
import { type Pricing, quoteLifeMs } from './pricing.ts'
import { escrowsOf } from './store/contracts.ts'
import { metaKey } from './store/keys.ts'
import { bookReceived, findPurse, hasRoomFor, pursesOf } from './store/ledger.ts'
import { affords, available, hasEnded, hasLapsed, purseOrder } from './store/purses.ts'
import { Newcomers, type Purse } from './store/rows.ts'
import type { Offer, RecordBatch, Store, Terms } from './store/store.ts'

const newcomerLifeMs = 30 * dayMs
/** Addresses that are told apart in a day; beyond, strangers share one count. */
const trackedAddresses = 100_000

export interface AccountsOptions {
  readonly store: Store
  readonly pricing: Pricing
  /** Absent: without bound. */
  readonly capacity?: Pick<Capacity, 'check'>
  readonly limits: Limits
  /** Everybody writes free of charge. */
  readonly open: boolean
  /** These do. */
  readonly allowed: ReadonlySet<Key>
  /** Satoshi that a newcomer is given; 0: nothing. */
  readonly grantNew: number
  /** Undefined where no chain is seen. */
  readonly contracts?: () => Contracts | undefined
}

export class Accounts {
  readonly #options: AccountsOptions
  /** How many newcomers each address brought on this day. In memory: after a restart the count starts over. */
  #today = { day: 0, perAddress: new Map<string, number>() }

  constructor(options: AccountsOptions) {
    this.#options = options
  }

  /** Writes free of charge, whatever the prices are. */
  isAllowed(owner: Key): boolean {
    return this.#options.open || this.#options.allowed.has(owner)
  }

  /** The operator lets him write, by his key. */
  isNamed(owner: Key): boolean {
    return this.#options.allowed.has(owner)
  }

  /**
   * Refuses at once, before anything is prepared for them, those who have no credit and will be given none; nobody is asked
   * to pay for what there is no room for.
   * @throws ERR_NO_ACCOUNT, ERR_PAYMENT_REQUIRED, ERR_BUSY
   */
  checkMayWrite(owner: Key, offer: Omit<Offer, 'owner'>): void {
    if (this.isAllowed(owner) || escrowsOf(this.#options.store, owner).current !== undefined) return
    const prices = this.#options.pricing.at(offer.at)
    if (isFree(prices)) throw this.#notSold(offer.at)
    if (this.#options.grantNew > 0 || this.has(owner)) return
    this.checkRoom(offer.bytes)
    throw this.#paymentRequired({ ...offer, owner }, { prices, most: 0, now: offer.at, isKnown: false })
  }

  /** @throws ERR_BUSY where a record of so many content bytes, written now, would have no room */
  checkRoom(bytes: number): void {
    this.#options.capacity?.check(bytes)
  }

  has(owner: Key): boolean {
    return pursesOf(this.#options.store, owner) !== undefined
  }

  /** @throws ERR_MALFORMED for what all the coins there are could not pay */
  quoteFor(from: Key, wish: Wish, now: number): Quote {
    const { pricing } = this.#options
    const quote = pricing.quote(wish, this.isAllowed(from) ? freePrices : pricing.at(now), now)
    if (quote === undefined)
      throw new MarketError('ERR_MALFORMED', 'this would cost more than all the coins there will ever be')
    return quote
  }

  /**
   * The terms on which a record is taken: its worst case fits into its purse when its write is booked with them.
   * @throws ERR_NO_ACCOUNT where nothing is sold, ERR_PAYMENT_REQUIRED with a quote where it is, ERR_BUSY where there is no room,
   * or quotes of before must end first
   */
  terms(batch: RecordBatch, offer: Offer, address: string): Terms {
    const { owner, expires } = offer
    this.#options.capacity?.check(offer.bytes, batch)
    if (this.isAllowed(owner)) return { purse: 'credit', prices: freePrices, paidUntil: expires }
    const contract = this.#options.contracts?.()?.terms(batch, offer, batch.now)
    if (contract?.terms !== undefined) return contract.terms
    const prices = this.#options.pricing.at(batch.now)
    if (isFree(prices)) throw contract === undefined ? this.#notSold(batch.now) : unpaid(contract, batch.now)
    this.#checkMayCharge(batch.now)
    const known = pursesOf(batch, owner)
    if (known === undefined) this.#welcome(batch, { ...offer, prices, address })
    const names = known ?? pursesOf(batch, owner) ?? []
    let most = 0
    for (const purse of purseOrder) {
      if (!names.includes(purse)) continue
      const found = findPurse(batch, owner, purse)
      if (found === undefined || hasLapsed(found, batch.now) || hasEnded(found, offer.at)) continue
      const paidUntil = paidUntilOf(found, expires)
      if (affords(found, worstUnits({ ...offer, paidUntil, prices }))) return { purse, prices, paidUntil }
      most = Math.max(most, available(found))
    }
    if (contract !== undefined) throw unpaid(contract, batch.now)
    throw this.#paymentRequired(offer, { prices, most, now: batch.now, isKnown: known !== undefined })
  }

  #notSold(now: number): MarketError {
    const next = this.#options.pricing.next(now)
    if (next === null || isFree(next.prices))
      return new MarketError('ERR_NO_ACCOUNT', 'the sender has no account here')
    return busy('nothing is sold before the quotes given out until now have ended', next.from - now)
  }

  /** What a restored relay quoted after its backup it has forgotten, so that nobody is charged before all of it has ended. */
  #checkMayCharge(now: number): void {
    const { restoredAt } = this.#options.store.meta
    if (restoredAt === undefined || now >= restoredAt + quoteLifeMs) return
    const left = restoredAt + quoteLifeMs - now
    const minutes = Math.ceil(left / 60_000)
    throw busy(
      `this relay was restored from a backup, and takes nothing for money until the prices it promised before have ended: ask again in about ${minutes} min`,
      left,
    )
  }

  /** Gives a newcomer free credit, if it is enough for what he comes with, and not too many came already. */
  #welcome(batch: RecordBatch, offer: Offer & { prices: Prices; address: string }): void {
    const { grantNew, limits } = this.#options
    const { owner, address, prices, expires } = offer
    if (grantNew < ceilSatoshi(worstUnits({ ...offer, paidUntil: expires, prices }))) return
    const day = Math.floor(batch.now / dayMs)
    const stored = batch.get(newcomersRow)
    const counted = stored === undefined ? { day, count: 0 } : Newcomers.decode(stored)
    // A clock that was set back does not begin a day anew.
    const today = counted.day >= day ? counted : { day, count: 0 }
    if (this.#today.day < today.day) this.#today = { day: today.day, perAddress: new Map() }
    const { perAddress } = this.#today
    const slot = perAddress.has(address) || perAddress.size < trackedAddresses ? address : 'others'
    const ofAddress = perAddress.get(slot) ?? 0
    if (today.count >= limits.newcomersPerDay || ofAddress >= limits.newcomersPerAddressPerDay) return
    if (!hasRoomFor(batch, grantNew)) return
    const lapses = batch.now + newcomerLifeMs
    bookReceived(batch, { owner, purse: 'trial', satoshi: grantNew, note: 'newcomer', lapses })
    batch.put(newcomersRow, Newcomers.encode({ ...today, count: today.count + 1 }))
    perAddress.set(slot, ofAddress + 1)
  }

  #paymentRequired(
    { bytes, at, expires, maxPulls }: Offer,
    { prices, most, now, isKnown }: { prices: Prices; most: number; now: number; isKnown: boolean },
  ): MarketError {
    const ttl = Math.ceil(Math.max(0, expires - at) / 1000)
    const quote = this.#options.pricing.quote({ bytes, ttl, maxPulls }, prices, now)
    if (quote === undefined)
      return new MarketError('ERR_PAYMENT_REQUIRED', 'this costs more than all the coins there will ever be')
    const credit = isKnown ? `${most} are available` : 'whoever sends it has no credit here'
    const sentence = `this costs up to ${quote.satoshis} satoshi and ${credit}`
    const extras = { quote: { ...quote, available: String(most) } }
    return new MarketError('ERR_PAYMENT_REQUIRED', sentence, { extras })
  }
}

/** Of a contract: with `paidNeeded` signed, the same write is taken. */
function unpaid({ missing }: ContractTerms, now: number): MarketError {
  const { satoshis = 0, ...facts } = missing ?? {}
  const quote = { ...facts, satoshis: String(satoshis), expires: now + quoteLifeMs }
  const sentence = `this costs up to ${satoshis} satoshi, which the contract does not pay as it stands`
  return new MarketError('ERR_PAYMENT_REQUIRED', sentence, { extras: { quote } })
}

const busy = (why: string, retryAfterMs: number): MarketError =>
  new MarketError('ERR_BUSY', why, { extras: { retryAfterMs } })

const newcomersRow = metaKey('newcomers')

const paidUntilOf = ({ serviceEnd }: Purse, expires: number): number =>
  serviceEnd === 0 ? expires : Math.min(expires, serviceEnd)
