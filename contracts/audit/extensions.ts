/** What renewals have extended, by a relay's signed word (docs/protocol.md §4.6): its receipts say the same since. */
import type { Extension, Receipt } from '../receipt.ts'

export class Extensions {
  readonly #until = new Map<string, number>()

  /** Of several for one record the latest counts. */
  add(extension: Extension): void {
    const name = nameOf(extension)
    this.#until.set(name, Math.max(extension.paidUntil, this.#until.get(name) ?? 0))
  }

  /** The receipt as it is by now. Never paid for beyond the record's own end, nor for a shorter time than it says. */
  applied<R extends Pick<Receipt, 'path' | 'at' | 'expires' | 'paidUntil' | 'charge'>>(receipt: R): R {
    const { path, at, charge, expires } = receipt
    const until = Math.min(expires, this.#until.get(nameOf({ path, at, purse: charge.purse })) ?? 0)
    return until > receipt.paidUntil ? { ...receipt, paidUntil: until } : receipt
  }
}

const nameOf = ({ path, at, purse }: Pick<Extension, 'path' | 'at' | 'purse'>): string =>
  `${path} ${at} ${purse}`
