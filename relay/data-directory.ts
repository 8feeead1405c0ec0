/** What lies in the folder of a relay (`--data`). A backup names its key the same (store/backup.ts). */
import { realpath, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, sep } from 'node:path'
import { MarketError } from '../market/errors.ts'

export const keyFile = (data: string): string => join(data, 'relay.key')
export const storeDirectory = (data: string): string => join(data, 'store')
/** The relay's coins (contracts/wallet/). */
export const walletDirectory = (data: string): string => join(data, 'wallet')
/** What the overlay holds (overlay/rows.ts): public, and no part of a backup. */
export const overlayDirectory = (data: string): string => join(data, 'overlay')
/** Of the coins, as `relayd restore` brought it: it is there until they are recovered from it. */
export const walletBackup = (data: string): string => join(data, 'wallet.backup')
/** The chain of a devnet that runs in the relay. */
export const devnetDirectory = (data: string): string => join(data, 'devnet')
/** Which chain it was last told to use (contracts/chain/settings.ts). */
export const chainFile = (data: string): string => join(data, 'chain.json')
/** What clients of contracts have signed, unless it lies elsewhere (escrow/payment-log.ts). */
export const paymentLogFile = (data: string): string => join(data, 'payments.log')
/** How a running relay is reached (operator/control.ts). */
export const controlFile = (data: string): string => join(data, 'control.json')

/** Whether there are coins, or were. */
export const hasCoins = (data: string): Promise<boolean> => exists(join(walletDirectory(data), 'CURRENT'))

/** Whether a relay was ever started on this folder. */
export const hasStore = (data: string): Promise<boolean> => exists(join(storeDirectory(data), 'CURRENT'))

/** A store without its key is another relay's past: what it signed for could never be answered for under a new key. */
export async function refuseLostKey(data: string): Promise<void> {
  const key = keyFile(data)
  if ((await exists(key)) || !(await hasStore(data))) return
  throw new MarketError('ERR_NOT_FOUND', `${key} is missing beside its store: put it back`)
}

/** @throws ERR_CONFLICT when it, or what it would lie in, is a file */
export async function refuseFile(data: string): Promise<void> {
  const found = await stat(data).catch((error: NodeJS.ErrnoException) => error.code)
  if (found === 'ENOTDIR' || (typeof found === 'object' && !found.isDirectory()))
    throw new MarketError('ERR_CONFLICT', `--data ${data}: there is a file, and a relay takes a folder`)
}

/** A copy among the files of the store would go with them, or harm them. @throws ERR_CONFLICT */
export async function refuseInside(data: string, directory: string): Promise<void> {
  const parent = async () => join(await realpath(dirname(directory)), 'new')
  const real = await realpath(directory)
    .catch(parent)
    .catch((cause) => {
      throw new MarketError('ERR_NOT_FOUND', `there is no folder ${dirname(directory)}`, { cause })
    })
  const below = relative(await realpath(data), real)
  if (below !== '..' && !below.startsWith(`..${sep}`) && !isAbsolute(below))
    throw new MarketError(
      'ERR_CONFLICT',
      `${directory} lies in the relay's own folder: a backup takes one elsewhere`,
    )
}

export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
