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
export const storeVersion = 1

export const Meta = z.object({
  version: z.int().min(1),
  epoch: z.string().regex(/^[0-9a-f]{16}$/),
  startedAt: Milliseconds,
})
export type Meta = z.infer<typeof Meta>

/**
 * What the store says of itself; an empty database becomes a new store.
 * @throws ERR_INTERNAL when it is damaged, no store, or made by a newer version of this program (`extras.reason`).
 */
export async function openMeta(database: Database, now: number): Promise<Meta> {
  const stored = database.get(metaKey('store'))
  if (stored !== undefined) return checkVersion(decode(stored))
  if (await hasRows(database)) throw damaged('it has rows but does not say what it is')
  const meta: Meta = { version: storeVersion, epoch: toHex(randomBytes(8)), startedAt: now }
  await database.write([{ key: metaKey('store'), value: Buffer.from(JSON.stringify(meta)) }])
  return meta
}

function decode(stored: Buffer): Meta {
  try {
    return Meta.parse(JSON.parse(stored.toString()))
  } catch (cause) {
    throw damaged('what it says of itself does not decode', cause)
  }
}

function checkVersion(meta: Meta): Meta {
  if (meta.version <= storeVersion) return meta
  throw new MarketError(
    'ERR_INTERNAL',
    `the store has version ${meta.version}, this program knows ${storeVersion}`,
    {
      extras: { reason: 'newer' },
    },
  )
}

async function hasRows(database: Database): Promise<boolean> {
  const scan = database.scan(everything)
  const rows = await scan.next(1)
  await scan.close()
  return rows.length > 0
}
