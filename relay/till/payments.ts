/**
 * Payments on their way from a stranger's hands into a purse: verified, remembered, sent, credited; and what blocks and double
 * spends make of them later. Each step is on disk before the next begins, and may be repeated.
 */
import { setImmediate } from 'node:timers/promises'
import type { Chain } from '../../contracts/chain/chain.ts'
import { type Beef, lineage, verifyBeef } from '../../contracts/transaction/beef.ts'
import { fromBase64 } from '../../market/bytes.ts'
import { type Code, MarketError } from '../../market/errors.ts'
import {
  findPayment,
  forgetPayment,
  type Name,
  type NewPayment,
  type Payment,
  rememberPayment,
  settlePayment,
  stopFollowing,
} from '../store/payments.ts'
import { fateOf, isSettled } from './fate.ts'
import { Joined } from './joined.ts'
import type { TillParts } from './parts.ts'

/** A payment whose output is what it should be, and of which nothing else is known. */
export interface Presented {
  readonly payment: NewPayment
  readonly beef: Beef
}

/** What the scripts of one payment and its unmined ancestors may cost, about 1 µs each: five hundred plain inputs (P2PKH). */
const scriptUnits = 100_000
/** Verified, or sent, at once. */
const mostAtOnce = 16
/** Of them, for one payer who presents them: the others must not wait for him. */
const mostOfPayer = 4

export class Payments {
  readonly #parts: TillParts
  readonly #joined = new Joined<Payment>(mostAtOnce)

  constructor(parts: TillParts) {
    this.#parts = parts
  }

  isUnderWay(name: Name): boolean {
    return this.#joined.has(name)
  }

  /**
   * Brings a payment into its purse, as far as it may be there; whoever asks for it meanwhile gets the same.
   * @param presented absent: one that is remembered
   * @throws ERR_BUSY when too many are under way; ERR_TRANSACTION_REFUSED, ERR_CONFLICT for one that is forgotten then, unless it was credited before; anything else
   * for one that is sent again if it was remembered
   */
  bring(name: Name, presented?: Presented): Promise<Payment> {
    const mostOfOwner = presented === undefined ? mostAtOnce : mostOfPayer
    return this.#joined.run(name, () => this.#bring(name, presented), mostOfOwner)
  }

  /** What became of it meanwhile. @param tip height of the chain */
  async follow(name: Name, tip: number): Promise<void> {
    const { store } = this.#parts
    const before = findPayment(store, name)
    if (before?.state === 'taken') await this.bring(name)
    else if (before !== undefined && isSettled(before, tip))
      await store.commit((batch) => stopFollowing(batch, 'd', name))
    else await this.#settle(name, tip)
  }

  idle(): Promise<void> {
    return this.#joined.idle()
  }

  async #bring(name: Name, presented: Presented | undefined): Promise<Payment> {
    const { store, wallet } = this.#parts
    const coins = wallet()
    const known = findPayment(store, name) ?? (await this.#remember(name, presented, coins.chain))
    if (isCredited(known)) return known
    // What was verified already, as long as it is kept.
    const tx = fromBase64(known.tx === '' ? (presented?.payment.tx ?? '') : known.tx)
    const paymentRemittance = {
      derivationPrefix: known.prefix,
      derivationSuffix: known.suffix,
      senderIdentityKey: name.owner,
    }
    try {
      await coins.internalizeAction({
        tx: tx as unknown as number[], // an embedded wallet takes bytes as they are
        description: 'a payment for credit',
        outputs: [{ outputIndex: 0, protocol: 'wallet payment', paymentRemittance }],
      })
    } catch (error) {
      // What the network has all the same may be proven otherwise now, by a fork: it is money.
      const isForgotten = isFinal(error) && (await coins.chain.status(name.hash)).state === 'unknown'
      if (isForgotten) await store.commit((batch) => forgetPayment(batch, name))
      throw error
    }
    const settled = await this.#settle(name, coins.store.place()?.height ?? 0)
    if (settled !== undefined && isCredited(settled)) return settled
    throw new MarketError('ERR_CONFLICT', `something else spent the coins of ${name.hash}`)
  }

  /**
   * Verified before anything is written, though the wallet does it again: strangers get little of our time, none of our disk,
   * and where nobody can tell no promise.
   */
  async #remember(name: Name, presented: Presented | undefined, chain: Chain): Promise<Payment> {
    if (presented === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no payment ${name.hash}`)
    const { store, admit } = this.#parts
    const { payment, beef } = presented
    const { members, subject } = beef
    admit(payment.tx.length)
    const part = { members: lineage(members, [subject.txid]), subject }
    await verifyBeef(part, chain, { left: scriptUnits, giveWay: setImmediate })
    return store.commit((batch) => rememberPayment(batch, name, payment), payment.tx.length)
  }

  async #settle(name: Name, tip: number): Promise<Payment | undefined> {
    const { store, wallet, zeroConfLimit } = this.#parts
    const before = findPayment(store, name)
    const fate = before && fateOf(wallet().store, name.hash, { before, tip })
    if (before === undefined || fate === undefined) return before
    if (fate.state === before.state && fate.height === before.height) return before
    return store.commit((batch) => settlePayment(batch, name, fate, zeroConfLimit))
  }
}

export const isCredited = ({ state }: Payment): boolean => state === 'unmined' || state === 'mined'

/** Of the network, or of the rules: nothing that passes by itself. */
const isFinal = (error: unknown): boolean => error instanceof MarketError && finalCodes.has(error.code)
const finalCodes: ReadonlySet<Code> = new Set<Code>([
  'ERR_TRANSACTION_REFUSED',
  'ERR_CONFLICT',
  'ERR_MALFORMED',
  'ERR_TOO_LARGE',
])
