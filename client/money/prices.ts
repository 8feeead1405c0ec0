/** What relays ask for, as they signed it (docs/protocol.md §4.7): every quote is checked, and remembered to hold its relay to it. */
import { z } from 'zod'
import { ceilSatoshi, quoteUnits, type Wish } from '../../market/price.ts'
import { type Key, Milliseconds, type Prices } from '../../market/units.ts'
import { ClientError } from '../errors.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'

/** What an upload may take with all its attempts: a quote that ends sooner may be over when the record arrives. */
const firmMs = 300_000

/** A relay's word: no record that it takes from `from` on and before `expires`, by its own clock, is charged by more than `prices`. */
export interface Offer {
  readonly prices: Prices
  readonly from: number
  readonly expires: number
  /** When it was here, by our own clock: what is sealed later cannot have been taken before it. */
  readonly heard: number
  /** The reply it signed. */
  readonly evidence: string
}

const Signed = z.looseObject({ msg: z.looseObject({ timestamp: Milliseconds }) })

export class PriceMemory {
  readonly #now: () => number
  readonly #offers = new Map<Key, Offer>()

  constructor(now: () => number) {
    this.#now = now
  }

  /**
   * Asks a relay for its prices, by the record they are wanted for.
   * @throws ERR_UNTRUSTED when its words contradict each other, ERR_UNSUPPORTED when it gives no quotes, and as `call`
   */
  async ask(connection: Connection, wish: Wish, options: CallOptions = {}): Promise<Offer> {
    const { key, url } = connection.address
    const { bytes, ttl, maxPulls } = wish
    const { reply, evidence } = await connection.call({ type: 'quote', bytes, ttl, maxPulls }, options)
    const { satoshis, prices, expires } = reply.result
    const own = String(ceilSatoshi(quoteUnits(wish, prices)))
    if (satoshis !== own)
      throw new ClientError(
        'ERR_UNTRUSTED',
        `${url} quotes ${satoshis} satoshi, but its own prices give ${own}`,
      )
    const from = Signed.parse(JSON.parse(evidence)).msg.timestamp
    if (expires <= from) throw new ClientError('ERR_UNTRUSTED', `${url} gives a quote that is over already`)
    const offer = { prices, from, expires, heard: this.#now(), evidence }
    this.#offers.set(key, offer)
    return offer
  }

  /** Prices that hold until any upload begun now is over. @throws ERR_COST when there are none now, and as `ask` */
  async firm(connection: Connection, wish: Wish, options: CallOptions = {}): Promise<Prices> {
    const isFirm = ({ expires }: Offer) => expires - connection.clock.now >= firmMs
    const known = this.#offers.get(connection.address.key)
    if (known !== undefined && isFirm(known)) return known.prices
    const asked = await this.ask(connection, wish, options)
    if (isFirm(asked)) return asked.prices
    throw new ClientError(
      'ERR_COST',
      `${connection.address.url} is about to change its prices: its quote ends too soon to rely on`,
    )
  }

  /**
   * What an upload begun now is sent under: a quote that holds, or was given so lately that it is what the user was
   * told, however soon its relay let it end.
   */
  offerOf({ address, clock }: Pick<Connection, 'address' | 'clock'>): Offer | undefined {
    const offer = this.#offers.get(address.key)
    if (offer === undefined) return undefined
    return clock.now < offer.expires || this.#now() - offer.heard < firmMs ? offer : undefined
  }
}
