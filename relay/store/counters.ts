/**
 * What an owner holds and has moved, whether or not it was paid for; and the same of all owners together, the stock: in one
 * batch with what it counts, so that no crash comes between.
 */
import { billedBytes } from '../../market/price.ts'
import type { Key } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import type { Database } from './database.ts'
import * as keys from './keys.ts'
import { Counters } from './rows.ts'

const nothing: Readonly<Counters> = { records: 0, bytes: 0, ingressBytes: 0, egressBytes: 0, pulls: 0 }
export const stockRow = keys.metaKey('stock')

export function countersOf(from: Pick<Database, 'get'>, owner: Key): Counters {
  return read(from, keys.countersKey(owner))
}

/** Of all owners together. */
export const stockOf = (from: Pick<Database, 'get'>): Counters => read(from, stockRow)

/** Bytes that were promised to be kept, as they are billed: they are used until the record is gone, paid for or not. */
export const promisedBytes = ({ records, bytes }: Counters): number => records * billedBytes(0) + bytes

/** Adds to an owner's counters. */
export function count(batch: Batch, owner: Key, change: Partial<Counters>): void {
  for (const row of [keys.countersKey(owner), stockRow]) {
    const counters = read(batch, row)
    for (const [name, by] of Object.entries(change)) counters[name as keyof Counters] += by // its names are a part of theirs
    batch.put(row, Counters.encode(counters))
  }
}

/** A store that was made before there was a stock is counted, once. */
export async function openStock(database: Database): Promise<void> {
  if (database.get(stockRow) !== undefined) return
  const stock = await sumOfOwners(database)
  if (stock !== undefined) await database.write([{ key: stockRow, value: Counters.encode(stock) }])
}

/** What all owners hold, added up row by row; undefined when there are none. @throws ERR_INTERNAL for a damaged row */
async function sumOfOwners(database: Pick<Database, 'scan'>): Promise<Counters | undefined> {
  const sum = { ...nothing }
  let owners = 0
  const scan = database.scan(keys.ownersAfter('c'))
  try {
    for (let rows = await scan.next(chunkRows); rows.length > 0; rows = await scan.next(chunkRows)) {
      owners += rows.length
      for (const [, value] of rows)
        for (const [name, by] of Object.entries(Counters.decode(value))) sum[name as keyof Counters] += by // of the same row
    }
  } finally {
    await scan.close()
  }
  return owners === 0 ? undefined : sum
}

const chunkRows = 1024

function read(from: Pick<Database, 'get'>, key: Buffer): Counters {
  const value = from.get(key)
  return value === undefined ? { ...nothing } : Counters.decode(value)
}
