/** What the relay says of itself to everybody (docs/protocol.md §7.4). */
import { features, type Info, protocolVersion } from '../contracts/api.ts'
import type { Config } from './config.ts'
import { software, version } from './version.ts'

export function describe(
  { limits }: Config,
  {
    key,
    url,
    network,
    hasTill,
    contracts,
  }: Pick<Info, 'key' | 'network' | 'contracts'> & { url: string; hasTill: boolean },
): Info {
  const { recordBytes, ttl, page, batch, bodyBytes, replyBytes, subscriptions, replay } = limits
  return {
    key,
    network,
    software,
    version,
    protocol: protocolVersion,
    features: features.filter((feature) => hasTill || (feature !== 'withdraw' && feature !== 'contracts')),
    limits: { recordBytes, ttl, page, batch, bodyBytes, replyBytes, subscriptions, replay },
    advert: null,
    contracts,
    endpoints: { http: `${url}/`, websocket: `${url.replace(/^http/, 'ws')}/` },
  }
}
