/** The relay's coins: the chain it sees, its wallet (the relay's own key), and following both while the relay runs. */
import { join } from 'node:path'
import { devnetUrl, openChain } from '../contracts/chain/open.ts'
import { type ChainSettings, chainSettings, type GivenSettings } from '../contracts/chain/settings.ts'
import type { DevnetServer } from '../contracts/chain/devnet/server.ts'
import { ensureDevnet } from '../contracts/chain/devnet/local.ts'
import { type AsOf, Desk } from '../contracts/wallet/desk.ts'
import type { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import type { Balance } from '../contracts/wallet/actions/lists.ts'
import { chainFile, walletDirectory } from './data-directory.ts'

export interface TreasuryOptions {
  readonly data: string
  readonly keys: KeyWallet
  readonly given: GivenSettings
  readonly now: () => number
  readonly log: {
    info(facts: object, message: string): void
    warn(facts: object, message: string): void
  }
}

const followEveryMs = 10_000
/** Of a devnet that this relay keeps for itself. */
const blockEveryMs = 10_000
/** In one turn: the next one goes on. */
const passesPerTurn = 5

export class Treasury {
  readonly desk: Desk
  readonly #options: TreasuryOptions
  readonly #devnet: DevnetServer | undefined
  #asOf: AsOf | undefined
  #balance: Balance | undefined
  #heardAt: number | undefined
  #timer: NodeJS.Timeout | undefined
  #turn: Promise<void> = Promise.resolve()

  /**
   * Undefined where no chain was ever named. A devnet that is named and does not answer is started in this process.
   * @throws ERR_MALFORMED, ERR_CONFLICT for another network's chain, ERR_CHAIN_UNAVAILABLE, ERR_BUSY
   */
  static async open(options: TreasuryOptions): Promise<Treasury | undefined> {
    const { data, keys, given, now, log } = options
    const settings = await chainSettings(chainFile(data), given)
    if (settings === undefined) return undefined
    const devnet = await ownDevnet(settings, options)
    if (devnet !== undefined)
      log.warn({ url: devnet.url }, 'a devnet runs in this relay: its coins are worth nothing')
    try {
      const chain = await openChain(settings)
      try {
        const directory = walletDirectory(data)
        const desk = await Desk.open({ directory, keys, chain, now, backupFile: settings.backup })
        return new Treasury(options, desk, devnet)
      } catch (error) {
        await chain.close()
        throw error
      }
    } catch (error) {
      await devnet?.close()
      throw error
    }
  }

  private constructor(options: TreasuryOptions, desk: Desk, devnet: DevnetServer | undefined) {
    this.#options = options
    this.desk = desk
    this.#devnet = devnet
  }

  /** Follows the chain from now on, until `close`. Never throws: what is wrong is in the log, once for each change. */
  keepFollowing(): void {
    const turn = () => {
      this.#turn = this.#follow()
    }
    turn()
    this.#timer = setInterval(turn, followEveryMs)
  }

  /** As it was when the chain was followed last. */
  get status() {
    const {
      network,
      chain = null,
      tip = null,
      height = null,
      isCurrent = false,
    } = { ...this.#asOf, network: this.desk.network }
    return {
      network,
      chain,
      tip,
      height,
      isCurrent,
      unavailable: this.#asOf?.unavailable ?? null,
      heardAt: this.#heardAt ?? null,
      balance: this.#balance ?? null,
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#turn
    try {
      await this.desk.close()
    } finally {
      await this.#devnet?.close()
    }
  }

  async #follow(): Promise<void> {
    const { log, now } = this.#options
    const before = this.#asOf?.unavailable ?? null
    try {
      this.#asOf = await this.desk.follow(passesPerTurn)
      this.#balance = await this.desk.wallet.balance()
      if (this.#asOf.unavailable === null) this.#heardAt = now()
    } catch (err) {
      log.warn({ err }, 'the coins could not follow the chain')
      return
    }
    const { unavailable, network, tip } = this.#asOf
    if (unavailable !== null && before === null)
      log.warn({ network, reason: unavailable }, 'the chain does not answer')
    if (unavailable === null && before !== null) log.info({ network, tip }, 'the chain answers again')
  }
}

function ownDevnet(
  { chain }: ChainSettings,
  { data, now, log }: TreasuryOptions,
): Promise<DevnetServer | undefined> {
  if (chain !== 'devnet') return Promise.resolve(undefined)
  const onError = (err: unknown) => log.warn({ err }, 'the devnet could not mine a block')
  return ensureDevnet(devnetUrl, { directory: join(data, 'devnet'), now, blockEveryMs, onError })
}
