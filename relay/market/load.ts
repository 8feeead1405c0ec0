/** How busy the relay is: what the pricing rule goes by. Everything is counted in the batch that did it, so a restart loses nothing. */
import { billedBytes } from '../../market/price.ts'
import type { Load } from '../../market/pricing-rule.ts'
import { dayMs } from '../../market/units.ts'
import { stockOf } from '../store/counters.ts'
import type { Reader } from '../store/postings.ts'
import type { Capacity } from './capacity.ts'
import type { Mark } from './rule-row.ts'

const hourMs = 3_600_000
/** Of a day, and of the hour before it. */
const keptMarks = 26

export interface LoadSources {
  readonly store: Reader
  readonly capacity: Pick<Capacity, 'state'>
  /** Identities with an account or records here that are connected at this moment: strangers' sockets must not move prices. */
  readonly connections: () => number
  readonly connectionLimit: number
}

/** Bytes served since the relay began, as they are billed. */
export function servedBytes(from: Reader): number {
  const { egressBytes, pulls } = stockOf(from)
  return egressBytes + pulls * billedBytes(0)
}

/** The marks with one of `now` where the last is an hour old; of a clock that was set back they begin anew. */
export function marked(marks: readonly Mark[], now: number, served: number): readonly Mark[] {
  const last = marks.at(-1)
  if (last !== undefined && now >= last.at && now - last.at < hourMs) return marks
  const kept = last !== undefined && now < last.at ? [] : marks.slice(1 - keptMarks)
  return [...kept, { at: now, served }]
}

/** Bytes served in a day: of the last 24 hours, or a part of what was served in the time since a mark before them. */
export function servedInDay(marks: readonly Mark[], now: number, served: number): number {
  const before = marks.findLast(({ at }) => at <= now - dayMs) ?? marks[0]
  if (before === undefined) return 0
  const ms = Math.max(dayMs, now - before.at)
  return Math.max(0, Math.floor(((served - before.served) * dayMs) / ms))
}

export function measureLoad(sources: LoadSources, marks: readonly Mark[], now: number): Load {
  const { store, capacity, connections, connectionLimit } = sources
  const { bytes, sold } = capacity.state
  return {
    storedBytes: sold,
    capacityBytes: bytes,
    servedBytes: servedInDay(marks, now, servedBytes(store)),
    connections: connections(),
    connectionLimit,
  }
}
