/** Which record holds the backup of the coins, and which are to go because it does. */
import { z } from 'zod'
import { RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import { readJson, writeDurably } from './durable.ts'
import type { Home } from './home.ts'
import type { Entry } from './outbox.ts'

const PlacedBackup = z.strictObject({
  /** None yet, in a home that goes on without the backup that others hold. */
  recordId: RecordId.optional(),
  network: z.string(),
  /** What the coins were then, for whoever asks whether they are something else now. */
  state: z.string(),
  takenMs: z.int().min(0),
  /** Records that are to go, each from a relay that has this one. */
  former: z.array(RecordId),
  /** Records that stay until they expire: the user went on without them. */
  ignored: z.array(RecordId).optional(),
})
export type PlacedBackup = z.infer<typeof PlacedBackup>

export const placedBackup = (home: Home): Promise<PlacedBackup | undefined> =>
  readJson(fileOf(home), PlacedBackup)

export const savePlacedBackup = (home: Home, placed: PlacedBackup): Promise<void> =>
  writeDurably(fileOf(home), JSON.stringify(placed))

/** Former backups that a relay keeps for now although they are deleted: it did not take the newer one yet. */
export async function sparedAt(
  home: Home,
  all: ReadonlyMap<RecordId, Entry>,
  relay: Key,
): Promise<ReadonlySet<RecordId>> {
  const { recordId, former = [] } = (await placedBackup(home)) ?? {}
  const newer = recordId === undefined ? undefined : all.get(recordId)
  const isAwaited = newer !== undefined && (newer.queued.has(relay) || newer.refused.has(relay))
  return new Set(isAwaited && !newer.accepted.has(relay) ? former : [])
}

const fileOf = (home: Home): string => home.path('wallet-backup.json')
