/** The money of one identity as its user sees it: coins of this home with their backup on the relays, or a connected wallet. */
import { rm, stat } from 'node:fs/promises'
import type { Network } from '../contracts/chain/chain.ts'
import type { Txid } from '../contracts/transaction/transaction.ts'
import type { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { MarketError } from '../market/errors.ts'
import type { Context } from './context.ts'
import { ClientError } from './errors.ts'
import { ignoreBackups, noteFormer, placeBackup } from './mail/wallet-backup.ts'
import { type Found, findBackup } from './mail/wallet-backup-search.ts'
import {
  type CoinBalance,
  type CoinHistory,
  type CoinPayment,
  checkPayment,
  type Recovered,
  type RecoverOptions,
} from './money/coins.ts'
import { ConnectedCoins } from './money/connected.ts'
import type { Funds, Payer } from './money/payer.ts'
import { checkNeeded, checkSource, isOnlyFound } from './money/recovery.ts'
import { type CoinOptions, networkOf, type OpenCoins, openCoins } from './money/wallet.ts'

/**
 * Every call may throw ERR_USAGE when no chain was ever named, ERR_CONFLICT for coins of another key or network, and
 * ERR_BUSY when another process has the coins open.
 */
export interface Coins extends Funds {
  /** As the chain has it now; when it does not answer, as it was known last. */
  balance(): Promise<CoinBalance>
  /** Where anybody can pay to: the same until something arrived there. */
  address(): Promise<{ address: string; network: Network }>
  /** What is wrong with an address or amount is said before anything is asked of the user, without opening the coins. @throws as `send` */
  check(address: string, satoshis: number): Promise<{ network: Network }>
  /**
   * @throws ERR_MALFORMED, ERR_CONFLICT for the address of another network; ERR_INSUFFICIENT_FUNDS;
   * ERR_TRANSACTION_REFUSED; ERR_CHAIN_UNAVAILABLE when it is not known whether it was sent: it is kept, and sent again
   */
  send(address: string, satoshis: number): Promise<CoinPayment>
  history(limit: number): Promise<CoinHistory>
  /** Writes the encrypted backup of now to a file. */
  backup(path: string): Promise<void>
  /** Goes on where an earlier call stopped. @throws ERR_CONFLICT when a backup would have to be merged with coins */
  recover(options: RecoverOptions): Promise<Recovered>
  /** @throws ERR_FORBIDDEN where coins are worth something */
  faucet(satoshis: number): Promise<{ txid: Txid; address: string; network: Network }>
  /** Brings the backup to the own relays if the coins have changed, and lets go of the coins. */
  close(): Promise<void>
}

export function coinsOf(ctx: Context, options: CoinOptions): Coins {
  const { holder } = ctx
  if (holder === undefined) throw new MarketError('ERR_INTERNAL', 'nobody holds the key of this context')
  return holder.kind === 'home'
    ? new HomeCoins(ctx, holder.keys, options)
    : connected(new ConnectedCoins(holder.wallet, holder.name))
}

function connected(coins: ConnectedCoins): Coins {
  const no = (what: string) => async (): Promise<never> => {
    throw coins.refuse(what)
  }
  return {
    balance: () => coins.balance(),
    network: () => coins.network(),
    payer: async () => coins.wallet,
    check: (address, satoshis) => coins.check(address, satoshis),
    send: (address, satoshis) => coins.send(address, satoshis),
    history: (limit) => coins.history(limit),
    address: no('gives out no addresses to other programs'),
    backup: no('keeps the backup of its coins itself'),
    recover: no('recovers its coins itself'),
    faucet: no('gets its coins itself'),
    close: async () => undefined,
  }
}

/** What placing a backup may take at the end of a command; then it waits in the queue. */
const placingMs = 15_000

class HomeCoins implements Coins {
  readonly #ctx: Context
  readonly #keys: KeyWallet
  readonly #options: CoinOptions
  #open: Promise<OpenCoins> | undefined

  constructor(ctx: Context, keys: KeyWallet, options: CoinOptions) {
    this.#ctx = ctx
    this.#keys = keys
    this.#options = options
  }

  async balance(): Promise<CoinBalance> {
    const { desk } = await this.#opened()
    const { confirmed, unconfirmed, reserved, ...asOf } = await desk.balance()
    const height = asOf.height ?? desk.wallet.store.place()?.height ?? null
    const satoshis = confirmed + unconfirmed + reserved
    return { ...asOf, height, satoshis, confirmed, unconfirmed, reserved }
  }

  async address() {
    return (await this.#opened()).desk.address()
  }

  network(): Promise<Network> {
    return networkOf(this.#ctx, this.#options)
  }

  async payer(): Promise<Payer> {
    const { desk } = await this.#opened()
    await desk.follow()
    return desk.wallet
  }

  async check(address: string, satoshis: number) {
    const network = await this.network()
    checkPayment(address, { satoshis, network })
    return { network }
  }

  async send(address: string, satoshis: number): Promise<CoinPayment> {
    const { desk } = await this.#opened()
    const sent = await desk.send(address, satoshis)
    const { confirmed, unconfirmed, reserved } = await desk.wallet.balance()
    return { ...sent, left: confirmed + unconfirmed + reserved }
  }

  async history(limit: number): Promise<CoinHistory> {
    const { desk } = await this.#opened()
    const { network, unavailable } = await desk.follow()
    return { network, entries: await desk.history(limit), unavailable }
  }

  async backup(path: string): Promise<void> {
    await (await this.#opened()).desk.backup(path)
  }

  async faucet(satoshis: number) {
    return (await this.#opened()).desk.faucet(satoshis)
  }

  async recover(options: RecoverOptions): Promise<Recovered> {
    await this.#let()
    // The file that is kept may be the one to recover from: until then it is not to be written.
    this.#open = openCoins(this.#ctx, { keys: this.#keys, options: this.#options, keep: false })
    const { desk, away } = await this.#open
    if (away !== undefined) throw away
    const { network } = desk
    const { birthday, signal, onProgress } = options
    await checkNeeded(options, {
      desk,
      isOnlyFound: await isOnlyFound(desk.wallet.store),
      home: this.#ctx.home,
    })
    const { backup, source } = await this.#sourceOf(options)
    const from = {
      ...(birthday && { birthday }),
      ...(backup !== undefined && { backup }),
      ...(onProgress && { onProgress }),
    }
    const isNew = backup !== undefined && (await isOnlyFound(desk.wallet.store))
    const { desk: ready } = isNew ? await this.#anew() : { desk }
    if (typeof backup === 'string' || source === 'key') await ignoreBackups(this.#ctx, network)
    return { ...(await ready.recover({ ...from, signal })), network, source }
  }

  async close(): Promise<void> {
    const open = await this.#open?.catch(() => undefined)
    if (open === undefined) return
    try {
      await this.#place(open)
    } finally {
      await this.#let()
    }
  }

  #opened(): Promise<OpenCoins> {
    this.#open ??= openCoins(this.#ctx, { keys: this.#keys, options: this.#options, keep: true })
    return this.#open
  }

  async #let(): Promise<void> {
    const open = await this.#open
    this.#open = undefined
    await open?.desk.close()
  }

  /** Nothing is merged with a backup; what only the chain told it tells again. */
  async #anew(): Promise<OpenCoins> {
    await this.#let()
    await rm(this.#ctx.home.coins, { recursive: true, force: true })
    this.#open = openCoins(this.#ctx, { keys: this.#keys, options: this.#options, keep: false })
    return this.#open
  }

  async #sourceOf(options: RecoverOptions): Promise<{ backup?: string | Uint8Array; source: string }> {
    const { backup, birthday, isKeyOnly, signal } = options
    const { desk, settings } = await this.#opened()
    if (backup !== undefined) return { backup, source: backup }
    const { store } = desk.wallet
    if (store.recovery() !== undefined) return { source: 'earlier' }
    if (!isKeyOnly && (await isOnlyFound(store))) {
      const { found, failures } = await findBackup(this.#ctx, desk.network, { signal })
      if (found !== undefined) return this.#use(found)
      if (settings.backup !== undefined && (await isThere(settings.backup)))
        return { backup: settings.backup, source: settings.backup }
      // Once coins were found by key alone, no backup can be merged with them.
      if (failures[0] !== undefined)
        throw new ClientError(
          'ERR_UNREACHABLE',
          `${failures[0].relay} may have a backup and does not give it (${failures[0].error.message}): ` +
            'try again, or name --backup FILE; --key-only looks with the key alone',
          failures[0].error,
        )
    }
    checkSource({ birthday, isKeyOnly })
    return { source: 'key' }
  }

  async #use(found: Found): Promise<{ backup: Uint8Array; source: string }> {
    await noteFormer(this.#ctx, found)
    return { backup: found.bytes, source: found.relay }
  }

  /** Best effort: what fails is said, and stops nothing. */
  async #place({ desk }: OpenCoins): Promise<void> {
    const { store } = desk.wallet
    if (isUnused(store) || store.recovery() !== undefined) return
    const counters = (['receive', 'change', 'stake', 'action', 'coin'] as const).map((kind) =>
      store.counter(kind),
    )
    const timeout = AbortSignal.timeout(placingMs)
    const { signal } = this.#options
    const coins = { network: desk.network, state: counters.join(' '), export: () => desk.export() }
    try {
      await placeBackup(this.#ctx, coins, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout })
    } catch (error) {
      this.#ctx.notify({ type: 'backup-unplaced', error: error as Error })
    }
  }
}

type Counted = { counter(kind: 'action' | 'coin'): number }
const isUnused = (store: Counted): boolean => store.counter('action') === 0 && store.counter('coin') === 0

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
