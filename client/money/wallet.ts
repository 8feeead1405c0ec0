/** The coins of this home: opened with its key, on the chain that was named last. */
import { resolve } from 'node:path'
import type { Chain, Network } from '../../contracts/chain/chain.ts'
import { type ChainOptions, chainForLater, openChain, parseChain } from '../../contracts/chain/open.ts'
import {
  type ChainSettings,
  type GivenSettings,
  rememberSettings,
  settingsOf,
} from '../../contracts/chain/settings.ts'
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
 * What is named is remembered once the chain answered and the coins are open.
 * @param keep whether the backup file that was named is kept as new as the coins
 * @throws ERR_USAGE when no chain was ever named, and for a backup that cannot be written; ERR_CONFLICT for coins, a chain or a backup that do not belong together;
 * ERR_BUSY when another process has the coins open
 */
export async function openCoins(
  ctx: Context,
  { keys, options, keep }: { keys: KeyWallet; options: CoinOptions; keep: boolean },
): Promise<OpenCoins> {
  const { home, now } = ctx
  const settings = await namedSettings(ctx, options)
  const { chain, away } = await reach(ctx, settings)
  try {
    const desk = await Desk.open({ directory: home.coins, keys, chain, now, waitMs: options.waitMs })
    try {
      if (keep) await keepBackup(desk, { path: settings.backup, isNew: Boolean(options.backup), home })
      // A backup that was not written is not remembered, nor a chain that did not answer.
      const worked = keep ? settings : await namedSettings(ctx, { ...options, backup: undefined })
      if (away === undefined) await rememberSettings(home.chainFile, worked)
      return { desk, away, settings }
    } catch (error) {
      await desk.close()
      throw error
    }
  } catch (error) {
    await chain.close()
    throw error
  }
}

/** The chain that was named, without the coins. Closed by whoever opened it. @throws ERR_USAGE; ERR_CHAIN_UNAVAILABLE */
export const openView = async (ctx: Context, options: CoinOptions): Promise<Chain> =>
  openChain({ ...(await namedSettings(ctx, options)), ...wayOf(ctx) })

/** Whose money it is, told without the coins and without the chain. @throws ERR_USAGE; ERR_MALFORMED */
export async function networkOf(ctx: Context, options: CoinOptions): Promise<Network> {
  const chain = chainForLater(await namedSettings(ctx, options))
  await chain.close()
  return chain.network
}

/** The user named the chain: it may be anywhere, and is reached as relays are. */
const wayOf = ({ dialer }: Context): Pick<ChainOptions, 'agentOf'> => ({
  agentOf: (url, options) => dialer.agentOf(url, options),
})

async function namedSettings({ home }: Context, options: CoinOptions): Promise<ChainSettings> {
  const { chain, headers, network, backup } = options
  const given = { chain, headers, network, ...(backup && { backup: resolve(backup) }) }
  const settings = await settingsOf(home.chainFile, given)
  if (settings !== undefined) return settings
  throw new ClientError(
    'ERR_USAGE',
    'no chain was named yet: --chain devnet, devnet:URL, node:URL or arc:URL, or RELAY_CHAIN; it is remembered then',
  )
}

async function keepBackup(
  desk: Desk,
  { path, isNew, home }: { path: string | undefined; isNew: boolean; home: Context['home'] },
): Promise<void> {
  if (path === undefined) return
  try {
    await desk.keepBackup(path)
  } catch (error) {
    if (!(error instanceof MarketError) || error.code !== 'ERR_INTERNAL') throw error
    const { code = '' } = (error.cause ?? {}) as NodeJS.ErrnoException
    const why = whyUnwritten[code] ?? (code || error.message)
    const help = isNew ? '' : `; to keep none, remove ${home.chainFile} and name the --chain again`
    throw new ClientError(
      'ERR_USAGE',
      `the backup cannot be written to ${path} (${why}): name another file with --backup FILE${help}`,
      error,
    )
  }
}

const whyUnwritten: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such folder',
  EACCES: 'you may not write there',
  EPERM: 'you may not write there',
  EROFS: 'nothing can be written there',
  ENOSPC: 'the disk is full',
}

const startDevnet = 'start one with relayd devnet, or relayd start --chain devnet'

async function reach(
  ctx: Context,
  settings: ChainSettings,
): Promise<{ chain: Chain; away: MarketError | undefined }> {
  try {
    return { chain: await openChain({ ...settings, ...wayOf(ctx) }), away: undefined }
  } catch (error) {
    if (!(error instanceof MarketError) || error.code !== 'ERR_CHAIN_UNAVAILABLE') throw error
    const choice = parseChain(settings.chain)
    // What is no name of a network was refused before anything was asked.
    const network = (settings.network ?? (choice.kind === 'devnet' ? 'devnet' : 'main')) as Chain['network']
    const away =
      network === 'devnet'
        ? new MarketError(error.code, `${error.message}: ${startDevnet}`, { cause: error })
        : error
    return { chain: awayChain(choice, network, away), away }
  }
}
