/** Money in and out on chain (docs/protocol.md §4.9, §7.6): the gate that every payment by 402 passes, and withdrawals. */
import { parseBeef } from '../../contracts/transaction/beef.ts'
import { ownScript, paymentKey } from '../../contracts/wallet/own-keys.ts'
import { paymentHeaders, paymentVersion, type WebPayment, type Withdrawal } from '../../contracts/payment.ts'
import { equal, fromBase64 } from '../../market/bytes.ts'
import { type Code, MarketError } from '../../market/errors.ts'
import { sha256Hex } from '../../market/hash.ts'
import { type Hash, type Key, mostSatoshi } from '../../market/units.ts'
import { allFollowed, ofFollowedKey } from '../store/keys.ts'
import { creditOf, findPayment, type Name, type Payment, unminedOf } from '../store/payments.ts'
import type { TillParts } from './parts.ts'
import { isCredited, Payments, type Presented } from './payments.ts'
import { Prefixes } from './prefix.ts'
import { namesOf, Withdrawals } from './withdrawals.ts'

export interface Use {
  /** Satoshi asked for; 0: any amount will do. */
  readonly price: number
  /** What is paid for: the same payment may pay for the same thing again. */
  readonly what: string
}

/** A payment that is in the purse `credit` of whoever made it. */
export interface Taken {
  readonly txid: string
  readonly satoshis: number
  /** Of it, still waiting for a block. */
  readonly pending: number
  /** It was taken before, for the same thing. */
  readonly isRepeat: boolean
  /** Milliseconds: when it was first taken. */
  readonly at: number
}

export interface WithdrawalOrder {
  readonly owner: Key
  /** The same id is the same withdrawal. */
  readonly id: Hash
  /** Absent: all there is. */
  readonly satoshis?: bigint | number | undefined
}

/** Of one payment, in base64: three hundred unmined ancestors take a tenth of it. */
export const beefDigits = 2 << 20
/** Rows that are looked at together: those who pay now need room too. */
const followedAtOnce = 8

export class Till {
  readonly #parts: TillParts
  readonly #prefixes: Prefixes
  readonly #payments: Payments
  readonly #withdrawals: Withdrawals
  /** What went wrong in the last `follow`, as the log has it. */
  #trouble: string | undefined

  static async open(parts: TillParts): Promise<Till> {
    return new Till(parts, await Prefixes.open(parts.keys, parts.now))
  }

  private constructor(parts: TillParts, prefixes: Prefixes) {
    this.#parts = parts
    this.#prefixes = prefixes
    this.#payments = new Payments(parts)
    this.#withdrawals = new Withdrawals(parts)
  }

  /** Headers (contracts/payment.ts) of a 402 that asks `payer` for `satoshis`. */
  offer(payer: Key, satoshis: number): Record<string, string> {
    return {
      [paymentHeaders.version]: paymentVersion,
      [paymentHeaders.required]: String(satoshis),
      [paymentHeaders.prefix]: this.#prefixes.make(payer),
      [paymentHeaders.transports]: 'header,multipart',
    }
  }

  /**
   * Resolves when the payment is in the payer's purse `credit`, durably, as far as it need not wait for a block; so often as it
   * is presented for the same thing, once.
   *
   * Every error has `broadcast` beside it, and `txid` where there is one: whether this relay has sent the transaction, or will.
   * @throws ERR_INVALID_DERIVATION_PREFIX, ERR_MALFORMED_PAYMENT, ERR_INSUFFICIENT_PAYMENT, ERR_PAYMENT_REPLAYED,
   * ERR_PAYMENT_CONFLICT; ERR_BUSY, ERR_CHAIN_UNAVAILABLE and ERR_INTERNAL, after which it may be presented again
   */
  async take(payer: Key, payment: WebPayment, use: Use): Promise<Taken> {
    const what = sha256Hex(use.what)
    const { name, presented } = this.#read(payer, payment, what)
    try {
      const before = findPayment(this.#parts.store, name)
      if (before === undefined) checkAmount(presented.payment.satoshis, use.price)
      else checkUse(before, what)
      const isRepeat = before !== undefined || this.#payments.isUnderWay(name)
      const taken =
        before !== undefined && isCredited(before) ? before : await this.#payments.bring(name, presented)
      checkUse(taken, what)
      const { satoshis, credited, at } = taken
      return { txid: name.hash, satoshis, pending: satoshis - credited, isRepeat, at }
    } catch (error) {
      throw this.#told(error, { txid: name.hash, broadcast: this.#isKept(name) })
    }
  }

  /** Of the relay. @throws ERR_BUSY while its coins are under recovery */
  get coins(): ReturnType<TillParts['wallet']> {
    return this.#parts.wallet()
  }

  /** Whether what is paid under this prefix is for this till to take. */
  hasOffered(payer: Key, prefix: string): boolean {
    return this.#prefixes.issuedAt(payer, prefix) !== undefined
  }

  /** Of the purse `credit`, satoshi: for records now (below zero after a reversal), and waiting for blocks. */
  creditOf(payer: Key): { available: number; pending: number } {
    const { store } = this.#parts
    return { available: creditOf(store, payer), pending: unminedOf(store, payer).pending }
  }

  /**
   * The same id of one owner is the same withdrawal, with the same answer, for ever.
   * @throws ERR_MALFORMED for what the fee would eat up, ERR_INSUFFICIENT_FUNDS with what can be withdrawn (`available`);
   * ERR_BUSY when the credit is as before; ERR_CHAIN_UNAVAILABLE when it is on its way: both may be asked for again
   */
  async withdraw({ owner, id, satoshis }: WithdrawalOrder): Promise<Withdrawal> {
    if (satoshis !== undefined && (satoshis < 1 || satoshis > mostSatoshi))
      throw new MarketError('ERR_MALFORMED', 'not an amount that can be withdrawn')
    const amount = satoshis === undefined ? undefined : Number(satoshis)
    const paid = await this.#withdrawals.pay({ owner, hash: id }, amount)
    const { txid, tx } = paid
    return { satoshis: String(paid.satoshis), fee: String(paid.fee), txid, tx, ...namesOf(id) }
  }

  /** After each pass over the chain: what it means for credit. Never throws: what goes wrong is in the log, and tried again. */
  async follow(): Promise<void> {
    let trouble: unknown
    try {
      trouble = await this.#followAll()
    } catch (error) {
      trouble = error
    }
    const reason = trouble === undefined ? undefined : (trouble as Error).message // nothing else is thrown
    if (reason !== undefined && reason !== this.#trouble)
      this.#parts.log.warn({ reason }, 'payments cannot follow the chain')
    this.#trouble = reason
  }

  /** Resolves when nothing is being taken or paid any more. */
  async idle(): Promise<void> {
    await Promise.all([this.#payments.idle(), this.#withdrawals.idle()])
  }

  /** @returns what went wrong with one of them: the others do not wait for it, unless nobody answers */
  async #followAll(): Promise<unknown> {
    const { store, wallet, admit } = this.#parts
    admit(0)
    const tip = await wallet().chain.currentHeight()
    const followed = store.scan(allFollowed)
    let trouble: unknown
    try {
      while (!isAway(trouble)) {
        const rows = await followed.next(followedAtOnce)
        if (rows.length === 0) break
        const looked = await Promise.allSettled(rows.map(([key]) => this.#followOne(key, tip)))
        for (const result of looked) if (result.status === 'rejected') trouble ??= result.reason
      }
    } finally {
      await followed.close()
    }
    return trouble
  }

  async #followOne(key: Buffer, tip: number): Promise<void> {
    const { table, ...name } = ofFollowedKey(key)
    await (table === 'd' ? this.#payments : this.#withdrawals).follow(name, tip)
  }

  /** What can be told from the payment alone. */
  #read(payer: Key, payment: WebPayment, what: Hash): { name: Name; presented: Presented } {
    const { derivationPrefix: prefix, derivationSuffix: suffix, transaction: tx } = payment
    const sent = { broadcast: false }
    if (this.#prefixes.issuedAt(payer, prefix) === undefined)
      throw new MarketError(
        'ERR_INVALID_DERIVATION_PREFIX',
        'this relay gave this prefix to nobody, or not to the payer',
        { extras: sent },
      )
    try {
      if (tx.length > beefDigits)
        throw new MarketError('ERR_TOO_LARGE', `a payment has at most ${beefDigits} digits`)
      const beef = parseBeef(fromBase64(tx))
      const { txid: hash, transaction } = beef.subject
      const output = transaction.outputs[0]
      const script = ownScript(this.#parts.keys, paymentKey(payment, payer))
      if (output === undefined || !equal(output.script, script))
        throw new MarketError('ERR_MALFORMED_PAYMENT', 'output 0 does not pay to the key of these names', {
          extras: { txid: hash },
        })
      const { satoshis } = output
      return {
        name: { owner: payer, hash },
        presented: { beef, payment: { what, satoshis, prefix, suffix, tx } },
      }
    } catch (error) {
      throw this.#told(error, sent)
    }
  }

  /** What a wallet or a chain says, as those who pay are told it. */
  #told(error: unknown, facts: { txid?: string; broadcast: boolean }): MarketError {
    if (error instanceof MarketError)
      return new MarketError(codeFor(error), error.message, {
        extras: { ...facts, ...error.extras },
        cause: error,
      })
    this.#parts.log.warn({ err: error, ...facts }, 'a payment could not be taken')
    return new MarketError('ERR_INTERNAL', 'the payment could not be taken', { extras: facts, cause: error })
  }

  /** Where nobody can tell, it may be. */
  #isKept(name: Name): boolean {
    try {
      return findPayment(this.#parts.store, name) !== undefined
    } catch {
      return true
    }
  }
}

function checkAmount(satoshis: number, price: number): void {
  if (satoshis >= Math.max(1, price)) return
  const extras = { satoshisRequired: price, satoshis }
  throw new MarketError('ERR_INSUFFICIENT_PAYMENT', `this costs ${price} satoshi, and ${satoshis} are paid`, {
    extras,
  })
}

function checkUse(payment: Payment, what: Hash): void {
  if (payment.what !== what)
    throw new MarketError('ERR_PAYMENT_REPLAYED', 'this payment was taken for something else')
}

const isAway = (error: unknown): boolean =>
  error instanceof MarketError && error.code === 'ERR_CHAIN_UNAVAILABLE'

function codeFor({ code, extras: { refusal } }: MarketError): Code {
  if (code === 'ERR_CONFLICT' || refusal === 'conflict' || refusal === 'missing-inputs')
    return 'ERR_PAYMENT_CONFLICT'
  const isWrong = code === 'ERR_TRANSACTION_REFUSED' || code === 'ERR_MALFORMED' || code === 'ERR_TOO_LARGE'
  return isWrong ? 'ERR_MALFORMED_PAYMENT' : code
}
