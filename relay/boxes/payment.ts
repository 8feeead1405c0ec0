/**
 * Payments that come with a message: for its delivery to this relay, and to recipients who ask for some. Verified before
 * anything is written, on disk before they are sent, and used for one message.
 */
import { setImmediate } from 'node:timers/promises'
import { type Beef, lineage, verifyBeef } from '../../contracts/transaction/beef.ts'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import { findUsed, forgetForBox, takeForBox } from '../store/box-settings.ts'
import type { Store } from '../store/store.ts'
import type { Till } from '../till/till.ts'
import { type BoxCode, BoxError } from './codes.ts'
import type { Share } from './content.ts'
import type { Dues } from './fees.ts'
import { type Attached, checkDues } from './outputs.ts'

/** What the scripts of one payment and its unmined ancestors may cost, about 1 µs each. */
const scriptUnits = 100_000
/** Verified or sent at once, and of them for one sender. */
const mostAtOnce = 16
const mostOfSender = 4

export interface PaymentParts {
  readonly store: Store
  /** Undefined where no chain is seen. */
  readonly till: Till | undefined
  /** @throws ERR_BUSY where the disk has no room for so many bytes */
  readonly admit: (bytes: number) => void
}

export interface Order {
  readonly sender: Key
  readonly attached: Attached
  readonly dues: Dues
  /** Names the message: the same payment pays for the same message again. */
  readonly what: Hash
}

export class BoxPayments {
  readonly #parts: PaymentParts
  readonly #running = new Map<Hash, Key>()

  constructor(parts: PaymentParts) {
    this.#parts = parts
  }

  /** What became of a payment that is known: undefined for a new one. @throws ERR_PAYMENT_REPLAYED, ERR_PAYMENT_IN_PROGRESS */
  known({ attached, what }: Pick<Order, 'attached' | 'what'>): 'taken' | 'used' | undefined {
    const { txid } = attached.beef.subject
    if (this.#running.has(txid))
      throw refused('ERR_PAYMENT_IN_PROGRESS', 'this payment is being taken', { txid })
    const before = findUsed(this.#parts.store, txid)
    if (before !== undefined && before.what !== what)
      throw refused('ERR_PAYMENT_REPLAYED', 'this payment was taken for another message', { txid })
    return before?.state
  }

  /** By recipient, what is for him. @throws BoxError where it is not what is due */
  sharesOf(order: Order): ReadonlyMap<Key, Share> {
    return checkDues(order, this.#till()).byRecipient
  }

  /**
   * Resolves when the network has the payment; `used`: its message was stored before, and perhaps acknowledged since.
   * @throws BoxError with `txid` and `broadcast`: whether this relay has sent it
   */
  async settle(order: Order): Promise<'sent' | 'used'> {
    const { sender, attached } = order
    const { txid } = attached.beef.subject
    const state = this.known(order)
    if (state === 'used') return 'used'
    const { satoshis } = checkDues(order, this.#till())
    const ofSender = [...this.#running.values()].filter((each) => each === sender).length
    if (this.#running.size >= mostAtOnce || ofSender >= mostOfSender)
      throw refused('ERR_PAYMENT_UNAVAILABLE', 'too many payments are being taken', {
        ...{ txid, broadcast: false, retryAfterMs: 1000 },
      })
    this.#running.set(txid, sender)
    try {
      await this.#take(order, { satoshis, isKnown: state !== undefined })
      return 'sent'
    } finally {
      this.#running.delete(txid)
    }
  }

  async #take(
    { sender, attached, what }: Order,
    { satoshis, isKnown }: { satoshis: number; isKnown: boolean },
  ): Promise<void> {
    const { store, admit } = this.#parts
    const { beef, bytes } = attached
    const { txid } = beef.subject
    if (!isKnown) {
      admit(bytes.length)
      await this.#verify(beef)
      const taken = await store.commit((batch) => takeForBox(batch, txid, { what, sender, satoshis }))
      if (taken.what !== what)
        throw refused('ERR_PAYMENT_REPLAYED', 'this payment was taken for another message', { txid })
    }
    try {
      await this.#send(attached, sender, satoshis)
    } catch (error) {
      const told = toldOf(error, txid)
      // What the network has all the same is money.
      if (told.status < 500) await store.commit((batch) => forgetForBox(batch, txid))
      throw told
    }
  }

  async #verify({ members, subject }: Beef): Promise<void> {
    const { txid } = subject
    const part = { members: lineage(members, [txid]), subject }
    try {
      await verifyBeef(part, this.#till().coins.chain, { left: scriptUnits, giveWay: setImmediate })
    } catch (error) {
      const isAway = error instanceof MarketError && error.code === 'ERR_CHAIN_UNAVAILABLE'
      const facts = { txid, broadcast: false }
      if (isAway)
        throw refused('ERR_PAYMENT_VALIDATION_UNAVAILABLE', 'the network cannot be asked now', facts, error)
      if (error instanceof MarketError && error.code !== 'ERR_INTERNAL' && error.code !== 'ERR_BUSY')
        throw refused('ERR_INVALID_PAYMENT', error.message, facts, error)
      throw error
    }
  }

  /** Through the wallet where there is something for it in the payment; else only to the network. */
  async #send({ bytes, beef, outputs }: Attached, sender: Key, satoshis: number): Promise<void> {
    const { coins } = this.#till()
    const [first] = outputs
    if (satoshis === 0 || first === undefined) {
      for (const { transaction, path } of lineage(beef.members, [beef.subject.txid]).values())
        if (path === undefined) await coins.chain.broadcast(serializeTransaction(transaction))
      return
    }
    const paymentRemittance = { ...first.paymentRemittance, senderIdentityKey: sender }
    await coins.internalizeAction({
      tx: bytes as unknown as number[], // an embedded wallet takes bytes as they are
      description: 'a fee for a delivery',
      outputs: [{ outputIndex: first.outputIndex, protocol: 'wallet payment', paymentRemittance }],
    })
  }

  #till(): Till {
    const { till } = this.#parts
    if (till === undefined)
      throw refused('ERR_PAYMENT_UNAVAILABLE', 'this relay has no wallet: it takes no payments', {
        broadcast: false,
      })
    return till
  }
}

const refused = (code: BoxCode, sentence: string, facts: object, cause?: unknown): BoxError =>
  new BoxError(code, sentence, { ...facts }, cause)

/** What a wallet or the network says, as a sender is told it. */
function toldOf(error: unknown, txid: Hash): BoxError {
  if (!(error instanceof MarketError))
    return refused(
      'ERR_INTERNALIZE_FAILED',
      'the payment could not be taken',
      { txid, broadcast: true },
      error,
    )
  const { code, message, extras } = error
  const isSpent =
    code === 'ERR_CONFLICT' || extras.refusal === 'conflict' || extras.refusal === 'missing-inputs'
  if (isSpent) return refused('ERR_PAYMENT_CONFLICT', message, { txid, broadcast: false }, error)
  if (code === 'ERR_CHAIN_UNAVAILABLE' || code === 'ERR_BUSY')
    return refused(
      'ERR_PAYMENT_RECOVERY_UNAVAILABLE',
      'it is not known whether the network has the payment: present the same again',
      { txid, broadcast: true },
      error,
    )
  if (code === 'ERR_TRANSACTION_REFUSED' || code === 'ERR_MALFORMED')
    return refused('ERR_INVALID_PAYMENT', message, { txid, broadcast: false }, error)
  return refused('ERR_INTERNALIZE_FAILED', 'the payment could not be taken', { txid, broadcast: true }, error)
}
