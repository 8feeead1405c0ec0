/** What of a purse is the affair of the contract of now, where rollovers paid for what came before it. */
import type { Purse } from './purse.ts'

export class Books {
  readonly #purse: Purse
  /** Paid by rollovers, and what those left to the contract of now. */
  #paidBefore = 0
  #moved = 0

  constructor(purse: Purse) {
    this.#purse = purse
  }

  /** Of the contract of now. */
  get sums(): { owed: number; reserved: number; moved: number } {
    const { owed, committed } = this.#purse
    const [all, due] = [committed - this.#paidBefore, Math.max(0, owed - this.#paidBefore)]
    return { owed: due, reserved: Math.max(0, all - due), moved: Math.min(Math.max(0, all), this.#moved) }
  }

  /** By the audit of `now`, for the contract of now. */
  audited(now: number): number {
    return Math.max(0, this.#purse.audited(now) - this.#paidBefore)
  }

  /** Ahead of that audit by rollovers. */
  prepaid(now: number): number {
    return Math.max(0, this.#paidBefore - this.#purse.audited(now))
  }

  rollOver(paid: number): void {
    this.#paidBefore += paid
    this.#moved = Math.max(0, this.#purse.committed - this.#paidBefore)
  }

  /** The last rollover is deep. */
  settle(): void {
    this.#moved = 0
  }

  /** The last rollover, of so much, never was. */
  undo(paid: number): void {
    this.#paidBefore -= paid
    this.#moved = 0
  }
}
