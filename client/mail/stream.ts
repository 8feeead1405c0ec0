/** How far one owner's records on one relay are read. */
import type { Cursor } from '../../contracts/api.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { holds } from '../home/inbox.ts'
import type { Connection } from '../wire/connection.ts'
import { isTooFar, PageCheck, resumeAfter } from '../wire/places.ts'

/** One owner's records on one relay; `owner` undefined: those of nobody we know. */
export interface Stream {
  readonly owner: Key | undefined
  readonly connection: Connection
  position: { cursor: Cursor } | { afterTs: number }
  /** A new epoch was begun: a second one in the same pull is no restored store. */
  restarted: boolean
  readonly pages: PageCheck
  /** What is listed and could be neither read nor found absent: the saved cursor must not pass it. */
  readonly unread: { path: string; error: Error }[]
  done: boolean
}

export async function openStream(
  ctx: Context,
  connection: Connection,
  owner: Key | undefined,
): Promise<Stream> {
  const { key } = connection.address
  const saved = await ctx.home.cursor(key, owner)
  const isLost = saved !== undefined && isTooFar(saved, ctx.now())
  // From such a place nothing would ever be seen; what comes twice is held already.
  if (isLost) await ctx.home.lock(lockOf({ owner }), () => ctx.home.forgetCursor(key, owner))
  const position = saved === undefined || isLost ? { afterTs: 0 } : { cursor: saved }
  return { owner, connection, position, restarted: false, pages: new PageCheck(), unread: [], done: false }
}

export const lockOf = ({ owner }: Pick<Stream, 'owner'>): string => `pull-${owner ?? 'strangers'}`

/** A restored store starts a new epoch and says from when on to ask; at most once per pull. */
export function startOver(ctx: Context, stream: Stream, error: Error): boolean {
  if (stream.restarted || !('cursor' in stream.position)) return false
  const start = resumeAfter(error, stream.position.cursor, ctx.now())
  if (start === undefined) return false
  stream.position = start
  stream.restarted = true
  return true
}

/** Moves its place once all that was listed is here; a record one relay failed to give may have come from another meanwhile. */
export async function settle(ctx: Context, { owner, connection, position, unread }: Stream): Promise<void> {
  if (unread.length === 0) return
  const held = await Promise.all(unread.map(({ path }) => holds(ctx.home, path)))
  const still = unread.filter((_, index) => !held[index])
  for (const { path, error } of still) ctx.notify({ type: 'record-unread', path, error })
  if (still.length > 0 || !('cursor' in position)) return
  const { cursor } = position
  await ctx.home.lock(lockOf({ owner }), () => ctx.home.advance(connection.address.key, owner, cursor))
}
