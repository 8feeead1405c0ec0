/** Payments and withdrawals of one owner, beside what the ledger has of them. */
import type { Key } from '../../../market/units.ts'
import type { Snapshot } from '../../store/database.ts'
import * as keys from '../../store/keys.ts'
import { creditPurse, type Payment, PaymentRow, UnminedRow } from '../../store/payments.ts'
import { Entry, reversedNote } from '../../store/rows.ts'
import { type Withdrawal, WithdrawalRow } from '../../store/withdrawals.ts'
import type { Findings } from './findings.ts'
import type { Stream } from './stream.ts'

/** Tables of this check, one stream of each. */
export const moneyTables = ['d', 'w', 'v'] as const

export class PaymentsCheck {
  readonly #snapshot: Snapshot
  readonly #owner: Key
  readonly #findings: Findings
  /** In satoshi, by the entries: what payments have brought in, and withdrawals taken out. */
  #paidIn = 0
  #paidOut = 0

  constructor(snapshot: Snapshot, owner: Key, findings: Findings) {
    this.#snapshot = snapshot
    this.#owner = owner
    this.#findings = findings
  }

  entry({ purse, what, note, received, returned }: Entry): void {
    if (purse !== creditPurse || (what !== 'received' && what !== 'returned')) return
    const [about, isReversed] = note.startsWith(reversedNote)
      ? [note.slice(reversedNote.length), true]
      : [note, false]
    if (about.startsWith('withdrawal ')) this.#paidOut += returned - received
    else if (isReversed || about.startsWith('payment ')) this.#paidIn += received - returned
  }

  /** After all entries. */
  async finish(streams: { readonly [T in (typeof moneyTables)[number]]: Stream }): Promise<void> {
    const owner = Buffer.from(this.#owner, 'hex')
    let [paidIn, paidOut, resting, pending] = [0, 0, 0, 0]
    for await (const rows of streams.d.of(owner))
      for (const [key, value] of rows) {
        const payment = this.#findings.read(PaymentRow, key, value, keys.ownerHashKeyBytes)
        if (payment === undefined) continue
        paidIn += payment.credited
        if (payment.state === 'unmined') {
          resting += payment.credited
          pending += payment.satoshis - payment.credited
        }
        this.#lookAtPayment(key, payment)
      }
    for await (const rows of streams.w.of(owner))
      for (const [key, value] of rows) {
        const withdrawal = this.#findings.read(WithdrawalRow, key, value, keys.ownerHashKeyBytes)
        if (withdrawal === undefined) continue
        if (withdrawal.state !== 'failed') paidOut += withdrawal.satoshis
        this.#lookAtWithdrawal(key, withdrawal)
      }
    this.#compare('payments have brought in', paidIn, this.#paidIn)
    this.#compare('withdrawals have taken out', paidOut, this.#paidOut)
    const row = await streams.v.take(owner)
    const sums = row && this.#findings.read(UnminedRow, ...row, keys.ownerKeyBytes)
    if (row !== undefined && sums === undefined) return
    const said = sums ?? { resting: 0, pending: 0 }
    if (said.resting !== resting || said.pending !== pending)
      this.#findings.say(
        `of unmined payments of ${this.#owner} ${said.resting} satoshi are said to be credited and ${said.pending} to be pending: it is ${resting} and ${pending}`,
      )
  }

  #lookAtPayment(key: Buffer, { state, satoshis, credited, place }: Payment): void {
    const txid = keys.hashOfKey(key)
    const name = `the payment ${txid} of ${this.#owner}`
    const isWhole = state === 'mined' ? credited === satoshis : state === 'unmined' || credited === 0
    if (!isWhole || credited > satoshis)
      this.#findings.say(`${name}: it is ${state}, and ${credited} of its ${satoshis} satoshi are credited`)
    if (state === 'taken' || state === 'unmined') this.#lookForFollowed(key, name)
    if (place === 0 && credited === 0) return
    this.#lookForEntry(place, name, [credited === 0 ? `${reversedNote}${txid}` : `payment ${txid}`])
  }

  #lookAtWithdrawal(key: Buffer, { state, satoshis, fee, txid, place }: Withdrawal): void {
    const id = keys.hashOfKey(key)
    const name = `the withdrawal ${id} of ${this.#owner}`
    if (satoshis <= fee) this.#findings.say(`${name}: its fee of ${fee} is all of its ${satoshis} satoshi`)
    if (state === 'sent' && txid === '') this.#findings.say(`${name}: it was sent, and has no transaction`)
    if (state === 'ordered') this.#lookForFollowed(key, name)
    const out = [`withdrawal ${id}`, `${reversedNote}withdrawal ${id}`]
    this.#lookForEntry(place, name, state === 'failed' ? [`withdrawal ${id} failed`] : out)
  }

  /** The last entry that was booked for it. */
  #lookForEntry(place: number, name: string, notes: readonly string[]): void {
    const key = keys.placeKey(keys.ledgerPrefix(this.#owner), place)
    const value = this.#snapshot.get(key)
    const entry = value && this.#findings.read(Entry, key, value)
    if (value === undefined) this.#findings.say(`${name}: it has no entry at place ${place}`)
    else if (entry !== undefined && !notes.includes(entry.note))
      this.#findings.say(`${name}: the entry at place ${place} is about something else`)
  }

  #lookForFollowed(key: Buffer, name: string): void {
    if (this.#snapshot.get(keys.followedKey(key)) === undefined)
      this.#findings.say(`${name}: nobody will follow what becomes of it`)
  }

  #compare(what: string, byRows: number, byEntries: number): void {
    if (byRows !== byEntries)
      this.#findings.say(
        `by themselves the ${what} ${byRows} satoshi for ${this.#owner}, by the ledger ${byEntries}`,
      )
  }
}
