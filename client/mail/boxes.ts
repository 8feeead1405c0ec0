/** Messages in boxes lie among the records of a relay, but only clients of message boxes can have them (docs/protocol.md §13). */
import type { Entry } from '../../contracts/api.ts'
import { isBoxId, parsePath } from '../../market/record.ts'
import type { Context } from '../context.ts'
import type { Connection } from '../wire/connection.ts'

/** Whether what a relay lists is such a message: a read of it would cost a request, and find nothing. */
export const isInBox = (entry: string | Entry): boolean =>
  typeof entry === 'string' ? isBoxId(parsePath(entry).recordId) : entry.kind === 'box'

/** Tells the user that some wait for him, once for each relay. */
export async function tellOfBoxes(
  { home, notify }: Context,
  { address: { key, url } }: Connection,
): Promise<void> {
  // A home that cannot remember what was said must not stop a pull: it is said once too often.
  if (await home.noticeOnce(`boxes ${key}`).catch(() => true)) notify({ type: 'boxes', relay: url })
}
