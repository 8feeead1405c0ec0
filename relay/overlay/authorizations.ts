/** Who let this relay say that it takes messages for him (BRC-34): what he signed, the newest of each. */
import { fromHex, toHex } from '../../market/bytes.ts'
import type { Phip } from '../../contracts/overlay/phip.ts'
import { MarketError } from '../../market/errors.ts'
import { dayMs } from '../../market/units.ts'
import { row, text } from '../store/codec.ts'
import type { Rows } from './rows.ts'

export type Authorization = Omit<Phip, 'host'>

/** Each change becomes a transaction, about 50 satoshi that the relay pays. */
const limits = { users: 10_000, changesPerDay: 1000, changesOfUserPerDay: 4 } as const

/** `boxes` is empty for all of them. */
const AuthorizationRow = row('authorization to take messages', 1, {
  domain: text,
  boxes: text,
  signature: text,
})

export class Authorizations {
  readonly #rows: Rows
  readonly #users = new Map<string, Authorization>()
  /** By whom today; forgotten with the process. */
  readonly #changes = new Map<string, number>()
  #today = 0

  static async open(rows: Rows): Promise<Authorizations> {
    const opened = new Authorizations(rows)
    for await (const [key, value] of rows.under('p!')) {
      const { domain, boxes, signature } = AuthorizationRow.decode(value)
      const authorization = fromHex(signature)
      const routing = { domain, ...(boxes !== '' && { boxes }) }
      opened.#users.set(key.slice(2), { ...routing, user: key.slice(2), authorization })
    }
    return opened
  }

  private constructor(rows: Rows) {
    this.#rows = rows
  }

  /** Nothing changes where it says the same as the one before. @throws ERR_BUSY for too many, ERR_LIMIT for too many today */
  put(given: Authorization, now: number): void {
    const { user, domain, boxes = '', authorization } = given
    const known = this.#users.get(user)
    if (known?.domain === domain && (known.boxes ?? '') === boxes) return
    if (known === undefined && this.#users.size >= limits.users)
      throw new MarketError('ERR_BUSY', 'this relay takes messages for as many as it can')
    this.#count(user, now)
    this.#users.set(user, given)
    const signature = toHex(authorization)
    this.#rows.put(`p!${user}`, AuthorizationRow.encode({ domain, boxes, signature }))
  }

  #count(user: string, now: number): void {
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

  all(): Authorization[] {
    return [...this.#users.values()]
  }
}
