/** The coins of this home: opened with its key, on the chain that was named last. */
import { resolve } from 'node:path'
import type { Chain } from '../../contracts/chain/chain.ts'
import { openChain, parseChain } from '../../contracts/chain/open.ts'
import { type ChainSettings, chainSettings, type GivenSettings } from '../../contracts/chain/settings.ts'
import { Desk } from '../../contracts/wallet/desk.ts'
import type { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { MarketError } from '../../market/errors.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { awayChain } from './away.ts'

export interface CoinOptions extends GivenSettings {
  /** How long to wait for another process that has the coins open. */
  readonly waitMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface OpenCoins {
  readonly desk: Desk
  /** The chain did not answer. */
  readonly away: MarketError | undefined
  readonly settings: ChainSettings
}

/**
 * @param keep whether the backup file that was named is kept as new as the coins
 * @throws ERR_USAGE when no chain was ever named; ERR_CONFLICT for coins, a chain or a backup that do not belong together;
 * ERR_BUSY when another process has the coins open
 */
export async function openCoins(
  { home, now }: Context,
  { keys, options, keep }: { keys: KeyWallet; options: CoinOptions; keep: boolean },
): Promise<OpenCoins> {
  const { chain: named, headers, network, backup, waitMs } = options
  const given = { chain: named, headers, network, ...(backup && { backup: resolve(backup) }) }
  const settings = await chainSettings(home.chainFile, given)
  if (settings === undefined)
    throw new ClientError(
      'ERR_USAGE',
      'no chain was named yet: --chain devnet, devnet:URL, node:URL or arc:URL, or RELAY_CHAIN; it is remembered then',
    )
  const { chain, away } = await reach(settings)
  try {
    const desk = await Desk.open({
      ...{ directory: home.coins, keys, chain, now, waitMs },
      ...(keep && { backupFile: settings.backup }),
    })
    return { desk, away, settings }
  } catch (error) {
    await chain.close()
    throw error
  }
}

async function reach(settings: ChainSettings): Promise<{ chain: Chain; away: MarketError | undefined }> {
  try {
    return { chain: await openChain(settings), away: undefined }
  } catch (error) {
    if (!(error instanceof MarketError) || error.code !== 'ERR_CHAIN_UNAVAILABLE') throw error
    const choice = parseChain(settings.chain)
    // What is no name of a network was refused before anything was asked.
    const network = (settings.network ?? (choice.kind === 'devnet' ? 'devnet' : 'main')) as Chain['network']
    return { chain: awayChain(choice, network, error), away: error }
  }
}
