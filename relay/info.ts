/** What the relay says of itself to everybody (docs/protocol.md §7.4). */
import { type Feature, features, type Info, protocolVersion } from '../contracts/api.ts'
import type { Config } from './config.ts'
import { software, version } from './version.ts'

export function describe(
  { limits, board, boxes }: Config,
  {
    key,
    url,
    network,
    hasTill,
    contracts,
    capacity,
    advert,
  }: Pick<Info, 'key' | 'network' | 'contracts' | 'capacity' | 'advert'> & { url: string; hasTill: boolean },
): Info {
  const { recordBytes, ttl, page, batch, bodyBytes, replyBytes, subscriptions, replay } = limits
  return {
    key,
    network,
    software,
    version,
    protocol: protocolVersion,
    features: offeredFeatures({ hasTill, hasBoard: board, hasBoxes: boxes.isServed }),
    limits: { recordBytes, ttl, page, batch, bodyBytes, replyBytes, subscriptions, replay },
    capacity,
    advert,
    contracts,
    endpoints: { http: `${url}/`, websocket: `${url.replace(/^http/, 'ws')}/` },
  }
}

/** Of all features, those that this relay has. */
export const offeredFeatures = ({
  hasTill,
  hasBoard,
  hasBoxes,
}: {
  hasTill: boolean
  hasBoard: boolean
  hasBoxes: boolean
}): Feature[] =>
  features.filter((feature) => {
    if (feature === 'boxes') return hasBoxes
    if (feature === 'withdraw' || feature === 'contracts') return hasTill
    return feature !== 'adverts' || hasBoard
  })
