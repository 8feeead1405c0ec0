/** What a host of overlays works with, opened together: its rows, its topics and the engine over them. */
import { mkdir } from 'node:fs/promises'
import type { Engine } from '@bsv/overlay/Engine.ts'
import type { OverlayOptions } from './overlay.ts'
import { OverlayRows } from './rows.ts'
import { LevelStorage } from './storage.ts'
import type { Topic } from './topic.ts'
import { openTopics, topicNames } from './topics.ts'

export interface Hosting {
  readonly rows: OverlayRows
  readonly storage: LevelStorage
  /** By their names. */
  readonly topics: ReadonlyMap<string, Topic>
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
    const topics = await openTopics({ ...options, rows, storage })
    const managers = Object.fromEntries(topics.map(({ name, manager }) => [name, manager]))
    const services = Object.fromEntries(topics.map(({ service, lookup }) => [service, lookup]))
    const headers = {
      currentHeight: () => chain().currentHeight(),
      isValidRootForHeight: (root: string, height: number) => chain().isValidRootForHeight(root, height),
    }
    const engine = new Engine(managers, services, storage, headers)
    const error = (...said: unknown[]) => log.warn({ said }, 'the engine of the overlay met an error')
    Object.assign(engine, { logger: { error } })
    return { rows, storage, engine, topics: new Map(topics.map((topic) => [topic.name, topic])) }
  } catch (error) {
    await rows.close()
    throw error
  }
}
