/** What a store says of itself in its first row: the version of its key table, and its epoch. */
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { Milliseconds } from '../../market/units.ts'
import { damaged } from './codec.ts'
import type { Database } from './database.ts'
import { everything, metaKey } from './keys.ts'

/** Raised with every change of keys.ts or of a row that older programs cannot read. */
export const storeVersion = 2

/** Epochs before the present one whose cursors are still understood; those of older ones list from the beginning. */
const rememberedEpochs = 16

const EpochName = z.string().regex(/^[0-9a-f]{16}$/)

export const Meta = z.object({
  version: z.int().min(1),
  epoch: EpochName,
  startedAt: Milliseconds,
  /** Unset unless the store was restored from a backup: what was answered in the time before is forgotten. */
  restoredAt: Milliseconds.optional(),
  /** Oldest first; see place.ts. */
  earlier: z.array(z.object({ epoch: EpochName, lastPlace: z.int().min(0) })).optional(),
})
export type Meta = z.infer<typeof Meta>

/** Whether no store was ever made of it. */
export const isUnwritten = (database: Database): boolean => database.get(metaKey('store')) === undefined

/**
 * What the store says of itself; an empty database becomes a new store.
 * @throws ERR_INTERNAL when it is damaged, no store, or made by a newer version of this program (`extras.reason`).
 */
export async function openMeta(database: Database, now: number): Promise<Meta> {
  const stored = database.get(metaKey('store'))
  if (stored !== undefined) return checkVersion(decodeMeta(stored))
  if (await hasRows(database)) throw damaged('it has rows but does not say what it is')
  const meta: Meta = { version: storeVersion, epoch: newEpoch(), startedAt: now }
  await writeMeta(database, meta)
  return meta
}

/** What a store says of itself that was restored from a backup of `meta` which ends with `lastPlace`. */
export function restoredMeta(meta: Meta, { now, lastPlace }: { now: number; lastPlace: number }): Meta {
  const earlier = [...(meta.earlier ?? []), { epoch: meta.epoch, lastPlace }].slice(-rememberedEpochs)
  return { version: meta.version, epoch: newEpoch(), startedAt: now, restoredAt: now, earlier }
}

export const writeMeta = (database: Database, meta: Meta): Promise<void> =>
  database.write([{ key: metaKey('store'), value: Buffer.from(JSON.stringify(meta)) }])

const newEpoch = (): string => toHex(randomBytes(8))

/** @throws ERR_INTERNAL when it does not decode. */
export function decodeMeta(stored: Buffer): Meta {
  try {
    return Meta.parse(JSON.parse(stored.toString()))
  } catch (cause) {
    throw damaged('what it says of itself does not decode', cause)
  }
}

/** @throws ERR_INTERNAL when another version of this program made the store: none was released whose rows this one could read. */
export function checkVersion(meta: Meta): Meta {
  if (meta.version === storeVersion) return meta
  const reason = meta.version > storeVersion ? 'newer' : 'older'
  const sentence = `the store has version ${meta.version}, this program knows only ${storeVersion}`
  throw new MarketError('ERR_INTERNAL', sentence, { extras: { reason } })
}

async function hasRows(database: Database): Promise<boolean> {
  const scan = database.scan(everything)
  const rows = await scan.next(1)
  await scan.close()
  return rows.length > 0
}
