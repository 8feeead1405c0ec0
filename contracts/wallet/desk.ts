/**
 * A wallet as programs keep it: coins that follow the chain, a backup that follows the coins, and what the commands of both
 * programs do with them.
 */
import { resolve } from 'node:path'
import { MarketError } from '../../market/errors.ts'
import type { Chain, Network } from '../chain/chain.ts'
import type { Txid } from '../transaction/transaction.ts'
import { BackupFile, makeBackup, newerThan, readBackup, readBackupFile } from './backup/backup.ts'
import { EmbeddedWallet } from './embedded-wallet.ts'
import type { KeyWallet } from './key-wallet.ts'
import { type Balance, movedBy } from './actions/lists.ts'
import { type Birthday, recover, type RecoveryProgress, type RecoveryReport } from './backup/recover.ts'
import { WalletSync } from './sync/sync.ts'

export interface DeskOptions {
  /** Of the coins; made when it is not there. */
  readonly directory: string
  readonly keys: KeyWallet
  /** Closed with the desk. */
  readonly chain: Chain
  readonly now: () => number
  /** Where an encrypted backup is kept, new after each change. */
  readonly backupFile?: string | undefined
  /** How long to wait for another process that has the coins open. */
  readonly waitMs?: number | undefined
}

/** How far the coins agree with the chain. */
export interface AsOf {
  readonly network: Network
  /** What the chain is seen through. */
  readonly chain: string
  /** Height of the best chain; null when it did not answer. */
  readonly tip: number | null
  /** Height of the last block that was read; null where blocks are not read. */
  readonly height: number | null
  /** Nothing is left to be read or asked. */
  readonly isCurrent: boolean
  /** Why the chain was not heard to the end, for people. */
  readonly unavailable: string | null
}

export interface Sending {
  readonly network: Network
  readonly txid: Txid
  readonly satoshis: number
  readonly fee: number
  readonly to: string
}

export interface HistoryEntry {
  readonly txid: Txid
  readonly status: string
  /** What the balance gained or lost by it, fee included: what is set aside in a basket has left it. */
  readonly satoshis: number
  readonly description: string
}

/** Of passes in one answer: each reads a bounded number of blocks. */
const mostPasses = 20
const pageActions = 1000

export class Desk {
  readonly wallet: EmbeddedWallet
  readonly #options: DeskOptions
  readonly #sync: WalletSync
  #backup: BackupFile | undefined
  /** Of the last backup that was exported while none is kept. */
  #exported = 0

  /** @throws as `EmbeddedWallet.open` and `BackupFile.open`; the chain stays open then */
  static async open(options: DeskOptions): Promise<Desk> {
    const { backupFile, waitMs, ...parts } = options
    const wallet = await EmbeddedWallet.open({ ...parts, ...(waitMs !== undefined && { waitMs }) })
    try {
      const desk = new Desk(options, wallet)
      if (backupFile !== undefined) await desk.keepBackup(backupFile)
      return desk
    } catch (error) {
      await wallet.close()
      throw error
    }
  }

  private constructor(options: DeskOptions, wallet: EmbeddedWallet) {
    this.#options = options
    this.wallet = wallet
    this.#sync = new WalletSync({ ...options, store: wallet.store })
  }

  /** From now on, once: for coins that had to be recovered first. @throws as `BackupFile.open` */
  async keepBackup(path: string): Promise<void> {
    this.#backup ??= await BackupFile.open(path, { ...this.#options, store: this.wallet.store })
  }

  get network(): Network {
    return this.#options.chain.network
  }

  /** Makes the coins agree with the chain, as far as a bounded number of passes gets. The network being away is no error. */
  async follow(passes = mostPasses): Promise<AsOf> {
    const { chain } = this.#options
    for (let left = passes; ; left--) {
      const { tip, scanned, isCurrent, unavailable } = await this.#sync.pass()
      if (!isCurrent && unavailable === undefined && left > 1) continue
      return {
        network: chain.network,
        chain: chain.name,
        tip: tip?.height ?? null,
        height: scanned?.height ?? this.wallet.store.place()?.height ?? null,
        isCurrent,
        unavailable: unavailable?.message ?? null,
      }
    }
  }

  async balance(): Promise<Balance & AsOf> {
    const asOf = await this.follow()
    return { ...(await this.wallet.balance()), ...asOf }
  }

  async address(): Promise<{ address: string; network: Network }> {
    // What arrived at the last one is known only from the chain.
    await this.follow()
    return { address: await this.wallet.receiveAddress(), network: this.network }
  }

  /**
   * @throws ERR_MALFORMED, ERR_CONFLICT for an address of another network; ERR_INSUFFICIENT_FUNDS;
   * ERR_TRANSACTION_REFUSED; ERR_CHAIN_UNAVAILABLE when it is not known whether it was sent: it is kept, and sent again
   */
  async send(address: string, satoshis: number): Promise<Sending> {
    await this.follow()
    const { txid } = await this.wallet.payTo({ address, satoshis })
    const action = this.wallet.store.actionOf(txid)
    const fee = -(action?.satoshis ?? -satoshis) - satoshis
    return { network: this.network, txid, satoshis, fee, to: address }
  }

  /** Newest first, at most `limit`. @throws ERR_INTERNAL when the coins on disk are damaged */
  async history(limit: number): Promise<HistoryEntry[]> {
    const entries: HistoryEntry[] = []
    for (let offset = 0; ; offset += pageActions) {
      const { actions } = await this.wallet.listActions({ labels: [], limit: pageActions, offset })
      for (const { txid, status, satoshis, description } of actions)
        entries.push({ txid, status, satoshis: movedBy(this.wallet.store, txid) ?? satoshis, description })
      entries.splice(0, entries.length - limit)
      if (actions.length < pageActions) return entries.reverse()
    }
  }

  /** Once, besides the one that is kept, or that one if it is named. The file is a whole backup or, when this throws, what it was. */
  async backup(path: string): Promise<void> {
    if (resolve(path) === this.#backup?.path) return this.#backup.flushed()
    const file = await BackupFile.open(path, { ...this.#options, store: this.wallet.store })
    await file.close()
  }

  /** The backup of now as bytes. */
  export(): Promise<Uint8Array> {
    if (this.#backup !== undefined) return this.#backup.export()
    this.#exported = newerThan(this.#exported, this.#options.now())
    return makeBackup({ ...this.#options, store: this.wallet.store }, this.#exported)
  }

  /** @throws ERR_FORBIDDEN where coins are worth something */
  async faucet(satoshis: number): Promise<{ txid: Txid; address: string; network: Network }> {
    const { faucet } = this.#options.chain
    if (faucet === undefined)
      throw new MarketError('ERR_FORBIDDEN', `only a devnet gives coins away, and this is ${this.network}`)
    const { address } = await this.address()
    const txid = await faucet(address, satoshis)
    await this.follow()
    return { txid, address, network: this.network }
  }

  /** Goes on where an earlier call stopped. @throws as contracts/wallet/backup/recover.ts */
  async recover(options: {
    readonly birthday?: Birthday
    /** A file, or the bytes of one. */
    readonly backup?: string | Uint8Array
    readonly signal: AbortSignal
    readonly onProgress?: (progress: RecoveryProgress) => void
  }): Promise<RecoveryReport> {
    const { backup: from, ...rest } = options
    const of = { keys: this.#options.keys, network: this.network }
    const backup =
      typeof from === 'string' ? await readBackupFile(from, of) : from && (await readBackup(from, of))
    const parts = { ...this.#options, store: this.wallet.store, sync: this.#sync }
    return recover({ ...parts, ...rest, ...(backup && { backup }) })
  }

  /** Writes the backup of the last change, then lets go of coins and chain. */
  async close(): Promise<void> {
    try {
      await this.#backup?.close()
    } finally {
      await this.wallet.close()
      await this.#options.chain.close()
    }
  }
}
