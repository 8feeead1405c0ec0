/** What a recovery needs before anything is looked for, in words that say what to do. */
import type { CoinStore } from '../../contracts/wallet/coins/store.ts'
import { isFound } from '../../contracts/wallet/sync/found.ts'
import type { Desk } from '../../contracts/wallet/desk.ts'
import { MarketError } from '../../market/errors.ts'
import { ClientError } from '../errors.ts'
import type { Home } from '../home/home.ts'
import type { RecoverOptions } from './coins.ts'

/**
 * @throws ERR_USAGE where nothing is to be recovered, and for a height that is still to come; ERR_CONFLICT for a backup
 * beside coins that are in use
 */
export async function checkNeeded(
  { backup, birthday }: RecoverOptions,
  { desk, isOnlyFound, home }: { desk: Desk; isOnlyFound: boolean; home: Home },
): Promise<void> {
  if (birthday !== undefined && 'height' in birthday) {
    const { height } = await desk.wallet.getHeight()
    if (birthday.height > height)
      throw new ClientError('ERR_USAGE', `--birthday is in the future: the newest block has height ${height}`)
  }
  if (isOnlyFound || desk.wallet.store.recovery() !== undefined) return
  if (backup !== undefined)
    throw new MarketError(
      'ERR_CONFLICT',
      `these coins are in use, and no backup is merged with them: move the folder ${home.coins} away first`,
    )
  if (birthday === undefined)
    throw new ClientError(
      'ERR_USAGE',
      'these coins are in use and have all that their newest backup has: there is nothing to recover. ' +
        '--birthday HEIGHT or DATE looks through the chain again',
    )
}

/** Where no backup was found. @throws ERR_USAGE */
export function checkSource({ birthday, isKeyOnly = false }: Omit<RecoverOptions, 'signal'>): void {
  if (birthday !== undefined) return
  throw new ClientError(
    'ERR_USAGE',
    isKeyOnly
      ? '--key-only needs --birthday HEIGHT or DATE'
      : 'there is no backup on your relays: name --backup FILE, or --birthday HEIGHT or DATE to look with the key alone',
  )
}

/** True where all that is known was told by the chain, which tells it again. */
export async function isOnlyFound(store: CoinStore): Promise<boolean> {
  for await (const action of store.actions()) if (!isFound(action)) return false
  return true
}
