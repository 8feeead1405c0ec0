/** The topics that this overlay hosts. */
import type { Chain } from '../../contracts/chain/chain.ts'
import { marketService, marketTopic } from '../../contracts/overlay/token.ts'
import { boxService, boxTopic } from '../../contracts/overlay/box-host.ts'
import { hostingNames } from '../../contracts/overlay/host-advert.ts'
import { phipServices, phipTopic } from '../../contracts/overlay/phip.ts'
import { boxHosts } from './box-hosts.ts'
import { hostAdverts } from './host-adverts.ts'
import { MarketIndex } from './market-lookup.ts'
import { MarketTopic } from './market-topic.ts'
import type { OverlayOptions } from './overlay.ts'
import { type PhipClaim, phipKind } from './phip-routes.ts'
import type { Rows } from './rows.ts'
import type { LevelStorage } from './storage.ts'
import type { TokenIndex } from './token-index.ts'
import { openTokenTopic } from './token-topic.ts'
import type { Topic } from './topic.ts'

export interface TopicDeps extends Pick<OverlayOptions, 'network' | 'now' | 'bits' | 'most' | 'denied'> {
  /** It does not fail: the engine would take that for an answer. */
  readonly chain: () => Pick<Chain, 'isUnspent'>
  readonly rows: Rows
  readonly storage: LevelStorage
}

export const topicNames: readonly string[] = [
  ...[marketTopic, boxTopic, hostingNames.SHIP.topic, hostingNames.SLAP.topic, phipTopic],
]

/** Under the names of BRC-87. */
export const serviceNames: readonly string[] = [
  ...[marketService, boxService, hostingNames.SHIP.service, hostingNames.SLAP.service, phipServices[0]],
]

export interface Topics {
  readonly all: readonly Topic[]
  /** Who takes messages for whom. */
  readonly phip: TokenIndex<PhipClaim>
}

export async function openTopics(deps: TopicDeps): Promise<Topics> {
  const phip = await openTokenTopic(phipKind(deps.denied ?? new Set()), deps)
  const others = [
    openMarket(deps),
    openTokenTopic(boxHosts, deps),
    openTokenTopic(hostAdverts.SHIP, deps),
    openTokenTopic(hostAdverts.SLAP, deps),
  ]
  return { all: [...(await Promise.all(others)), phip], phip: phip.index }
}

async function openMarket({ rows, storage, now, most, ...rest }: TopicDeps): Promise<Topic> {
  const name = marketTopic
  const index = await MarketIndex.open({
    ...{ rows, now, most },
    remove: (outpoint) => storage.remove(outpoint, name),
    beefBytes: (outpoint) => storage.beefOf(outpoint, name)?.length ?? 0,
  })
  const manager = new MarketTopic({ ...rest, now, index })
  return {
    ...{ name, service: marketService, manager, lookup: index },
    concerns: (transaction) => manager.concerns(transaction),
    held: () => index.held(),
    sweep: (time) => index.sweep(time),
  }
}
