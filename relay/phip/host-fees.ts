/**
 * What other hosts ask for taking a message (BRC-105), paid of the relay's own coins. The payment carries the names of departure
 * and host, by which it is found again after a crash: it is never made twice.
 */
import { feeFor } from '../../contracts/chain/chain.ts'
import type { WebPayment } from '../../contracts/payment.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { mostPaidFeeRate } from '../../contracts/wallet/actions/draft-size.ts'
import { sentRemittance } from '../../contracts/wallet/actions/payments.ts'
import type { Action } from '../../contracts/wallet/coins/rows.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { paymentKey } from '../../contracts/wallet/own-keys.ts'
import { fromHex, toBase64, toHex } from '../../market/bytes.ts'
import { type Code, MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { owedToCustomers } from '../escrow/backing.ts'
import type { Store } from '../store/store.ts'
import { isHeld } from '../store/withdrawals.ts'
import type { Host } from '../../contracts/overlay/host.ts'

export interface HostFees {
  /**
   * Once for a departure and a host, whatever crashes: asked again, it is the payment of before. It is on disk before anybody
   * hears of it, and sent, by us and by whoever is paid.
   * @throws ERR_PAYMENT_REQUIRED for more than the budget, or than is the relay's own; ERR_BUSY, ERR_CHAIN_UNAVAILABLE
   */
  pay(order: FeeOrder): Promise<WebPayment>
  /** What was paid before; undefined where nothing was. @throws ERR_BUSY */
  paid(name: FeeName): Promise<WebPayment | undefined>
  /** For this departure, to all hosts, miners' fees included; satoshi. @throws ERR_BUSY */
  spent(place: number): Promise<number>
}

export interface FeeName {
  /** Of the departure. */
  readonly place: number
  readonly host: Host
}

export interface FeeOrder extends FeeName {
  readonly satoshis: number
  /** As the host gave it. */
  readonly derivationPrefix: string
  /** What this payment may cost, miners' fee included; satoshi. */
  readonly budget: number
}

export interface HostFeesOptions {
  readonly store: Pick<Store, 'snapshot' | 'get' | 'meta'>
  /** Of the relay. @throws ERR_BUSY while its coins are under recovery */
  readonly wallet: () => EmbeddedWallet
  /** Milliseconds that no setting of the clock changes. */
  readonly monotonic: () => number
}

/** BRC-100 has no longer ones. */
const descriptionLength = 50
/** They are made one after another, so that none is paid with what is left for another. */
const mostWaiting = 64
/** With one input and two outputs; whether it takes more is seen when it is drafted. */
const transactionBytes = 226
/** After so many rows that tell what customers are owed, so long a pause: a hundredth of the time for it. */
const [pausedRows, pauseMs] = [1000, 300]
const poorRetryMs = 60_000

export class CoinFees implements HostFees {
  readonly #options: HostFeesOptions
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0
  /** Satoshi that were ours when they were counted, less what was paid since. */
  #ours = 0
  #countAgain = Number.NEGATIVE_INFINITY

  constructor(options: HostFeesOptions) {
    this.#options = options
  }

  async pay(order: FeeOrder): Promise<WebPayment> {
    if (this.#waiting >= mostWaiting) throw busy('too many hosts are being paid')
    this.#waiting++
    const paid = this.#last.then(() => this.#pay(order))
    this.#last = paid.catch(() => undefined)
    try {
      return await paid
    } catch (error) {
      throw told(error)
    } finally {
      this.#waiting--
    }
  }

  async paid(name: FeeName): Promise<WebPayment | undefined> {
    return paidBy(this.#options.wallet(), name)
  }

  async spent(place: number): Promise<number> {
    let satoshis = 0
    for await (const action of signed(this.#options.wallet(), departureLabel(place)))
      satoshis -= action.satoshis
    return satoshis
  }

  async #pay(order: FeeOrder): Promise<WebPayment> {
    const { store, wallet } = this.#options
    const coins = wallet()
    const before = await paidBy(coins, order)
    if (before !== undefined) return before
    if (isHeld(store, store.meta))
      throw busy('this relay was restored from a backup: its operator must confirm it before it pays')
    const rate = Math.min(await coins.chain.feeRate(), mostPaidFeeRate)
    const least = order.satoshis + feeFor(transactionBytes, rate)
    const { budget } = order
    const most = least > budget ? budget : Math.min(budget, await this.#own(coins))
    if (least > most) throw tooMuch(least, most)
    const { reference, cost } = await draft(coins, order)
    if (cost > most) {
      await coins.abortAction({ reference })
      throw tooMuch(cost, most)
    }
    // Whoever is paid sends it as well: that the network has it need not be waited for.
    await coins.signAction({ reference, spends: {}, options: { returnTXIDOnly: true } })
    this.#ours -= cost
    return (await paidBy(coins, order))! // it was just signed
  }

  /** Beyond what customers may ask back, of coins that nothing else has set aside. */
  async #own(coins: EmbeddedWallet): Promise<number> {
    const { store, monotonic } = this.#options
    if (monotonic() < this.#countAgain) return this.#ours
    // In this order: what is paid in meanwhile is only owed.
    const { confirmed, unconfirmed } = await coins.balance()
    const { satoshis: owed, rows } = await owedToCustomers(store)
    this.#countAgain = monotonic() + Math.floor(rows / pausedRows) * pauseMs
    this.#ours = confirmed + unconfirmed - owed
    return this.#ours
  }
}

/** Coins are set aside for it; nobody has signed it. */
async function draft(
  coins: EmbeddedWallet,
  { satoshis, derivationPrefix, ...name }: FeeOrder,
): Promise<{ reference: string; cost: number }> {
  const label = paymentLabel(name)
  const names = { derivationPrefix, derivationSuffix: toBase64(sha256(label)) }
  const key = paymentKey(names, name.host.key)
  const { publicKey } = await coins.getPublicKey({ ...key, forSelf: false })
  const { signableTransaction } = await coins.createAction({
    description: `a message brought to ${name.host.domain}`.slice(0, descriptionLength),
    labels: [departureLabel(name.place), label],
    outputs: [
      {
        lockingScript: toHex(p2pkh(fromHex(publicKey))),
        satoshis,
        outputDescription: 'payment',
        customInstructions: JSON.stringify({ ...names, senderIdentityKey: coins.identity }),
      },
    ],
    options: { randomizeOutputs: false, signAndProcess: false },
  })
  const { reference } = signableTransaction! // it was not to be signed
  return { reference, cost: -coins.store.actionByReference(reference)!.satoshis } // just made
}

async function paidBy(coins: EmbeddedWallet, name: FeeName): Promise<WebPayment | undefined> {
  for await (const { txid } of signed(coins, paymentLabel(name))) {
    const { derivationPrefix, derivationSuffix } = sentRemittance(coins.store, txid)!.remittance // as drafted
    // By the blocks of now.
    return { derivationPrefix, derivationSuffix, transaction: toBase64(await coins.store.beef(txid)) }
  }
  return undefined
}

/** What somebody may have heard of, unless the network will never have it. */
async function* signed({ store }: EmbeddedWallet, label: string): AsyncGenerator<Action & { txid: string }> {
  for await (const number of store.labelled(label)) {
    const action = store.action(number)
    if (action?.txid !== undefined && action.state !== 'failed') yield { ...action, txid: action.txid }
  }
}

const departureLabel = (place: number): string => `propagation ${place}`
const paymentLabel = ({ place, host }: FeeName): string => `${departureLabel(place)} ${host.key}`

const tooMuch = (cost: number, most: number): MarketError =>
  new MarketError(
    'ERR_PAYMENT_REQUIRED',
    `what a host asks for costs ${cost} satoshi, fee included, and ${Math.max(0, most)} may be spent`,
  )
const busy = (why: string): MarketError =>
  new MarketError('ERR_BUSY', why, { extras: { retryAfterMs: poorRetryMs } })

const passed: ReadonlySet<Code> = new Set([
  'ERR_PAYMENT_REQUIRED',
  'ERR_BUSY',
  'ERR_CHAIN_UNAVAILABLE',
  'ERR_INTERNAL',
])

/** Coins that are on their way now, or a transaction that was refused: later there is another. */
function told(error: unknown): unknown {
  if (!(error instanceof MarketError) || passed.has(error.code)) return error
  return new MarketError('ERR_BUSY', `a host could not be paid: ${error.message}`, { cause: error })
}
