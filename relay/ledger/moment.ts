/** One moment of the books: everything that a reader is told together comes from it. */
import type { Snapshot } from '../store/database.ts'
import { metaKey } from '../store/keys.ts'
import { timeOf } from '../store/place.ts'
import { NumberRow } from '../store/rows.ts'
import type { Store } from '../store/store.ts'

/** What is not in the snapshot is above `head`, and happened at `at` or later, milliseconds. The snapshot is to be closed. */
export interface Moment {
  readonly snapshot: Snapshot
  readonly head: number
  readonly at: number
}

/** The moment `now`, or later. @throws ERR_BUSY as every commit */
export async function openMoment(store: Store, now: number): Promise<Moment> {
  // What was accepted before `now` may still be on its way to the disk.
  await store.commit(() => undefined)
  return momentOf(store.snapshot(), now)
}

/** Without waiting: what is being written may have happened before `at`. */
export function momentOf(snapshot: Snapshot, now: number): Moment {
  const head = headOf(snapshot)
  // Places may run ahead of the clock.
  return { snapshot, head, at: Math.max(now, timeOf(head)) }
}

/** Its last place: what the store says of its head is of another moment. */
export function headOf(snapshot: Snapshot): number {
  const value = snapshot.get(metaKey('place'))
  return value === undefined ? 0 : NumberRow.decode(value).value
}
