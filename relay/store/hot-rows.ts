/**
 * The small rows that nearly every operation begins with: accounts, counters, purses, totals, quotas. As they are on disk: only
 * the committer writes them, and it tells what became durable.
 */
import { putBounded } from '../../market/lru.ts'
import type { Change, Database } from './database.ts'
import { metaKey, ownerKeyBytes } from './keys.ts'

/** About 10 MB when full. */
const rememberedRows = 32_768
const hotTables: ReadonlySet<number> = new Set(['a', 'c', 'm', 'u'].map((prefix) => prefix.charCodeAt(0)))

/** Of the message boxes what they hold of somebody, and what of his. */
const [boxes, quotas] = [...Buffer.from('zq')]
const placeRow = metaKey('place')
/** Not the last place: the committer writes it beside the changes of a batch, so it would be stale here. */
const isHot = (key: Buffer): boolean =>
  (hotTables.has(key[0]!) && !key.equals(placeRow)) || (key[0] === boxes && key[ownerKeyBytes] === quotas)

/** The text of a key, by which maps know it. */
export const idOf = (key: Buffer): string => key.toString('latin1')

export class HotRows {
  /** Also remembers which rows there are not. */
  readonly #rows = new Map<string, Buffer | undefined>()

  /** What `database` has under `key`. Not to be written to. @param text of the key, where it is known */
  get(database: Database, key: Buffer, text?: string): Buffer | undefined {
    if (!isHot(key)) return database.get(key)
    const id = text ?? idOf(key)
    const known = this.#rows.get(id)
    if (known !== undefined || this.#rows.has(id)) return known
    const value = database.get(key)
    this.#remember(id, value)
    return value
  }

  /** These changes are durable. */
  apply(changes: Iterable<readonly [id: string, change: Change]>): void {
    for (const [id, { key, value }] of changes) if (isHot(key)) this.#remember(id, value)
  }

  /** It is not known any more what is durable. */
  clear(): void {
    this.#rows.clear()
  }

  #remember(id: string, value: Buffer | undefined): void {
    putBounded(this.#rows, id, value, rememberedRows) // what was not written for longest goes first
  }
}
