/** What renewals have extended, by a relay's signed word (docs/protocol.md §4.6): its receipts say the same since. */
import { type Bearings, isContractPurse } from '../escrow/bearing.ts'
import type { Extension, Receipt } from '../receipt.ts'

export class Extensions {
  readonly #until = new Map<string, number>()
  readonly #bearings: Bearings | undefined

  /** @param bearings of contracts: what their renewals cannot have extended is not believed; without it, all is */
  constructor(bearings?: Bearings) {
    this.#bearings = bearings
  }

  /** Of several for one record the latest counts. */
  add(extension: Extension): void {
    const name = nameOf(extension)
    this.#until.set(name, Math.max(extension.paidUntil, this.#until.get(name) ?? 0))
  }

  /** The receipt as it is by now. Never paid for beyond the record's own end, nor for a shorter time than it says. */
  applied<R extends Pick<Receipt, 'path' | 'at' | 'expires' | 'paidUntil' | 'charge'>>(receipt: R): R {
    const { path, at, expires } = receipt
    const { purse } = receipt.charge
    const until = Math.min(expires, this.#mostIn(purse), this.#until.get(nameOf({ path, at, purse })) ?? 0)
    return until > receipt.paidUntil ? { ...receipt, paidUntil: until } : receipt
  }

  /** Of a contract that is not known here nobody is accused; other purses are never extended. */
  #mostIn(purse: string): number {
    if (this.#bearings === undefined) return Number.POSITIVE_INFINITY
    const { ends } = this.#bearings.get(purse) ?? {}
    return ends === undefined && isContractPurse(purse)
      ? Number.POSITIVE_INFINITY
      : Math.max(0, ...(ends ?? []))
  }
}

const nameOf = ({ path, at, purse }: Pick<Extension, 'path' | 'at' | 'purse'>): string =>
  `${path} ${at} ${purse}`
