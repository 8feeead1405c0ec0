/** Which of two versions of a file knows of the other: each counts, for every copy of the folder, its last change. */
import { folderLimits, type Version } from '../../market/folder.ts'

/** `aside`: each was changed without knowing the other. */
export type Order = 'same' | 'before' | 'after' | 'aside'

export function orderOf(one: Version, other: Version): Order {
  const counts = new Map(other)
  const isAhead = one.some(([device, count]) => count > (counts.get(device) ?? 0))
  const mine = new Map(one)
  const isBehind = other.some(([device, count]) => count > (mine.get(device) ?? 0))
  if (isAhead && isBehind) return 'aside'
  if (isAhead) return 'after'
  return isBehind ? 'before' : 'same'
}

/**
 * The version that knows of both. Of more copies than one may name, those with the highest counts: it is the same however often
 * and in whichever order versions are joined. Who forgets a copy keeps a conflict beside where there was none, and loses nothing.
 */
export function joined(one: Version, other: Version): Version {
  const counts = new Map(one)
  for (const [device, count] of other) counts.set(device, Math.max(count, counts.get(device) ?? 0))
  const byName = (all: Version) => all.sort(([a], [b]) => (a < b ? -1 : 1))
  const highest = byName([...counts]).sort(([, a], [, b]) => b - a)
  return byName(highest.slice(0, folderLimits.devices))
}

/** The version after a change by `device`. */
export const changed = (before: Version | undefined, device: string, count: number): Version =>
  joined(before ?? [], [[device, count]])
