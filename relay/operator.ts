/** What the operator may do with the accounts of his relay, whether it is running (control.ts) or not (reach.ts). */
import { join } from 'node:path'
import { z } from 'zod'
import { MarketError } from '../market/errors.ts'
import { ANYONE_KEY } from '../market/identity.ts'
import { Key } from '../market/units.ts'
import { checkLedger } from './ledger/check.ts'
import { explain } from './ledger/explain.ts'
import { entriesOf, pursesNow } from './ledger/statements.ts'
import { mostSatoshi, parsePrices, type Pricing } from './pricing.ts'
import { writeBackup } from './store/backup.ts'
import * as keys from './store/keys.ts'
import { bookReceived, bookReturned, grantedBefore, rememberGrant, totalsOf } from './store/ledger.ts'
import type { Store } from './store/store.ts'

const pageAccounts = 200
const pageEntries = 1000

const Satoshi = z.int().min(1).max(mostSatoshi)
const Account = z.strictObject({ key: Key.refine((key) => key !== ANYONE_KEY, 'key 1 has no account') })

const Orders = {
  grant: Account.extend({ satoshi: Satoshi, id: z.string().min(1).max(128).optional() }),
  revoke: Account.extend({ satoshi: Satoshi }),
  accounts: z.strictObject({ after: Key.optional() }),
  account: Account.extend({ before: z.int().optional(), limit: z.int().min(0).max(pageEntries) }),
  prices: z.strictObject({}),
  'set-prices': z.strictObject({ words: z.array(z.string()).min(1).max(8) }),
  check: z.strictObject({}),
  explain: z.strictObject({ about: z.string().max(512), after: z.int().min(0) }),
  backup: z.strictObject({ directory: z.string().min(1) }),
} as const
export type Order = keyof typeof Orders
export type OrderOf<O extends Order> = z.infer<(typeof Orders)[O]>
export type ResultOf<O extends Order> = Awaited<ReturnType<Operator[O]>>

export interface OperatorOptions {
  readonly store: Store
  readonly pricing: Pricing
  readonly now: () => number
  /** Everybody writes free of charge, so there is nothing to sell. */
  readonly open: boolean
  /** The relay's folder. */
  readonly data: string
  /** What takes long leaves most of the time to those who are served. */
  readonly isServing: boolean
}

export class Operator {
  readonly #options: OperatorOptions

  constructor(options: OperatorOptions) {
    this.#options = options
  }

  /** Carries out an order that came as JSON, until `signal` is aborted. @throws ERR_MALFORMED, and what the order throws */
  async obey(order: string, args: unknown, signal: AbortSignal): Promise<unknown> {
    if (!Object.hasOwn(Orders, order)) throw new MarketError('ERR_MALFORMED', `there is no order ${order}`)
    const name = order as Order // it is one of the table
    const parsed = Orders[name].safeParse(args)
    if (!parsed.success) throw new MarketError('ERR_MALFORMED', `${order}: ${z.prettifyError(parsed.error)}`)
    // Its parameter is what its schema gives.
    const carryOut = this[name] as (args: unknown, signal: AbortSignal) => Promise<unknown>
    return carryOut.call(this, parsed.data, signal)
  }

  /** Prices, and all purses together, in satoshi. */
  summary() {
    const { store, pricing, now } = this.#options
    const { received, returned, earned, committed, purses, entries } = totalsOf(store)
    const [reserved, available] = [committed - earned, received - returned - committed]
    return {
      prices: pricing.at(now()),
      nextPrices: pricing.next(now()),
      ledger: { purses, entries, received, returned, earned, reserved, available },
    }
  }

  /** Gives credit. With an `id`, the same grant ordered again is not given again. */
  async grant({ key, satoshi, id }: OrderOf<'grant'>) {
    const granted = await this.#options.store.commit((batch) => {
      if (id !== undefined && grantedBefore(batch, key, id)) return false
      if (totalsOf(batch).received + satoshi > mostSatoshi)
        throw new MarketError('ERR_MALFORMED', 'all credit together is more than all coins there will be')
      bookReceived(batch, { owner: key, purse: 'grant', satoshi, note: id ?? 'operator' })
      if (id !== undefined) rememberGrant(batch, key, id)
      return true
    })
    return { granted, ...(await this.#purses(key)) }
  }

  /** Takes back credit that was granted and is neither spent nor reserved. */
  async revoke({ key, satoshi }: OrderOf<'revoke'>) {
    const order = { owner: key, purse: 'grant', satoshi, note: 'operator' }
    const revoked = await this.#options.store.commit((batch) => bookReturned(batch, order))
    return { revoked, ...(await this.#purses(key)) }
  }

  /** Accounts in the order of their keys; `next` goes on behind the last. */
  async accounts({ after }: OrderOf<'accounts'>) {
    const scan = this.#options.store.scan(keys.ownersAfter('a', after))
    const rows = await scan.next(pageAccounts).finally(() => scan.close())
    const owners = rows.map(([key]) => keys.ownerOfKey(key))
    const accounts = []
    for (const owner of owners) accounts.push(await this.#purses(owner))
    const next = rows.length === 0 ? undefined : owners.at(-1)
    return { accounts, ...(next !== undefined && { next }) }
  }

  /** @throws ERR_NOT_FOUND when it has neither credit nor records */
  async account({ key, before, limit }: OrderOf<'account'>) {
    const { store } = this.#options
    const [state, page] = [await this.#purses(key), await entriesOf(store, key, { before, limit })]
    const stored = store.counters(key)
    if (state.purses.length === 0 && stored.records + stored.ingressBytes === 0)
      throw new MarketError('ERR_NOT_FOUND', `${key} has no account here`)
    return { ...state, stored, entries: page.entries, ...(page.more && { next: page.place }) }
  }

  async prices(_order: OrderOf<'prices'>) {
    const { pricing, now } = this.#options
    return { prices: pricing.at(now()), next: pricing.next(now()) }
  }

  async 'set-prices'({ words }: OrderOf<'set-prices'>) {
    const { pricing, now, open } = this.#options
    if (open)
      throw new MarketError(
        'ERR_CONFLICT',
        'with --open everybody writes free of charge: leave it out to sell',
      )
    const decided = pricing.next(now())?.prices ?? pricing.at(now())
    const from = await pricing.set(parsePrices(words, decided), now())
    return { from, ...(await this.prices({})) }
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

  async backup({ directory }: OrderOf<'backup'>, signal: AbortSignal) {
    const { store, data, now, isServing } = this.#options
    const key = join(data, 'relay.key')
    const pace = isServing ? {} : { duty: 1 }
    return writeBackup({ snapshot: store.snapshot(), key, directory, now: now(), signal, pace })
  }

  async #purses(key: Key) {
    const { store, now } = this.#options
    return { key, ...(await pursesNow(store, key, now())) }
  }
}
