/** What the operator may order of his relay's coins, whether it is running or not. */
import { resolve } from 'node:path'
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { mostSatoshi } from '../../market/units.ts'
import type { Balance } from '../../contracts/wallet/actions/lists.ts'
import type { RecoveryProgress } from '../../contracts/wallet/backup/recover.ts'
import { exists, walletBackup, walletDirectory } from '../data-directory.ts'
import type { Treasury } from '../treasury.ts'
import { executeOrder } from './execute.ts'

export const mostHistory = 1000

const Satoshi = z.int().min(1).max(mostSatoshi)
const Nothing = z.strictObject({})
const Birthday = z.union([
  z.strictObject({ height: z.int().min(0) }),
  z.strictObject({ time: z.int().min(0) }),
])

const WalletOrders = {
  'wallet-balance': Nothing,
  'wallet-address': Nothing,
  'wallet-send': z.strictObject({ address: z.string().min(1).max(128), satoshis: Satoshi }),
  'wallet-history': z.strictObject({ limit: z.int().min(1).max(mostHistory) }),
  'wallet-backup': z.strictObject({ file: z.string().min(1) }),
  'wallet-recover': z.strictObject({ birthday: Birthday.optional(), backup: z.string().min(1).optional() }),
  'wallet-faucet': z.strictObject({ satoshis: Satoshi }),
} as const
export type WalletOrder = keyof typeof WalletOrders
export type WalletOrderOf<O extends WalletOrder> = z.infer<(typeof WalletOrders)[O]>
export type WalletResultOf<O extends WalletOrder> = Awaited<ReturnType<Cashier[O]>>

export interface CashierOptions {
  /** Undefined where no chain was ever named. */
  readonly treasury: Treasury | undefined
  /** A relay runs with these coins. */
  readonly isServing: boolean
  /** The relay's folder, and who hears how far a recovery is; where no relay runs. */
  readonly data?: string
  readonly onProgress?: (progress: RecoveryProgress) => void
}

export class Cashier {
  readonly #options: CashierOptions

  constructor(options: CashierOptions) {
    this.#options = options
  }

  knows(order: string): order is WalletOrder {
    return Object.hasOwn(WalletOrders, order)
  }

  /** @throws as `executeOrder` */
  execute(order: string, args: unknown, signal: AbortSignal): Promise<unknown> {
    return executeOrder(WalletOrders, this, { order, args, signal })
  }

  async 'wallet-balance'(_order: WalletOrderOf<'wallet-balance'>) {
    const balance = await this.#treasury.desk.balance()
    await this.#treasury.note(balance)
    return { satoshis: sumOf(balance), ...balance }
  }

  async 'wallet-address'(_order: WalletOrderOf<'wallet-address'>) {
    return this.#treasury.desk.address()
  }

  /** With what is left. @throws as `Desk.send` */
  async 'wallet-send'({ address, satoshis }: WalletOrderOf<'wallet-send'>) {
    const { desk } = this.#treasury
    const sending = await desk.send(address, satoshis)
    await this.#treasury.note()
    return { ...sending, left: sumOf(await desk.wallet.balance()) }
  }

  /** Newest first, and how far it agrees with the chain. */
  async 'wallet-history'({ limit }: WalletOrderOf<'wallet-history'>) {
    const { desk } = this.#treasury
    const asOf = await desk.follow()
    return { ...asOf, entries: await desk.history(limit) }
  }

  async 'wallet-backup'({ file }: WalletOrderOf<'wallet-backup'>) {
    const { desk } = this.#treasury
    await desk.backup(file)
    return { file, network: desk.network }
  }

  /**
   * From the backup that is named, else, without a birthday, from one that was restored or that is kept; else from the key.
   * @throws ERR_CONFLICT while a relay uses the coins, and as `Desk.recover`
   */
  async 'wallet-recover'(order: WalletOrderOf<'wallet-recover'>, signal: AbortSignal) {
    const { isServing, data = '', onProgress } = this.#options
    if (isServing) throw new MarketError('ERR_CONFLICT', 'stop the relay first: it uses these coins')
    const treasury = this.#treasury
    const { birthday } = order
    const { desk } = treasury
    const { store } = desk.wallet
    const isUsed = store.counter('action') > 0 || store.counter('coin') > 0
    const isUnderWay = store.recovery() !== undefined
    if (order.backup === undefined && birthday === undefined && isUsed && !isUnderWay)
      throw new MarketError(
        'ERR_CONFLICT',
        'these coins are in use and follow the chain: there is nothing to recover; --birthday HEIGHT or DATE looks through the chain again',
      )
    if (birthday !== undefined && 'height' in birthday) {
      const { height } = await desk.wallet.getHeight()
      if (birthday.height > height)
        throw new MarketError(
          'ERR_MALFORMED',
          `--birthday is in the future: the newest block has height ${height}`,
        )
    }
    const backup = order.backup ?? (birthday === undefined ? await backupOf(treasury, data) : undefined)
    if (backup !== undefined && (isUsed || store.place() !== undefined) && !isUnderWay)
      throw new MarketError(
        'ERR_CONFLICT',
        `these coins are in use, and no backup is merged with them: move the folder ${walletDirectory(data)} away first`,
      )
    if (backup === undefined && birthday === undefined && !isUnderWay)
      throw new MarketError(
        'ERR_MALFORMED',
        'there is no backup here: name --backup FILE, or --birthday HEIGHT or DATE to look with the key alone',
      )
    const report = await desk.recover({
      signal,
      ...(birthday && { birthday }),
      ...(backup !== undefined && { backup: resolve(backup) }),
      ...(onProgress && { onProgress }),
    })
    await treasury.keepBackup()
    return { ...report, network: treasury.network, backup: backup ?? null }
  }

  /** @throws ERR_FORBIDDEN where coins are worth something */
  async 'wallet-faucet'({ satoshis }: WalletOrderOf<'wallet-faucet'>) {
    const paid = await this.#treasury.desk.faucet(satoshis)
    await this.#treasury.note()
    return { ...paid, satoshis }
  }

  get #treasury(): Treasury {
    const { treasury, isServing } = this.#options
    if (treasury !== undefined) return treasury
    const how = isServing ? 'start it with --chain' : 'name one with --chain'
    throw new MarketError(
      'ERR_CONFLICT',
      `this relay has no wallet, for it was never told of a chain: ${how}`,
    )
  }
}

/** All there is. */
const sumOf = ({ confirmed, unconfirmed, reserved }: Balance): number => confirmed + unconfirmed + reserved

async function backupOf({ backupFile }: Treasury, data: string): Promise<string | undefined> {
  const restored = walletBackup(data)
  if (await exists(restored)) return restored
  return backupFile !== undefined && (await exists(backupFile)) ? backupFile : undefined
}
