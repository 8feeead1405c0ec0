/**
 * Credit that is paid back: out of the purse, then a transaction, then the answer. The transaction carries the name of its
 * withdrawal, by which it is found again after a crash: it is never made twice.
 */
import { feeFor } from '../../contracts/chain/chain.ts'
import { p2pkh } from '../../contracts/transaction/script.ts'
import { mostPaidFeeRate } from '../../contracts/wallet/actions/draft-size.ts'
import type { Action } from '../../contracts/wallet/coins/rows.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { paymentKey } from '../../contracts/wallet/own-keys.ts'
import { fromHex, toBase64, toHex, toUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import { freeStakes, takeApart } from '../escrow/own-stakes.ts'
import { type Fate, type Name, stopFollowing } from '../store/payments.ts'
import {
  amountOf,
  findWithdrawal,
  isHeld,
  orderWithdrawal,
  settleWithdrawal,
  type Withdrawal,
} from '../store/withdrawals.ts'
import { fateOf, isSettled } from './fate.ts'
import { Joined } from './joined.ts'
import type { TillParts } from './parts.ts'

/** Paid out at once. */
const mostAtOnce = 16
/** With one input and two outputs: what the owner pays for. What ours has beyond is the relay's to pay. */
const transactionBytes = 226
const poorRetryMs = 60_000
const chainRetryMs = 5000

/** The names of its key (BRC-29) follow from its id: with them its owner could find it without any answer. */
export const namesOf = (id: Hash): { derivationPrefix: string; derivationSuffix: string } => ({
  derivationPrefix: toBase64(fromHex(id)),
  derivationSuffix: toBase64(toUtf8('withdrawal')),
})

export class Withdrawals {
  readonly #parts: TillParts
  readonly #joined = new Joined<Withdrawal>(mostAtOnce)

  constructor(parts: TillParts) {
    this.#parts = parts
  }

  /**
   * The same name is the same withdrawal.
   * @throws as `orderWithdrawal`; ERR_BUSY in a restored relay that nobody confirmed, and when the relay has not enough coins, or the network refuses them: the credit is as
   * before; ERR_CHAIN_UNAVAILABLE while the network does not answer: it goes on by itself, and may be asked for again
   */
  pay(name: Name, satoshis: number | undefined): Promise<Withdrawal> {
    return this.#joined.run(name, async () => {
      const before = findWithdrawal(this.#parts.store, name)
      if (before?.state === 'sent') return this.#proven(before)
      this.#checkHeld()
      return this.#send(name, before?.state === 'ordered' ? before : await this.#order(name, satoshis))
    })
  }

  /** What became of it meanwhile. @param tip height of the chain */
  async follow(name: Name, tip: number): Promise<void> {
    const { store, wallet } = this.#parts
    const before = findWithdrawal(store, name)
    if (before === undefined) return
    if (before.state === 'ordered') {
      if (isHeld(store, store.meta)) return
      await this.#joined.run(name, () => this.#send(name, before))
      return
    }
    const { txid } = before
    const isOver = (before.state === 'failed' && txid === '') || isSettled(before, tip)
    if (isOver) return store.commit((batch) => stopFollowing(batch, 'w', name))
    const fate = fateOf(wallet().store, txid, { before, tip })
    if (fate === undefined) return
    const state = fate.state === 'reversed' ? 'failed' : 'sent'
    if (state === before.state && fate.height === before.height) return
    await store.commit((batch) => settleWithdrawal(batch, name, { ...fate, txid }))
  }

  idle(): Promise<void> {
    return this.#joined.idle()
  }

  #checkHeld(): void {
    const { store } = this.#parts
    if (isHeld(store, store.meta))
      throw new MarketError(
        'ERR_BUSY',
        'this relay was restored from a backup: its operator must confirm it before it pays out',
        { extras: { retryAfterMs: poorRetryMs } },
      )
  }

  async #order(name: Name, satoshis: number | undefined): Promise<Withdrawal> {
    const { store, wallet, admit } = this.#parts
    admit(0)
    const rate = Math.min(await wallet().chain.feeRate(), mostPaidFeeRate)
    const terms = { satoshis, fee: feeFor(transactionBytes, rate) }
    const amount = amountOf(store, name, terms)
    // To book it out and in again would leave rows for ever, as often as somebody asks.
    if (!(await this.#canPay(wallet(), amount - terms.fee))) throw laterOn(poor)
    return store.commit((batch) => orderWithdrawal(batch, name, terms))
  }

  /** Customers come first: where nothing else is left, stakes that no contract has become ordinary coins again. */
  async #canPay(coins: EmbeddedWallet, satoshis: number): Promise<boolean> {
    const { store } = this.#parts
    for (;;) {
      if (await coins.canPay(satoshis)) return true
      const free = await freeStakes(store, coins)
      const due = free[0]?.stake.satoshis ?? 1
      // One more than there need be at most: each pays for being spent.
      if ((await takeApart(store, coins, free.slice(0, Math.ceil(satoshis / due) + 1))) === 0) return false
    }
  }

  /** By the blocks of now, as long as its coins are known: what proved it then may have left the chain. */
  async #proven(paid: Withdrawal): Promise<Withdrawal> {
    try {
      return { ...paid, tx: toBase64(await this.#parts.wallet().store.beef(paid.txid)) }
    } catch (error) {
      if (error instanceof MarketError) return paid
      throw error
    }
  }

  async #send(name: Name, { satoshis, fee }: Withdrawal): Promise<Withdrawal> {
    const { wallet } = this.#parts
    const coins = wallet()
    const label = `withdrawal ${name.owner} ${name.hash}`
    let action = await actionOf(coins, label)
    if (action === undefined) {
      const order = { name, label, satoshis: satoshis - fee }
      try {
        await this.#make(coins, order).catch(async (error: unknown) => {
          // Another one was faster.
          if (!isPoor(error) || !(await this.#canPay(coins, order.satoshis))) throw error
          await this.#make(coins, order)
        })
      } catch (error) {
        if (isPoor(error)) return this.#fail(name, '', poor)
        // What is said of one that was made is looked up below.
        if ((await actionOf(coins, label)) === undefined && !isReviewed(error)) throw error
      }
      action = await actionOf(coins, label)
    } else if (action.state === 'sending') {
      await coins.resume()
      action = await actionOf(coins, label)
    }
    if (action?.txid === undefined)
      return this.#fail(name, await failedOf(coins, label), 'the network refused it')
    if (action.state === 'sending')
      throw new MarketError('ERR_CHAIN_UNAVAILABLE', 'it is not known yet whether the network has it', {
        extras: { retryAfterMs: chainRetryMs },
      })
    return this.#sent(name, coins, action.txid)
  }

  async #make(
    coins: EmbeddedWallet,
    { name, label, satoshis }: { name: Name; label: string; satoshis: number },
  ): Promise<void> {
    const lockingScript = toHex(await this.#script(name.owner, name.hash))
    await coins.createAction({
      description: 'a withdrawal of credit',
      labels: [label],
      outputs: [{ lockingScript, satoshis, outputDescription: 'withdrawal' }],
      options: { acceptDelayedBroadcast: false, randomizeOutputs: false },
    })
  }

  async #script(owner: Key, id: Hash): Promise<Uint8Array> {
    const key = paymentKey(namesOf(id), owner)
    const { publicKey } = await this.#parts.keys.getPublicKey({ ...key, forSelf: false })
    return p2pkh(fromHex(publicKey))
  }

  async #sent(name: Name, coins: EmbeddedWallet, txid: string): Promise<Withdrawal> {
    const tx = toBase64(await coins.store.beef(txid))
    const fate: Fate = { state: 'unmined', height: 0 }
    const sent = await this.#parts.store.commit(
      (batch) => settleWithdrawal(batch, name, { ...fate, txid, tx }),
      tx.length,
    )
    return sent! // rows of withdrawals stay
  }

  /** Back into the purse. */
  async #fail(name: Name, txid: string, why: string): Promise<never> {
    const { store, log, wallet } = this.#parts
    const height = wallet().store.place()?.height ?? 0
    await store.commit((batch) => settleWithdrawal(batch, name, { state: 'reversed', height, txid }))
    log.warn({ owner: name.owner, withdrawal: name.hash, reason: why }, 'a withdrawal could not be paid')
    throw laterOn(why)
  }
}

const poor = 'this relay has too few coins at hand'
const laterOn = (why: string): MarketError =>
  new MarketError('ERR_BUSY', `${why}: the credit is as it was before, ask again later`, {
    extras: { retryAfterMs: poorRetryMs },
  })

/** The one that was made for it, and may be, or is, in the network; what a crash left unsigned gives its coins back. */
async function actionOf(coins: EmbeddedWallet, label: string): Promise<Action | undefined> {
  for await (const number of coins.store.labelled(label)) {
    const action = coins.store.action(number)
    if (action === undefined || action.state === 'failed') continue
    if (action.state !== 'unsigned') return action
    await coins.abortAction({ reference: action.reference })
  }
  return undefined
}

/** The last one that failed; empty when none was ever signed. */
async function failedOf(coins: EmbeddedWallet, label: string): Promise<string> {
  let txid = ''
  for await (const number of coins.store.labelled(label)) txid = coins.store.action(number)?.txid ?? txid
  return txid
}

const isPoor = (error: unknown): boolean =>
  error instanceof MarketError && error.code === 'ERR_INSUFFICIENT_FUNDS'
const isReviewed = (error: unknown): boolean => error instanceof Error && error.name === 'WERR_REVIEW_ACTIONS'
