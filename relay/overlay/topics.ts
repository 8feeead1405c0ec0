/** The topics that this overlay hosts. */
import { marketService, marketTopic } from '../../contracts/overlay/token.ts'
import { MarketIndex } from './market-lookup.ts'
import { MarketTopic } from './market-topic.ts'
import type { OverlayOptions } from './overlay.ts'
import type { Rows } from './rows.ts'
import type { LevelStorage } from './storage.ts'
import type { Topic } from './topic.ts'

export interface TopicDeps extends Pick<OverlayOptions, 'chain' | 'network' | 'now' | 'bits' | 'most'> {
  readonly rows: Rows
  readonly storage: LevelStorage
}

export const topicNames: readonly string[] = [marketTopic]

export const openTopics = (deps: TopicDeps): Promise<Topic[]> => Promise.all([openMarket(deps)])

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
