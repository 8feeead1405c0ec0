/** Which entries of a relay's list are to be read. */
import type { Entry } from '../../contracts/api.ts'
import { parsePath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import { isInBox } from './boxes.ts'
import { chunkTag, isFolderTag } from './tags.ts'

/** Who reads, and whom he knows. */
export interface Reader {
  readonly self: Key
  readonly friends: ReadonlySet<Key>
}

/** Whether an entry of a list is for us, from who was asked for (undefined: nobody we know), and neither a chunk nor in a box. */
export function isWanted(entry: string | Entry, owner: Key | undefined, { self, friends }: Reader): boolean {
  if (isInBox(entry)) return false
  // Chunks are read when the file they belong to is fetched.
  if (typeof entry !== 'string' && (entry.tag === chunkTag || isFolderTag(entry.tag))) return false
  const path = parsePath(typeof entry === 'string' ? entry : entry.path)
  if (path.receiver !== self) return false
  if (owner !== undefined) return path.owner === owner
  return !friends.has(path.owner) && path.owner !== self
}
