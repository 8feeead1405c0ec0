/** The devnet of this machine: the one that answers, or one that is started here. */
import { MarketError } from '../../../market/errors.ts'
import { parseAddress } from '../http.ts'
import { NodeChain } from '../node.ts'
import { checkNetwork } from '../networks.ts'
import { DevnetNode } from './node.ts'
import { type DevnetServer, type DevnetServerOptions, serveDevnet } from './server.ts'

export interface DevnetOptions extends Omit<DevnetServerOptions, 'node'> {
  /** Where its chain is kept; without, it is gone with the process. */
  readonly directory?: string | undefined
  readonly now: () => number
}

/** A devnet with its socket. @throws what the socket throws: the address may be taken */
export async function startDevnet({ directory, now, ...server }: DevnetOptions): Promise<DevnetServer> {
  const node = await DevnetNode.open({ now, ...(directory !== undefined && { directory }) })
  try {
    const served = await serveDevnet({ ...server, node })
    return {
      url: served.url,
      close: async () => {
        await served.close()
        await node.close()
      },
    }
  } catch (error) {
    await node.close()
    throw error
  }
}

/**
 * Sees to it that there is a devnet at `url`.
 * @returns the one that was started; undefined when one answers there already
 * @throws ERR_CONFLICT when something else answers there
 */
export async function ensureDevnet(
  url: string,
  options: Omit<DevnetOptions, 'host' | 'port'>,
): Promise<DevnetServer | undefined> {
  const chain = new NodeChain(parseAddress(url), 'devnet', { timeoutMs: 2000 })
  try {
    await checkNetwork(chain, chain)
    return undefined
  } catch (error) {
    if (!(error instanceof MarketError) || error.code !== 'ERR_CHAIN_UNAVAILABLE') throw error
  } finally {
    await chain.close()
  }
  const { hostname, port } = new URL(url)
  return startDevnet({ ...options, host: hostname, port: Number(port) })
}
