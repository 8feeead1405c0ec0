/** How a relay sees the chain: the one that it is told, or was told last, and a devnet of its own where that is wanted. */
import { resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Chain } from '../contracts/chain/chain.ts'
import { ensureDevnet } from '../contracts/chain/devnet/local.ts'
import type { DevnetServer } from '../contracts/chain/devnet/server.ts'
import { chainForLater, devnetUrl } from '../contracts/chain/open.ts'
import {
  type ChainSettings,
  type GivenSettings,
  rememberSettings,
  settingsOf,
} from '../contracts/chain/settings.ts'
import { MarketError } from '../market/errors.ts'
import { chainFile, devnetDirectory } from './data-directory.ts'

export interface SightOptions {
  readonly data: string
  readonly given: GivenSettings
  readonly now: () => number
  readonly log: {
    info(facts: object, message: string): void
    warn(facts: object, message: string): void
  }
  /** Where `--chain devnet` is; another place for tests. */
  readonly devnetUrl?: string | undefined
  /** For a relay that serves: it keeps a devnet itself when none answers, and says at once what is wrong with the chain. */
  readonly isServing: boolean
}

export interface Sight {
  readonly settings: ChainSettings
  /** It need not have answered yet. */
  readonly chain: Chain
  /** That this process keeps. */
  readonly devnet: DevnetServer | undefined
  /** For the next start. */
  remember(): Promise<void>
  close(): Promise<void>
}

const answerMs = 10_000
/** What a start waits for a chain that hangs: serving records needs none. */
const startMs = 5000
/** Of a devnet that this relay keeps for itself. */
const blockEveryMs = 10_000

/**
 * Undefined where no chain was ever named.
 * @throws ERR_MALFORMED; while serving also ERR_CONFLICT, for another network's chain and for a devnet's address that
 * something else has. A chain that does not answer is in the log, and asked again later
 */
export async function openSight(options: SightOptions): Promise<Sight | undefined> {
  const { data, given, isServing } = options
  const file = chainFile(data)
  const absolute = { ...given, ...(given.backup && { backup: resolve(given.backup) }) }
  const settings = await settingsOf(file, absolute)
  if (settings === undefined) return undefined
  const isLocal = settings.chain === 'devnet'
  const url = options.devnetUrl ?? devnetUrl
  const devnet = isLocal && isServing ? await ownDevnet(url, options) : undefined
  try {
    const address = isLocal ? `devnet:${devnet?.url ?? url}` : settings.chain
    const chain = chainForLater({ ...settings, chain: address, timeoutMs: answerMs })
    const close = async () => {
      await chain.close()
      await devnet?.close()
    }
    try {
      if (isServing) await refuseOtherMoney(chain)
      return { settings, chain, devnet, close, remember: () => rememberSettings(file, settings) }
    } catch (error) {
      await chain.close()
      throw error
    }
  } catch (error) {
    await devnet?.close()
    throw error
  }
}

async function ownDevnet(url: string, { data, now, log }: SightOptions): Promise<DevnetServer | undefined> {
  const onError = (err: unknown) => log.warn({ err }, 'the devnet could not mine a block')
  try {
    const directory = devnetDirectory(data)
    const devnet = await ensureDevnet(url, { directory, now, blockEveryMs, onError })
    if (devnet !== undefined)
      log.warn({ devnet: devnet.url }, 'a devnet runs in this relay: its coins are worth nothing')
    return devnet
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cause
    throw new MarketError(
      'ERR_CONFLICT',
      `what listens on ${url} is no devnet; name another with --chain devnet:URL`,
      { cause },
    )
  }
}

/** One that does not answer is in the log as soon as the coins should follow it. @throws ERR_CONFLICT */
async function refuseOtherMoney(chain: Chain): Promise<void> {
  const asked = chain.tip().then(
    () => undefined,
    (error: unknown) => error,
  )
  const error = await Promise.race([asked, setTimeout(startMs, undefined, { ref: false })])
  const isAway = error instanceof MarketError && error.code === 'ERR_CHAIN_UNAVAILABLE'
  if (error !== undefined && !isAway) throw error
}
