/** What an owner holds and has moved, whether or not it was paid for. */
import type { Key } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import type { Database } from './database.ts'
import * as keys from './keys.ts'
import { Counters } from './rows.ts'

export function countersOf(from: Pick<Database, 'get'>, owner: Key): Counters {
  const value = from.get(keys.countersKey(owner))
  return value === undefined
    ? { records: 0, bytes: 0, ingressBytes: 0, egressBytes: 0, pulls: 0 }
    : Counters.decode(value)
}

/** Adds to an owner's counters. */
export function count(batch: Batch, owner: Key, change: Partial<Counters>): void {
  const counters = countersOf(batch, owner)
  for (const [name, by] of Object.entries(change)) counters[name as keyof Counters] += by // its names are a part of theirs
  batch.put(keys.countersKey(owner), Counters.encode(counters))
}
