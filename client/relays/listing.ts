/** What a relay says it has of ours. */
import { isBoxId, parsePath, type RecordId } from '../../market/record.ts'
import type { Cursor, RequestOf } from '../../contracts/api.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { PageCheck } from '../wire/places.ts'

const listingLimits = {
  /** Of one list: records of a page, and pages, some of which may be empty. */
  page: 1000,
  pages: 10_000,
} as const

/**
 * The ids of all records of ours that a relay lists, used-up ones included. The list is signed, page by page.
 * @throws ERR_UNTRUSTED for a list that has no end, or others' records; and as `call`
 */
export async function recordsAt(
  ctx: Context,
  connection: Connection,
  options: CallOptions,
): Promise<Set<RecordId>> {
  const owner = ctx.wallet.identity
  const { url } = connection.address
  const found = new Set<RecordId>()
  const { page: limit, pages: most } = listingLimits
  const pages = new PageCheck()
  let place: { cursor: Cursor } | { afterTs: number } = { afterTs: 0 }
  for (let page = 0; page < most; page++) {
    const request: RequestOf<'inventory'> = { type: 'inventory', owner, limit, ...place }
    const { reply } = await connection.call(request, options)
    pages.take({ reply, limit, now: connection.clock.now })
    for (const entry of reply.result) {
      const path = parsePath(typeof entry === 'string' ? entry : entry.path)
      if (path.owner !== owner)
        throw new ClientError('ERR_UNTRUSTED', `${url} lists records of others as ours`)
      // What was sent to boxes is of other programs, and lies in no outbox here.
      if (!isBoxId(path.recordId)) found.add(path.recordId)
    }
    if (!reply.more) return found
    place = { cursor: reply.cursor }
  }
  throw new ClientError('ERR_UNTRUSTED', `the list of ${url} has no end`)
}
