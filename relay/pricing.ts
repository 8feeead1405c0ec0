/**
 * What this relay asks for, and from when on (docs/protocol.md §4.7). A quote is an upper bound until it ends, so prices
 * rise only once every quote that was given out has ended; they fall at once.
 */
import { z } from 'zod'
import type { Quote } from '../contracts/account.ts'
import { ceilSatoshi, freePrices, quoteUnits, type Wish } from '../market/price.ts'
import { Milliseconds, mostSatoshi, Prices } from '../market/units.ts'
import { UsageError } from './operator/usage.ts'
import { metaKey } from './store/keys.ts'
import type { Store } from './store/store.ts'

const quoteLifeMs = 600_000
/** A quote may be signed while a rise is being decided, so a rise waits a little longer than quotes live. */
const noticeMs = quoteLifeMs + 60_000
/** Satoshi per GB; far above any market, and low enough for every sum to stay exact. */
const highestPrice = 1_000_000_000_000

const Price = z.int().min(0).max(highestPrice)
/** Prices to set; the others stay as they are. */
export const PriceChange = z
  .strictObject({ storageGBDay: Price, egressGB: Price, ingressGB: Price })
  .partial()
  .refine((prices) => Object.keys(prices).length > 0, 'no price is named')
export type PriceChange = z.infer<typeof PriceChange>

const Tariff = z.strictObject({
  prices: Prices,
  /** Prices that were decided on and do not hold yet. */
  next: z.strictObject({ prices: Prices, from: Milliseconds }).nullable(),
  /** What `--price` said when the relay was last started: only a change of it is a new word. */
  configured: Prices,
})
export type Tariff = z.infer<typeof Tariff>

export class Pricing {
  readonly #store: Store
  #tariff: Tariff
  /** A change could not be written, or was and is not known to be: the store knows. */
  #isUnsure = false

  private constructor(store: Store, tariff: Tariff) {
    this.#store = store
    this.#tariff = tariff
  }

  /** Of what was set at run time and what `--price` says, the later word holds. Without `configured`, what is stored. */
  static async open(store: Store, now: number, configured?: Prices): Promise<Pricing> {
    const stored = store.get(tariffRow)
    if (stored === undefined) {
      const prices = configured ?? freePrices
      const pricing = new Pricing(store, { prices, next: null, configured: prices })
      if (configured !== undefined) await pricing.#keep(pricing.#tariff)
      return pricing
    }
    const pricing = new Pricing(store, Tariff.parse(JSON.parse(stored.toString())))
    if (configured !== undefined && !same(configured, pricing.#tariff.configured)) {
      await pricing.set(configured, now, configured)
    }
    return pricing
  }

  /** What a record that is written at `now` is charged by. */
  at(now: number): Prices {
    const { prices, next } = this.#current
    return next !== null && now >= next.from ? next.prices : prices
  }

  /** Prices that will hold later, if there are any. */
  next(now: number): Tariff['next'] {
    const { next } = this.#current
    return next !== null && now < next.from ? next : null
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

  /** Decides on prices; says from when on they hold. What was written before keeps its own. */
  async set(prices: Prices, now: number, configured = this.#tariff.configured): Promise<number> {
    const current = this.at(now)
    const rises = priceNames.some((name) => prices[name] > current[name])
    const from = rises ? now + noticeMs : now
    if (rises) await this.#keep({ prices: current, next: { prices, from }, configured })
    else await this.#keep({ prices, next: null, configured })
    return from
  }

  get #current(): Tariff {
    if (!this.#isUnsure || this.#store.state !== 'ready') return this.#tariff
    const stored = this.#store.get(tariffRow)
    if (stored !== undefined) this.#tariff = Tariff.parse(JSON.parse(stored.toString()))
    this.#isUnsure = false
    return this.#tariff
  }

  async #keep(tariff: Tariff): Promise<void> {
    try {
      await this.#store.commit((batch) => {
        batch.put(tariffRow, Buffer.from(JSON.stringify(tariff)))
        // A rise shortens quotes from now on, whether or not it is written; a fall must be durable before it is quoted.
        if (tariff.next !== null) this.#tariff = tariff
      })
      this.#tariff = tariff
    } catch (error) {
      this.#isUnsure = true
      throw error
    }
  }
}

const tariffRow = metaKey('prices')
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
