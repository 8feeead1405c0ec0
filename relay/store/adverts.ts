/** What is kept of adverts: those that stand on the board, and what this relay itself advertises. */
import { z } from 'zod'
import type { Key } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { damaged, row, text, uint } from './codec.ts'
import * as keys from './keys.ts'
import type { Store } from './store.ts'

const AdvertRow = row('advert', 1, { place: uint, text })

/** An advert on the board: `place` says when it came among the others. */
export interface Standing {
  readonly relay: Key
  readonly place: number
  readonly text: string
}

export const putStanding = (batch: Batch, { relay, place, text }: Standing): void =>
  batch.put(keys.advertKey(relay), AdvertRow.encode({ place, text }))

export const removeStanding = (batch: Batch, relay: Key): void => batch.del(keys.advertKey(relay))

/** All of them, in the order in which they came. */
export async function standings(store: Pick<Store, 'scan'>): Promise<Standing[]> {
  const scan = store.scan(keys.allAdverts)
  const found: Standing[] = []
  try {
    for (let rows = await scan.next(pageRows); rows.length > 0; rows = await scan.next(pageRows))
      for (const [key, value] of rows) found.push({ relay: keys.ownerOfKey(key), ...AdvertRow.decode(value) })
  } finally {
    await scan.close()
  }
  return found.sort((one, other) => one.place - other.place)
}

const pageRows = 256

/** What this relay says of itself, and where. */
export const OwnAdvert = z.strictObject({
  /** Its latest advert, a revocation too; it is here before anybody sees it. */
  text: z.string(),
  /** The channels that it is for, or was for. */
  channels: z.array(z.string()),
  /** The operator has revoked it: nothing is advertised before he says so. */
  isPaused: z.boolean(),
})
export type OwnAdvert = z.infer<typeof OwnAdvert>

export const ownAdvertRow = keys.metaKey('advert')

/** Undefined where this relay never advertised. @throws ERR_INTERNAL when it does not decode */
export function ownAdvert(store: Pick<Store, 'get'>): OwnAdvert | undefined {
  const stored = store.get(ownAdvertRow)
  return stored === undefined ? undefined : decodeOwnAdvert(stored)
}

/** @throws ERR_INTERNAL when it does not decode */
export function decodeOwnAdvert(stored: Buffer): OwnAdvert {
  try {
    return OwnAdvert.parse(JSON.parse(stored.toString()))
  } catch (cause) {
    throw damaged('its advert does not decode', cause)
  }
}

export const putOwnAdvert = (batch: Batch, own: OwnAdvert): void =>
  batch.put(ownAdvertRow, Buffer.from(JSON.stringify(own)))
