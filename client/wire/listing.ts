/** A short list of one relay, read to its end or to a bounded number of pages (docs/protocol.md §4.4). */
import type { Cursor, RequestOf } from '../../contracts/api.ts'
import { parsePath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { CallOptions, Connection } from './connection.ts'
import { PageCheck } from './places.ts'

interface ListOf {
  readonly owner: Key
  readonly receiver: Key
  readonly tag: string
  /** Entries of a page, and pages. */
  readonly limit: number
  readonly pages: number
  readonly now: number
}

/**
 * The records of one owner to one receiver under a tag, with the times of their arrival; 0 where the relay gives no details.
 * @throws as `Connection.call`; ERR_UNTRUSTED for a list no honest relay gives
 */
export async function listTagged(
  connection: Connection,
  { owner, receiver, tag, limit, pages, now }: ListOf,
  options: CallOptions,
): Promise<{ path: string; at: number }[]> {
  const found: { path: string; at: number }[] = []
  const filter = { type: 'inventory' as const, owner: [owner], tag, detail: true, limit }
  const check = new PageCheck()
  let place: { cursor: Cursor } | { afterTs: number } = { afterTs: 0 }
  for (let page = 0; page < pages; page++) {
    const request: RequestOf<'inventory'> = { ...filter, ...place }
    const { reply } = await connection.call(request, options)
    check.take({ reply, limit, now })
    for (const entry of reply.result) {
      const { path, at } = typeof entry === 'string' ? { path: entry, at: 0 } : entry
      const parts = parsePath(path)
      if (parts.owner === owner && parts.receiver === receiver) found.push({ path, at })
    }
    if (!reply.more) break
    place = { cursor: reply.cursor }
  }
  return found
}
