/** The relay's coins: the chain it sees, its wallet (the relay's own key), and following both while the relay runs. */
import { rm } from 'node:fs/promises'
import type { Network } from '../contracts/chain/chain.ts'
import type { Balance } from '../contracts/wallet/actions/lists.ts'
import { type AsOf, Desk } from '../contracts/wallet/desk.ts'
import type { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { MarketError } from '../market/errors.ts'
import { openSight, type Sight, type SightOptions } from './chain.ts'
import { exists, walletBackup, walletDirectory } from './data-directory.ts'
import { backupToRecover } from './lost-coins.ts'

export interface TreasuryOptions extends SightOptions {
  readonly keys: KeyWallet
  /** Milliseconds that no setting of the clock changes. */
  readonly monotonic: () => number
  /** For whoever orders a recovery: no backup is kept, and none looked for, until he is done. */
  readonly isRecovering?: boolean
  /** How often the chain is asked. */
  readonly followEveryMs?: number | undefined
}

/** The coins as they were when the chain was followed last; `tip` is what it said last, also while it is away. */
export interface TreasuryStatus extends AsOf {
  readonly balance: Balance | null
}

const followEveryMs = 10_000
/** While there are blocks that were not read. */
const catchUpEveryMs = 1000
/** In one turn: the next one goes on. */
const passesPerTurn = 5

export class Treasury {
  readonly #options: TreasuryOptions
  readonly #desk: Desk
  readonly #sight: Sight
  readonly #closing = new AbortController()
  /** A backup from which the coins are recovered before anything else. */
  #lost: string | undefined
  #asOf: AsOf
  #balance: Balance | undefined
  #heardAt: number
  /** What was wrong in the last turn, as the log has it. */
  #trouble: string | null = null
  #timer: NodeJS.Timeout | undefined
  #turn: Promise<void> = Promise.resolve()

  /**
   * Undefined where no chain was ever named.
   * @throws as `openSight`; ERR_CONFLICT for coins of another key or network, and for a backup that is not of these coins;
   * ERR_BUSY when another process has them
   */
  static async open(options: TreasuryOptions): Promise<Treasury | undefined> {
    const { data, keys, now, log, isRecovering = false } = options
    const sight = await openSight(options)
    if (sight === undefined) {
      if (await exists(walletBackup(data)))
        log.warn({ backup: walletBackup(data) }, 'coins wait to be recovered: name their --chain')
      return undefined
    }
    try {
      const directory = walletDirectory(data)
      const desk = await Desk.open({ directory, keys, chain: sight.chain, now })
      try {
        const treasury = new Treasury(options, desk, sight)
        if (isRecovering) return treasury
        await treasury.#begin()
        await sight.remember()
        return treasury
      } catch (error) {
        await desk.close()
        throw error
      }
    } catch (error) {
      await sight.close()
      throw error
    }
  }

  private constructor(options: TreasuryOptions, desk: Desk, sight: Sight) {
    this.#options = options
    this.#desk = desk
    this.#sight = sight
    this.#heardAt = options.monotonic()
    const { network, name: chain } = sight.chain
    this.#asOf = { network, chain, tip: null, height: null, isCurrent: false, unavailable: null }
  }

  get network(): Network {
    return this.#desk.network
  }

  /** Of the devnet that runs in this process. */
  get devnetUrl(): string | undefined {
    return this.#sight.devnet?.url
  }

  /** @throws ERR_BUSY while the coins are being recovered */
  get desk(): Desk {
    if (this.#lost === undefined) return this.#desk
    throw new MarketError('ERR_BUSY', `the coins are being recovered from ${this.#lost}: try again later`)
  }

  get status(): TreasuryStatus {
    return { ...this.#asOf, balance: this.#balance ?? null }
  }

  /** Since the chain answered, or since the start when it never did. */
  get silentSeconds(): number {
    return Math.max(0, this.#options.monotonic() - this.#heardAt) / 1000
  }

  /**
   * Follows the chain from now on, until `close`. What is wrong is in the log, once for each change.
   * @param onFollowed what else is done after each pass that heard from the chain; must not reject
   */
  keepFollowing(onFollowed?: () => Promise<void>): void {
    this.#turn = this.#follow(onFollowed).then(() => {
      if (this.#closing.signal.aborted) return
      const { isCurrent, unavailable } = this.#asOf
      const isBehind = !isCurrent && unavailable === null && this.#trouble === null
      const everyMs = this.#options.followEveryMs ?? followEveryMs
      this.#timer = setTimeout(() => this.keepFollowing(onFollowed), isBehind ? catchUpEveryMs : everyMs)
    })
  }

  /** Recovers what is to be recovered first, for those who do not follow. @throws as `Desk.recover` */
  async recoverLost(signal: AbortSignal): Promise<void> {
    if (this.#lost !== undefined) await this.#recover(this.#lost, signal)
  }

  /** What was told or done meanwhile. */
  async note(asOf?: AsOf): Promise<void> {
    if (asOf !== undefined) {
      const { network, chain, tip, height, isCurrent, unavailable } = asOf
      this.#asOf = { network, chain, tip: tip ?? this.#asOf.tip, height, isCurrent, unavailable }
      if (unavailable === null) this.#heardAt = this.#options.monotonic()
    }
    this.#balance = await this.#desk.wallet.balance()
  }

  /** Of the coins at this moment. @throws ERR_BUSY while they are being recovered */
  export(): Promise<Uint8Array> {
    return this.desk.export()
  }

  /** From now on the backup that was named is kept, and what was restored is not needed any more. */
  async keepBackup(): Promise<void> {
    const { backup } = this.#sight.settings
    if (backup !== undefined) await this.#desk.keepBackup(backup)
    await this.#sight.remember()
    await rm(walletBackup(this.#options.data), { force: true })
  }

  /** Where the backup is kept, or was when this folder last had coins. */
  get backupFile(): string | undefined {
    return this.#sight.settings.backup
  }

  /** No more questions to the chain: whoever waits for an answer has none. */
  async hangUp(): Promise<void> {
    this.#closing.abort()
    clearTimeout(this.#timer)
    await this.#sight.chain.close()
  }

  async close(): Promise<void> {
    await this.hangUp()
    await this.#turn
    try {
      await this.#desk.close()
    } finally {
      await this.#sight.close()
    }
  }

  /** What there is to recover, else the backup that is kept. */
  async #begin(): Promise<void> {
    const { data, keys, log } = this.#options
    const { path, isUnneeded } = await backupToRecover(this.#desk, { data, keys, kept: this.backupFile })
    if (isUnneeded)
      log.warn({ backup: walletBackup(data) }, 'this backup is not needed: there are coins already')
    this.#lost = path
    if (path === undefined && this.backupFile !== undefined) await this.#desk.keepBackup(this.backupFile)
  }

  async #follow(onFollowed?: () => Promise<void>): Promise<void> {
    try {
      if (this.#lost !== undefined) await this.#recover(this.#lost, this.#closing.signal)
      await this.note(await this.#desk.follow(passesPerTurn))
      if (this.#asOf.unavailable === null) await onFollowed?.()
      this.#tell(this.#asOf.unavailable)
    } catch (error) {
      const { message } = error as Error // everything thrown here is an Error
      const isAway = error instanceof MarketError && error.code === 'ERR_CHAIN_UNAVAILABLE'
      this.#asOf = { ...this.#asOf, isCurrent: false, ...(isAway && { unavailable: message }) }
      this.#tell(message)
    }
  }

  async #recover(path: string, signal: AbortSignal): Promise<void> {
    const { log } = this.#options
    const { network } = this
    if (this.#trouble === null)
      log.info({ network, backup: path }, 'the coins are recovered from their backup')
    const { found, satoshis } = await this.#desk.recover({ backup: path, signal })
    this.#lost = undefined
    await this.keepBackup()
    log.info({ network, coins: found, satoshis }, 'the coins were recovered')
  }

  #tell(trouble: string | null): void {
    if (trouble === this.#trouble || this.#closing.signal.aborted) return
    const { log } = this.#options
    const { network, tip } = this.#asOf
    if (trouble === null) log.info({ network, tip }, 'the coins follow the chain again')
    else log.warn({ network, reason: trouble }, 'the coins cannot follow the chain')
    this.#trouble = trouble
  }
}
