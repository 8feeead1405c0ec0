/** Who lets this relay take messages for him (BRC-34; docs/protocol.md §14.3): what he signed, the newest of each. */
import type { Phip } from '../../contracts/overlay/phip.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { dayMs, type Key } from '../../market/units.ts'
import { row, text } from '../store/codec.ts'
import { allAuthorizations, authorizationKey, userOfAuthorization } from '../store/keys.ts'
import type { Store } from '../store/store.ts'

export type Authorization = Omit<Phip, 'host'>

/** Each change becomes a transaction, about 50 satoshi that the relay pays. */
const limits = { users: 10_000, changesPerDay: 1000, changesOfUserPerDay: 4 } as const

/** `boxes` is empty for all of them. */
const AuthorizationRow = row('authorization to take messages', 1, {
  domain: text,
  boxes: text,
  signature: text,
})
const pageRows = 256

export class Authorizations {
  readonly #store: Store
  readonly #now: () => number
  readonly #users = new Map<Key, Authorization>()
  /** By whom today; forgotten with the process. */
  readonly #changes = new Map<Key, number>()
  #today = 0

  static async open(store: Store, now: () => number): Promise<Authorizations> {
    const opened = new Authorizations(store, now)
    const scan = store.scan(allAuthorizations)
    try {
      for (let page = await scan.next(pageRows); page.length > 0; page = await scan.next(pageRows))
        for (const [key, value] of page) {
          const { domain, boxes, signature } = AuthorizationRow.decode(value)
          const user = userOfAuthorization(key)
          const authorization = fromHex(signature)
          opened.#users.set(user, { domain, ...(boxes !== '' && { boxes }), user, authorization })
        }
    } finally {
      await scan.close()
    }
    return opened
  }

  private constructor(store: Store, now: () => number) {
    this.#store = store
    this.#now = now
  }

  /**
   * Durable when it resolves. Nothing changes where it says the same as the one before; whether anything did.
   * @throws ERR_BUSY for too many, ERR_LIMIT for too many today
   */
  async keep(given: Authorization): Promise<boolean> {
    const { user, domain, boxes = '', authorization } = given
    const known = this.#users.get(user)
    if (known?.domain === domain && (known.boxes ?? '') === boxes) return false
    if (known === undefined && this.#users.size >= limits.users)
      throw new MarketError('ERR_BUSY', 'this relay takes messages for as many as it can')
    this.#count(user)
    const row = AuthorizationRow.encode({ domain, boxes, signature: toHex(authorization) })
    await this.#store.commit((batch) => batch.put(authorizationKey(user), row))
    this.#users.set(user, given)
    return true
  }

  of(user: Key): Authorization | undefined {
    return this.#users.get(user)
  }

  all(): Authorization[] {
    return [...this.#users.values()]
  }

  #count(user: Key): void {
    const now = this.#now()
    const today = Math.floor(now / dayMs)
    if (today !== this.#today) this.#changes.clear()
    this.#today = today
    const own = this.#changes.get(user) ?? 0
    const all = [...this.#changes.values()].reduce((sum, count) => sum + count, 0)
    if (own >= limits.changesOfUserPerDay || all >= limits.changesPerDay)
      throw new MarketError('ERR_LIMIT', 'no more of this today', {
        extras: { retryAfterMs: (today + 1) * dayMs - now },
      })
    this.#changes.set(user, own + 1)
  }
}
