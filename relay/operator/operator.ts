/** What the operator may order of his relay, whether it is running (control.ts) or not (reach.ts). */
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import { keyFile, refuseInside } from '../data-directory.ts'
import { checkLedger } from '../ledger/check/check.ts'
import { explain } from '../ledger/explain.ts'
import { entriesOf, pursesOfAll } from '../ledger/statements.ts'
import { explainStored, type PriceRule } from '../market/price-rule.ts'
import { holdRule } from '../market/rule-row.ts'
import type { Pricing } from '../pricing.ts'
import { writeBackup } from '../store/backup.ts'
import * as keys from '../store/keys.ts'
import {
  bookReceived,
  bookReturned,
  findPurse,
  grantedBefore,
  rememberGrant,
  totalsOf,
} from '../store/ledger.ts'
import { available } from '../store/purses.ts'
import type { RecordBatch, Store } from '../store/store.ts'
import { confirmRestore, isHeld } from '../store/withdrawals.ts'
import type { AdvertServing } from './advert-orders.ts'
import { notRunning } from './control.ts'
import { ContractOrders } from './contract-orders.ts'
import { executeOrder } from './execute.ts'
import { type Order, type OrderOf, Orders, pageEntries } from './orders.ts'

const pageAccounts = 200

export type { Order, OrderOf }
export type ResultOf<O extends Order> = Awaited<ReturnType<Operator[O]>>

/** What only a relay that serves can be asked. */
export interface Serving extends AdvertServing {
  status(): Readonly<Record<string, unknown>>
  /** A person has checked the clock. */
  confirmClock(): void
  /** Where prices follow the load. */
  readonly rule?: PriceRule | undefined
}

export interface OperatorOptions {
  readonly store: Store
  readonly pricing: Pricing
  readonly now: () => number
  /** Everybody writes free of charge, so there is nothing to sell. */
  readonly open: boolean
  /** The relay's folder. */
  readonly data: string
  /** The encrypted backup of its coins at this moment; absent where it has none. */
  readonly coins?: (() => Promise<Uint8Array>) | undefined
  /** Absent where no relay runs. With it, what takes long leaves most of the time to those who are served. */
  readonly serving?: Serving | undefined
}

export class Operator extends ContractOrders {
  readonly #options: OperatorOptions

  constructor(options: OperatorOptions) {
    super(options)
    this.#options = options
  }

  /** Carries out an order that came as JSON, until `signal` is aborted. @throws ERR_MALFORMED, and what the order throws */
  async execute(order: string, args: unknown, signal: AbortSignal): Promise<unknown> {
    return executeOrder(Orders, this, { order, args, signal })
  }

  async ping(_order: OrderOf<'ping'>) {
    return true
  }

  /** @throws ERR_NOT_FOUND when the relay does not run */
  async status(_order: OrderOf<'status'>) {
    return { ...this.#serving.status(), ...this.summary() }
  }

  /** @throws ERR_NOT_FOUND when the relay does not run */
  async 'confirm-clock'(_order: OrderOf<'confirm-clock'>) {
    this.#serving.confirmClock()
    return true
  }

  /** From now on a restored relay pays credit back. */
  async 'confirm-restore'(_order: OrderOf<'confirm-restore'>) {
    const { store } = this.#options
    const wasHeld = await store.commit((batch) => confirmRestore(batch, store.meta))
    return { wasHeld }
  }

  /** Prices, and all purses together, in satoshi. */
  summary() {
    const { store, pricing, now } = this.#options
    const { received, returned, earned, committed, purses, entries } = totalsOf(store)
    const [reserved, available] = [committed - earned, received - returned - committed]
    return {
      prices: pricing.at(now()),
      nextPrices: pricing.next(now()),
      isHeld: isHeld(store, store.meta),
      ledger: { purses, entries, received, returned, earned, reserved, available },
    }
  }

  /**
   * Gives credit. With an `id`, the same grant ordered again is not given again. The answer is of the commit itself: what
   * failed after it would be ordered, and given, once more.
   * @throws ERR_CONFLICT where the id stands for another amount
   */
  async grant({ key, satoshi, id }: OrderOf<'grant'>) {
    return this.#options.store.commit((batch) => {
      const before = id === undefined ? undefined : grantedBefore(batch, key, id)
      if (before !== undefined && before !== satoshi)
        throw new MarketError(
          'ERR_CONFLICT',
          `${id} was granted before with ${before} satoshi, not ${satoshi}`,
        )
      const granted = before === undefined
      if (granted) {
        const place = bookReceived(batch, { owner: key, purse: 'grant', satoshi, note: id ?? 'operator' })
        if (id !== undefined) rememberGrant(batch, { owner: key, id, place })
      }
      return { granted, ...grantPurse(batch, key) }
    })
  }

  /** Takes back credit that was granted and is neither spent nor reserved. */
  async revoke({ key, satoshi }: OrderOf<'revoke'>) {
    return this.#options.store.commit((batch) => {
      const revoked = bookReturned(batch, { owner: key, purse: 'grant', satoshi, note: 'operator' })
      return { revoked, ...grantPurse(batch, key) }
    })
  }

  /** Accounts in the order of their keys; `next` goes on behind the last. */
  async accounts({ after }: OrderOf<'accounts'>) {
    const { store, now } = this.#options
    const scan = store.scan(keys.ownersAfter('a', after))
    const rows = await scan.next(pageAccounts).finally(() => scan.close())
    const accounts = await pursesOfAll(
      store,
      rows.map(([key]) => keys.ownerOfKey(key)),
      now(),
    )
    const next = accounts.at(-1)?.key
    return { accounts, ...(next !== undefined && { next }) }
  }

  /** With its latest entries. @throws ERR_NOT_FOUND when it has neither credit nor records */
  async account({ key, limit }: OrderOf<'account'>) {
    const { store, now } = this.#options
    const [[state], { entries }] = [
      await pursesOfAll(store, [key], now()),
      await entriesOf(store, key, { limit }),
    ]
    const stored = store.counters(key)
    if (state!.purses.length === 0 && stored.records + stored.ingressBytes === 0)
      throw new MarketError('ERR_NOT_FOUND', `${key} has no account here`)
    return { ...state!, stored, entries } // there is one of each that was asked for
  }

  async prices(_order: OrderOf<'prices'>) {
    const { pricing, now } = this.#options
    return { prices: pricing.at(now()), next: pricing.next(now()) }
  }

  /** Those that are not named stay as was decided last. Prices that follow the load are held from then on. */
  async 'set-prices'(change: OrderOf<'set-prices'>) {
    const { pricing, open } = this.#options
    if (open)
      throw new MarketError(
        'ERR_CONFLICT',
        'with --open everybody writes free of charge: leave it out to sell',
      )
    const from = await pricing.set(change, (batch) => holdRule(batch, true))
    return { from, ...(await this.prices({})) }
  }

  /** Why prices are what they are: measured at this moment, where the relay runs. */
  async 'explain-prices'(_order: OrderOf<'explain-prices'>) {
    const { store, pricing, now, serving } = this.#options
    return serving?.rule?.explain() ?? explainStored(store, pricing, now())
  }

  /** Prices follow the load again, or stay as they are. @throws ERR_CONFLICT where the relay was not started with --auto-price */
  async 'auto-price'({ isOn }: OrderOf<'auto-price'>) {
    const isThere = await this.#options.store.commit((batch) => holdRule(batch, !isOn))
    if (!isThere)
      throw new MarketError('ERR_CONFLICT', 'prices follow no load here: start the relay with --auto-price')
    return this['explain-prices']({})
  }

  /** Recomputes every purse from records, pulls and entries, as they are at this moment. */
  async check(_order: OrderOf<'check'>, signal: AbortSignal) {
    const { store, now } = this.#options
    const snapshot = store.snapshot()
    try {
      return await checkLedger(snapshot, { now: now(), signal })
    } finally {
      await snapshot.close()
    }
  }

  /** The story of an account or a record, a page of sentences at a time. */
  async explain({ about, after }: OrderOf<'explain'>) {
    const snapshot = this.#options.store.snapshot()
    try {
      return await explain(snapshot, { about, after, limit: pageEntries })
    } finally {
      await snapshot.close()
    }
  }

  /** Store and coins, each as it is at this moment. */
  async backup({ directory }: OrderOf<'backup'>, signal: AbortSignal) {
    const { store, data, now, coins, serving } = this.#options
    const pace = serving === undefined ? { duty: 1 } : {}
    await refuseInside(data, directory)
    return writeBackup({
      snapshot: store.snapshot(),
      key: keyFile(data),
      coins,
      directory,
      now: now(),
      signal,
      pace,
    })
  }

  get #serving(): Serving {
    const { serving } = this.#options
    if (serving === undefined) throw notRunning()
    return serving
  }
}

/** The purse of granted credit, as this batch leaves it. */
function grantPurse(batch: RecordBatch, key: Key) {
  const found = findPurse(batch, key, 'grant')
  return { key, purse: 'grant', available: String(found === undefined ? 0 : available(found)) }
}
