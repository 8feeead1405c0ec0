/**
 * Who pays for a message (docs/protocol.md §13.3), decided in its own batch. Nobody can push: somebody who has credit here
 * wants it, or it was paid for, or the operator lets everybody send. A sender's credit is not spent at the word of a host.
 */
import { MarketError } from '../../market/errors.ts'
import { freePrices } from '../../market/price.ts'
import type { Key } from '../../market/units.ts'
import type { Accounts } from '../accounts.ts'
import type { Sending } from '../store/boxes.ts'
import { deliveryFee, type FeeRules, recipientFee } from './fees.ts'

export interface BearerRules extends FeeRules {
  readonly accounts: Accounts
  /** Everybody may send, free of charge. */
  readonly isOpen: boolean
}

export interface Delivering {
  readonly sender: Key
  /** The host that brought it; undefined where the sender did. */
  readonly carrier?: Key | undefined
  readonly box: string
  readonly address: string
  /** The fee for its delivery was paid. */
  readonly isPaid: boolean
}

/**
 * @throws what refuses whoever brings it: ERR_NO_ACCOUNT, ERR_PAYMENT_REQUIRED, ERR_BUSY
 */
export const bearerOf =
  (rules: BearerRules, { sender, carrier, box, address, isPaid }: Delivering): Sending['agree'] =>
  (batch, recipient, offer) => {
    const { accounts, isOpen } = rules
    const bringer = carrier ?? sender
    // Whoever likes is a host: where a delivery has a fee, he must be somebody here.
    const isKnown = carrier === undefined || accounts.isNamed(carrier) || accounts.has(carrier)
    const owesFee = !isKnown && deliveryFee(batch, rules, box) > 0
    if (isPaid || (isOpen && !owesFee)) {
      accounts.checkRoom(offer.bytes)
      return { owner: bringer, terms: { purse: 'credit', prices: freePrices, paidUntil: offer.expires } }
    }
    try {
      if (owesFee && (isOpen || accounts.isAllowed(bringer)))
        throw new MarketError(
          'ERR_PAYMENT_REQUIRED',
          'a host without account pays for what it brings into this box',
        )
      return { owner: bringer, terms: accounts.terms(batch, { ...offer, owner: bringer }, address) }
    } catch (error) {
      if (!isPoor(error)) throw error
      const { fee, isSaid } = recipientFee(batch, rules, { sender, box, recipient })
      const isWilling = isSaid && fee === 0 && (accounts.isAllowed(recipient) || accounts.has(recipient))
      if (!isWilling) throw error
      try {
        return { owner: recipient, terms: accounts.terms(batch, { ...offer, owner: recipient }, address) }
      } catch (other) {
        // How his credit stands is nobody else's business.
        throw isPoor(other) ? error : other
      }
    }
  }

const isPoor = (error: unknown): boolean =>
  error instanceof MarketError && (error.code === 'ERR_PAYMENT_REQUIRED' || error.code === 'ERR_NO_ACCOUNT')
