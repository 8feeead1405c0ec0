/** What one relay lists of a feed since we looked last (docs/protocol.md §4.4). Listing costs no pull. */
import type { Cursor, Entry, RequestOf } from '../../contracts/api.ts'
import type { RelayAddress } from '../../market/address.ts'
import { publishedPrefix } from '../../market/identity-file.ts'
import { parsePath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { feedLimits } from '../home/feeds.ts'
import { chunkTag } from '../mail/tags.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { isTooFar, PageCheck, resumeAfter } from '../wire/places.ts'

const listLimits = {
  pageEntries: 100,
  /** Of one relay and one refresh; the next one goes on. */
  pages: 200,
} as const

export interface Listed {
  readonly relay: RelayAddress
  /** The newest that were listed, the oldest first. */
  readonly entries: readonly Post[]
  readonly cursor: Cursor | undefined
  /** The list was read to its end. */
  readonly isWhole: boolean
}

/** What a list says of a post; `bytes` 0 where the relay gives no details. */
export interface Post {
  readonly path: string
  readonly at: number
  readonly bytes: number
}

/** @throws as `Connection.call`; ERR_UNTRUSTED for a list no honest relay gives */
export async function listNew(
  ctx: Context,
  {
    owner,
    relay,
    from,
  }: { readonly owner: Key; readonly relay: RelayAddress; readonly from: Cursor | undefined },
  options: CallOptions,
): Promise<Listed> {
  const connection = ctx.connect(relay)
  const { features } = await connection.info(options.signal)
  const pages = new PageCheck()
  const limit = listLimits.pageEntries
  let cursor = from === undefined || isTooFar(from, ctx.now()) ? undefined : from
  let place: { cursor: Cursor } | { afterTs: number } = cursor === undefined ? { afterTs: 0 } : { cursor }
  let entries: Post[] = []
  for (let page = 0; page < listLimits.pages; page++) {
    const detail = features.includes('detail') && { detail: true }
    const request = { type: 'inventory' as const, ...place, owner: [owner], limit, ...detail }
    const reply = await ask(connection, request, { ...options, now: ctx.now() })
    pages.take({ reply, limit, now: ctx.now() })
    const wanted = reply.result.flatMap((entry) =>
      postOf(entry, { owner, reader: ctx.wallet.identity }, ctx.now()),
    )
    // What is older than all that is kept need not be read, nor remembered.
    entries = [...entries, ...wanted].slice(-feedLimits.posts)
    cursor = reply.cursor
    place = { cursor }
    if (!reply.more) return { relay, entries, cursor, isWhole: true }
  }
  return { relay, entries, cursor, isWhole: false }
}

/** A page, from where the relay says to go on when it began a new epoch. */
async function ask(
  connection: Connection,
  request: RequestOf<'inventory'>,
  { now, ...options }: CallOptions & { now: number },
) {
  try {
    return (await connection.call(request, options)).reply
  } catch (error) {
    const { cursor, ...rest } = request
    const start = cursor === undefined ? undefined : resumeAfter(error, cursor, now)
    if (start === undefined) throw error
    return (await connection.call({ ...rest, ...start }, options)).reply
  }
}

/** Nothing but what was asked for; chunks are read with their file, and published identities by whoever asks relays for them. */
function postOf(entry: string | Entry, feed: { owner: Key; reader: Key }, now: number): Post[] {
  const { path, at, bytes, tag } =
    typeof entry === 'string' ? { path: entry, at: now, bytes: 0, tag: '' } : entry
  const { owner, receiver, recordId } = parsePath(path)
  const isPost = tag !== chunkTag && !recordId.startsWith(publishedPrefix)
  return isPost && owner === feed.owner && receiver === feed.reader ? [{ path, at, bytes }] : []
}
