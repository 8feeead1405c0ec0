/** Pages of what renewals have extended, oldest first, from the entries that booked it (docs/protocol.md §4.9). */
import type { Extension } from '../../contracts/receipt.ts'
import { formatPath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import { examinedEntries } from '../store/inventory.ts'
import * as keys from '../store/keys.ts'
import { timeOf } from '../store/place.ts'
import { Entry } from '../store/rows.ts'
import type { Store } from '../store/store.ts'

export interface ExtensionQuery {
  readonly owner: Key
  /** Entries above this place. */
  readonly after: number
  readonly limit: number
  /** From which it is taken how many rows are looked through. */
  readonly examine?: { left: number } | undefined
}

export interface ExtensionPage {
  readonly result: Extension[]
  /** Where the next page begins: every extension up to here was in this page or one before it. */
  readonly place: number
  readonly more: boolean
}

/** The ledger has entries of all sorts, so that a page may examine many and have few. */
export async function extensionPage(
  store: Store,
  { owner, after, limit, examine }: ExtensionQuery,
): Promise<ExtensionPage> {
  const head = store.head()
  const result: Extension[] = []
  if (after >= head) return { result, place: head, more: false }
  const prefix = keys.ledgerPrefix(owner)
  const scan = store.scan({ gt: keys.placeKey(prefix, after), lte: keys.placeKey(prefix, head) })
  let place = after
  let left = Math.min(examinedEntries, Math.max(1, examine?.left ?? examinedEntries))
  try {
    for (;;) {
      const rows = await scan.next(Math.min(chunkRows, left + 1))
      if (rows.length === 0) return { result, place: head, more: false }
      for (const [key, value] of rows) {
        if (left === 0 || result.length === limit) return { result, place, more: true }
        left--
        if (examine !== undefined) examine.left--
        place = keys.placeOfKey(key)
        const { what, record, recordId, note: receiver, purse, paidUntil } = Entry.decode(value)
        if (what !== 'extended') continue
        result.push({ path: formatPath({ owner, receiver, recordId }), at: timeOf(record), purse, paidUntil })
      }
    }
  } finally {
    await scan.close()
  }
}

const chunkRows = 1024
