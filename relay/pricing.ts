/**
 * What this relay asks for, and from when on (docs/protocol.md §4.7). A quote is an upper bound until it ends, so prices
 * rise only once every quote that was given out has ended; they fall at once.
 */
import { z } from 'zod'
import type { Quote } from '../contracts/account.ts'
import { ceilSatoshi, freePrices, quoteUnits, type Wish } from '../market/price.ts'
import { mostSatoshi, type Prices } from '../market/units.ts'
import { UsageError } from './operator/usage.ts'
import type { Batch } from './store/batch.ts'
import type { Store } from './store/store.ts'
import { timeOf } from './store/place.ts'
import { decodeTariff, encodeTariff, type Tariff, tariffRow } from './store/tariff.ts'

export const quoteLifeMs = 600_000
/** A quote may be signed while a rise is being decided, so a rise waits a little longer than quotes live. */
const noticeMs = quoteLifeMs + 60_000
/** A clock that is set back by more than this was wrong before. */
const setBackMs = 3_600_000
/** Satoshi per GB; far above any market, and low enough for every sum to stay exact. */
const highestPrice = 1_000_000_000_000

const Price = z.int().min(0).max(highestPrice)
/** Prices to set; the others stay as they are. */
export const PriceChange = z
  .strictObject({ storageGBDay: Price, egressGB: Price, ingressGB: Price })
  .partial()
  .refine((prices) => Object.keys(prices).length > 0, 'no price is named')
export type PriceChange = z.infer<typeof PriceChange>

/** How a relay is started, where that bears on prices. */
export interface Started {
  /** What `--price` says. */
  readonly configured?: Prices | undefined
  /** `--open` */
  readonly open: boolean
}

export class Pricing {
  readonly #store: Store
  #tariff: Tariff
  /** Prices that were quoted hold on when the clock is set back a little, to before they did. */
  #latest: number
  /** A change could not be written, or was and is not known to be: the store knows. */
  #isUnsure = false
  /** Settles when every change ordered so far has been decided on and written, or not. */
  #decided: Promise<unknown> = Promise.resolve()

  private constructor(store: Store, tariff: Tariff) {
    this.#store = store
    this.#tariff = tariff
    this.#latest = timeOf(store.head())
  }

  /**
   * Of what was set at run time and what `--price` says, the later word holds. Without `started`, what is stored. Only a
   * new store starts at its prices at once: any other may have quoted that it charges nothing.
   */
  static async open(store: Store, started?: Started): Promise<Pricing> {
    const stored = store.get(tariffRow)
    const free = { prices: freePrices, next: null, configured: freePrices, open: false }
    const pricing = new Pricing(store, stored === undefined ? free : decodeTariff(stored))
    if (started === undefined) return pricing
    const { configured, open } = pricing.#tariff
    const { configured: said = configured, open: isOpen } = started
    const isNews = !same(said, configured)
    if (isNews || isOpen !== open) {
      const atOnce = stored === undefined && store.isNew
      await pricing.#decide({ change: isNews ? said : {}, configured: said, open: isOpen, atOnce })
    }
    return pricing
  }

  /** What a record that is written at `now` is charged by. */
  at(now: number): Prices {
    const { prices, next } = this.#current
    return next !== null && this.#advance(now) >= next.from ? next.prices : prices
  }

  /** Prices that will hold later, if there are any. */
  next(now: number): Tariff['next'] {
    const { next } = this.#current
    return next !== null && this.#advance(now) < next.from ? next : null
  }

  /**
   * The most a record may come to, whenever it is written before the quote expires; undefined when that is more than all
   * the coins there will ever be.
   */
  quote(wish: Wish, prices: Prices, now: number): Quote | undefined {
    const satoshi = ceilSatoshi(quoteUnits(wish, prices))
    if (satoshi > mostSatoshi) return undefined
    const expires = Math.min(now + quoteLifeMs, this.next(now)?.from ?? Number.POSITIVE_INFINITY)
    return { expires, prices, satoshis: String(satoshi) }
  }

  /**
   * Decides on prices, one change after another; those that are not named stay as was decided last. Says from when on they
   * hold. What was written before keeps its own. `also` is written with them; what it throws keeps prices as they are.
   * @param atOnce also what rises: nobody was quoted anything yet
   */
  set(change: PriceChange, also?: (batch: Batch) => void, atOnce = false): Promise<number> {
    return this.#decide({ change, also, atOnce })
  }

  #advance(now: number): number {
    this.#latest = this.#latest - now > setBackMs ? now : Math.max(this.#latest, now)
    return this.#latest
  }

  get #current(): Tariff {
    if (!this.#isUnsure || this.#store.state !== 'ready') return this.#tariff
    const stored = this.#store.get(tariffRow)
    if (stored !== undefined) this.#tariff = decodeTariff(stored)
    this.#isUnsure = false
    return this.#tariff
  }

  /** In turn: a rise is one over prices that are durable, and so quoted, not over those that they are replacing. */
  #decide(decision: Decision): Promise<number> {
    const decided = this.#decided.then(() => this.#keep(decision))
    this.#decided = decided.catch(() => {})
    return decided
  }

  async #keep({ change, atOnce = false, also, ...started }: Decision): Promise<number> {
    try {
      const { tariff, from } = await this.#store.commit((batch) => {
        also?.(batch)
        const decided = this.#decideAt(batch.now, { change, atOnce, ...started })
        batch.put(tariffRow, encodeTariff(decided.tariff))
        // A rise shortens quotes from now on, whether or not it is written; a fall must be durable before it is quoted.
        if (decided.tariff.next !== null) this.#tariff = decided.tariff
        return decided
      })
      this.#tariff = tariff
      return from
    } catch (error) {
      this.#isUnsure = true
      throw error
    }
  }

  #decideAt(now: number, { change, configured, open, atOnce }: Decision): { tariff: Tariff; from: number } {
    const before = this.#current
    const started = { configured: configured ?? before.configured, open: open ?? before.open }
    const prices = { ...(this.next(now)?.prices ?? this.at(now)) }
    for (const name of priceNames) prices[name] = change[name] ?? prices[name]
    // Whom a relay that stood open quoted nothing is charged nothing before that quote has ended.
    const current = before.open && !started.open ? freePrices : this.at(now)
    const rises = priceNames.some((name) => prices[name] > current[name])
    if (!rises || atOnce) return { tariff: { prices, next: null, ...started }, from: now }
    const from = this.#advance(now) + noticeMs
    return { tariff: { prices: current, next: { prices, from }, ...started }, from }
  }
}

/** What is not said stays as it was. */
interface Decision extends Partial<Started> {
  readonly change: PriceChange
  /** Also for prices that rise. */
  readonly atOnce?: boolean
  readonly also?: ((batch: Batch) => void) | undefined
}

/** Of all prices. */
export const priceNames = ['storageGBDay', 'egressGB', 'ingressGB'] as const
const same = (one: Prices, other: Prices): boolean => priceNames.every((name) => one[name] === other[name])

/** Prices given as `storageGBDay=4000`, …; of those that are given twice the last. @throws UsageError */
export function parsePrices(words: readonly string[]): PriceChange {
  const prices: PriceChange = {}
  for (const word of words) {
    const [name = '', value = ''] = word.split('=', 2)
    const known = priceNames.find((one) => one === name)
    const price = Number(value)
    if (known === undefined || !/^(?:0|[1-9][0-9]{0,12})$/.test(value) || price > highestPrice)
      throw new UsageError(
        `a price is NAME=SATOSHI with a name of ${priceNames.join(', ')} and at most ${highestPrice}`,
      )
    prices[known] = price
  }
  return prices
}
