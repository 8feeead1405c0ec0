/** What a host of overlays works with, opened together: its rows, its topics and the engine over them. */
import { mkdir } from 'node:fs/promises'
import type { Engine } from '@bsv/overlay/Engine.ts'
import type { Chain } from '../../contracts/chain/chain.ts'
import { MarketError } from '../../market/errors.ts'
import type { OverlayOptions } from './overlay.ts'
import type { LookupService } from '@bsv/overlay/LookupService.ts'
import { OverlayRows } from './rows.ts'
import { LevelStorage } from './storage.ts'
import type { Topic } from './topic.ts'
import { openTopics, type Topics, topicNames } from './topics.ts'

export interface Hosting {
  readonly rows: OverlayRows
  readonly storage: LevelStorage
  /** By their names. */
  readonly topics: ReadonlyMap<string, Topic>
  readonly phip: Topics['phip']
  readonly engine: Engine
}

/** @throws as `OverlayRows.open` */
export async function openHosting(options: OverlayOptions): Promise<Hosting> {
  const { directory, now, chain, log } = options
  // Of the package only this: what keeps it in SQL is never loaded.
  const { Engine } = await import('@bsv/overlay/Engine.ts')
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const rows = await OverlayRows.open(directory)
  try {
    const storage = await LevelStorage.open(rows, now, topicNames)
    const { all: topics, phip } = await openTopics({
      ...options,
      chain: () => patient(chain()),
      rows,
      storage,
    })
    const managers = Object.fromEntries(topics.map(({ name, manager }) => [name, manager]))
    const services = Object.fromEntries(
      topics.flatMap((topic) => {
        const lookup = onlyOf(topic)
        return [topic.service, ...(topic.aliases ?? [])].map((name) => [name, lookup])
      }),
    )
    const headers = {
      currentHeight: () => chain().currentHeight(),
      isValidRootForHeight: (root: string, height: number) => chain().isValidRootForHeight(root, height),
    }
    const engine = new Engine(managers, services, storage, headers)
    const error = (...said: unknown[]) => log.warn({ said }, 'the engine of the overlay met an error')
    Object.assign(engine, { logger: { error } })
    return {
      rows,
      storage,
      engine,
      topics: new Map(topics.map((topic) => [topic.name, topic])),
      phip,
    }
  } catch (error) {
    await rows.close()
    throw error
  }
}

/** What the chain does not tell now is not known: what was spent is found when it is looked at again. */
const patient = (chain: Chain): Pick<Chain, 'isUnspent'> => ({
  isUnspent: (outpoint) =>
    chain.isUnspent(outpoint).catch((error: unknown) => {
      if (error instanceof MarketError && error.code === 'ERR_CHAIN_UNAVAILABLE') return undefined
      throw error
    }),
})

/** The engine tells each service of the outputs of all topics. */
function onlyOf({ name, lookup }: Topic): LookupService {
  return {
    admissionMode: lookup.admissionMode,
    spendNotificationMode: lookup.spendNotificationMode,
    async outputAdmittedByTopic(payload) {
      if (payload.topic === name) await lookup.outputAdmittedByTopic(payload)
    },
    async outputSpent(payload) {
      if (payload.topic === name) await lookup.outputSpent?.(payload)
    },
    outputEvicted: (txid, outputIndex) => lookup.outputEvicted(txid, outputIndex),
    lookup: (question) => lookup.lookup(question),
    getDocumentation: () => lookup.getDocumentation(),
    getMetaData: () => lookup.getMetaData(),
  }
}
