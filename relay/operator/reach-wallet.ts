/** Where orders about coins go: to the relay that runs on a data directory, or to its coins when none does. */
import type { GivenSettings } from '../../contracts/chain/settings.ts'
import type { RecoveryProgress } from '../../contracts/wallet/backup/recover.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { MarketError } from '../../market/errors.ts'
import { controlFile, keyFile } from '../data-directory.ts'
import { Treasury } from '../treasury.ts'
import { Cashier, type WalletOrder, type WalletOrderOf, type WalletResultOf } from './cashier.ts'
import { control, interrupted } from './control.ts'
import { answers, refuseNone } from './reach-running.ts'

export interface ReachedWallet {
  /** @throws ERR_BUSY once the command is interrupted, and whatever the order throws */
  send<O extends WalletOrder>(order: O, args: WalletOrderOf<O>): Promise<WalletResultOf<O>>
  close(): Promise<void>
}

interface ReachOptions {
  readonly data: string
  readonly signal: AbortSignal
  /** Opens the relay's key where no relay runs. */
  readonly passphrase?: string | undefined
}

export interface ReachWalletOptions extends ReachOptions {
  /** Where no relay runs; one that runs has its chain. */
  readonly given: GivenSettings
  readonly isRecovering: boolean
  readonly onProgress?: (progress: RecoveryProgress) => void
}

/** @throws ERR_NOT_FOUND when there is no relay in `data`; ERR_CONFLICT for options that a running relay cannot take */
export async function reachWallet(options: ReachWalletOptions): Promise<ReachedWallet> {
  const { data, signal, given, isRecovering, onProgress } = options
  if (await answers(data, signal)) {
    if (Object.values(given).some((value) => value !== undefined) && !isRecovering)
      throw new MarketError(
        'ERR_CONFLICT',
        'a relay runs here, and has its chain: leave out the options of chains',
      )
    return over(signal, (order, args) => control(controlFile(data), order, args, signal))
  }
  await refuseNone(data)
  const treasury = await openCoins(options, given)
  const cashier = new Cashier({ treasury, isServing: false, data, ...(onProgress && { onProgress }) })
  const hangUp = () => void treasury?.hangUp()
  signal.addEventListener('abort', hangUp)
  return {
    ...over(signal, (order, args) => cashier.execute(order, args, signal)),
    async close() {
      signal.removeEventListener('abort', hangUp)
      await treasury?.close()
    },
  }
}

/** The backup of the coins of a relay that does not run. The chain is not asked for it. */
export async function exportCoins(options: ReachOptions): Promise<Uint8Array> {
  const treasury = await openCoins({ ...options, isRecovering: true }, {})
  if (treasury === undefined)
    throw new MarketError(
      'ERR_CONFLICT',
      'there are coins, but no chain is known: name it with relayd wallet',
    )
  try {
    return await treasury.export()
  } finally {
    await treasury.close()
  }
}

async function openCoins(
  { data, passphrase, isRecovering, signal }: ReachOptions & { isRecovering: boolean },
  given: GivenSettings,
): Promise<Treasury | undefined> {
  const keys = await openKeyFile(keyFile(data), passphrase === undefined ? {} : { passphrase })
  const treasury = await Treasury.open({
    ...{ data, keys, given, isRecovering, isServing: false, log: silent },
    ...{ now: Date.now, monotonic: () => performance.now() },
  })
  try {
    if (!isRecovering) await treasury?.recoverLost(signal)
    return treasury
  } catch (error) {
    await treasury?.close()
    throw error
  }
}

/** Orders by their names. What a relay of this same program says has the form of their results. */
const over = (
  signal: AbortSignal,
  carryOut: (order: string, args: unknown) => Promise<unknown>,
): ReachedWallet => ({
  async send(order, args) {
    if (signal.aborted) throw interrupted()
    return (await carryOut(order, args)) as never
  },
  async close() {},
})

const silent = { info: () => undefined, warn: () => undefined }
