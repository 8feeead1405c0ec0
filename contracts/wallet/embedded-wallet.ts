/**
 * A BRC-100 wallet in this process: one key, its coins in one folder, one view of the chain. It has the methods that this
 * project uses, with the arguments, results and errors of BRC-100, and is stricter in what it takes from others.
 *
 * What it promises: coins of a transaction are set aside on disk before it is built, and the signed transaction is on disk
 * before anybody hears of it. So no crash loses a coin or spends one twice, and nothing that was handed out is forgotten.
 */
import type * as sdk from '@bsv/sdk'
import { MarketError } from '../../market/errors.ts'
import type { Chain } from '../chain/chain.ts'
import { fail } from './coins/moves.ts'
import type { openCoinDatabase } from './coins/database.ts'
import { CoinStore } from './coins/store.ts'
import { draft, expire } from './actions/create.ts'
import { Flights } from './actions/flights.ts'
import { internalize } from './actions/internalize.ts'
import type { KeyWallet } from './key-wallet.ts'
import { canPay } from './actions/afford.ts'
import { type Balance, balanceOf, listActions, listOutputs } from './actions/lists.ts'
import {
  type Payment,
  type PaymentOrder,
  payTo,
  receiveAddress,
  stakeKey,
  type StakeKey,
} from './actions/payments.ts'
import { type Sent, resume } from './actions/send.ts'
import { abort, finish, isWaiting, sendWith, signable, withSpends } from './actions/sign.ts'
import {
  AbortArgs,
  CreateArgs,
  InternalizeArgs,
  ListActionsArgs,
  ListOutputsArgs,
  readArgs,
  RelinquishArgs,
  SignArgs,
} from './actions/args.ts'
import { OwnMethods, type WalletMethods } from './own-methods.ts'
import type { WalletParts } from './wallet-parts.ts'

export interface WalletOptions {
  /** Of the coins; made when it is not there. */
  readonly directory: string
  readonly keys: KeyWallet
  /** Closed by whoever opened it. */
  readonly chain: Chain
  readonly now: () => number
  /** How long coins wait for a transaction to be signed. */
  readonly reservedMs?: number
  /** How long to wait for another process that has the coins open. */
  readonly waitMs?: number
  /** For tests. */
  readonly database?: typeof openCoinDatabase
}

const defaultReservedMs = 600_000

export class EmbeddedWallet extends OwnMethods implements WalletMethods {
  /** For whoever follows the chain, recovers or backs up. */
  readonly store: CoinStore
  readonly #parts: WalletParts

  /**
   * Frees what was reserved for too long, and sends again what was not answered for.
   * @throws ERR_CONFLICT for coins of another key or network; ERR_BUSY when another process keeps them
   */
  static async open(options: WalletOptions): Promise<EmbeddedWallet> {
    const { directory, keys, chain, now, reservedMs = defaultReservedMs, waitMs, database } = options
    const store = await CoinStore.open(directory, {
      ...{ identity: keys.identity, network: chain.network, now },
      ...(waitMs !== undefined && { waitMs }),
      ...(database !== undefined && { database }),
    })
    const wallet = new EmbeddedWallet({ keys, store, chain, now, reservedMs, flights: new Flights() })
    try {
      await wallet.resume()
    } catch (error) {
      await store.close()
      throw error
    }
    return wallet
  }

  private constructor(parts: WalletParts) {
    super(parts)
    this.#parts = parts
    this.store = parts.store
  }

  /** Drops reservations that are over and sends what is waiting; see `send.ts`. Harmless to repeat. */
  async resume(): Promise<ReadonlyMap<string, Sent>> {
    await this.store.change((batch) => expire(this.#parts, batch))
    return resume(this.#parts)
  }

  /** Waits for what is being written; a call that goes on afterwards fails. */
  close(): Promise<void> {
    return this.store.close()
  }

  async createAction(args: sdk.CreateActionArgs): Promise<sdk.CreateActionResult> {
    const read = readArgs(CreateArgs, args)
    const { options } = read
    const others = options.sendWith
    if (read.inputs.length === 0 && read.outputs.length === 0 && others.length > 0)
      return { sendWithResults: await sendWith(this.#parts, others) }
    const drafted = await draft(this.#parts, read)
    try {
      if (isWaiting(drafted.action) || !options.signAndProcess)
        return { signableTransaction: await signable(this.#parts, drafted) }
      const sendWithResults = others.length > 0 ? await sendWith(this.#parts, others) : undefined
      const result = await finish(this.#parts, drafted, options)
      const change = options.noSend ? { noSendChange: this.#changeOf(result.txid) } : {}
      return { ...result, ...change, ...(sendWithResults && { sendWithResults }) }
    } catch (error) {
      await this.#release(drafted.action.number)
      throw error
    } finally {
      this.#parts.flights.end(drafted.action.number)
    }
  }

  async signAction(args: sdk.SignActionArgs): Promise<sdk.SignActionResult> {
    const read = readArgs(SignArgs, args)
    const { sendWith: others } = read.options
    const signed = withSpends(this.#parts, read)
    const sendWithResults = others.length > 0 ? await sendWith(this.#parts, others) : undefined
    return {
      ...(await finish(this.#parts, signed, read.options)),
      ...(sendWithResults && { sendWithResults }),
    }
  }

  async abortAction(args: sdk.AbortActionArgs): Promise<sdk.AbortActionResult> {
    await abort(this.#parts, readArgs(AbortArgs, args).reference)
    return { aborted: true }
  }

  async internalizeAction(args: sdk.InternalizeActionArgs): Promise<sdk.InternalizeActionResult> {
    await internalize(this.#parts, readArgs(InternalizeArgs, args))
    return { accepted: true }
  }

  async listOutputs(args: sdk.ListOutputsArgs): Promise<sdk.ListOutputsResult> {
    return listOutputs(this.store, readArgs(ListOutputsArgs, args))
  }

  /** The output is not listed any more, and not spent; it is not destroyed. */
  async relinquishOutput(args: sdk.RelinquishOutputArgs): Promise<sdk.RelinquishOutputResult> {
    const { basket, output } = readArgs(RelinquishArgs, args)
    await this.store.change((batch) => {
      const coin = batch.coin(output)
      if (coin === undefined || (coin.basket !== undefined && coin.basket !== basket))
        throw new MarketError('ERR_NOT_FOUND', `${output} is not in the basket ${basket}`)
      const { basket: _, ...rest } = coin
      batch.putCoin(rest)
    })
    return { relinquished: true }
  }

  async listActions(args: sdk.ListActionsArgs): Promise<sdk.ListActionsResult> {
    return listActions(this.store, readArgs(ListActionsArgs, args))
  }

  /** Pays an identity (BRC-29) or an address. */
  payTo(order: PaymentOrder): Promise<Payment> {
    return payTo(this, order)
  }

  /** Where anybody can pay to: the same until something arrived there, which is only known after following the chain. */
  receiveAddress(): Promise<string> {
    return receiveAddress(this.#parts)
  }

  /** A key of our own that was not given out before, for a stake in a contract. */
  stakeKey(): Promise<StakeKey> {
    return stakeKey(this.#parts)
  }

  /** Whether there are coins for a payment of so many satoshi now, its fee included; another may take them first. */
  canPay(satoshis: number): Promise<boolean> {
    return canPay(this.#parts, satoshis)
  }

  balance(): Promise<Balance> {
    return balanceOf(this.store)
  }

  #changeOf(txid: string): string[] {
    const action = this.store.actionOf(txid)
    const ours = action?.outputs.filter(({ key }) => key !== undefined) ?? []
    return ours.map(({ vout }) => `${txid}.${vout}`)
  }

  /** What could not be finished gives its coins back, unless it was signed: then it is what the disk says it is. */
  async #release(number: number): Promise<void> {
    try {
      await this.store.change((batch) => {
        if (batch.action(number)?.state === 'unsigned') fail(batch, number, 'it could not be signed')
      })
    } catch {
      // The disk is what failed, and the caller hears of that. A reservation ends by itself.
    }
  }
}
