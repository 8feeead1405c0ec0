/** Friends tell of each step of a move, and each of their relays brings it: only where they are in the end is news. */
import type { Key } from '../../market/units.ts'
import type { Context, Notice } from '../context.ts'

/** `quiet` keeps back where friends moved to; `tell` says the last of it. */
export function lastMoves(ctx: Context): { readonly quiet: Context; readonly tell: () => void } {
  const moves = new Map<Key, Notice>()
  const notify = (notice: Notice) => {
    if (notice.type === 'friend-moved') moves.set(notice.friend, notice)
    else ctx.notify(notice)
  }
  const tell = () => {
    for (const notice of moves.values()) ctx.notify(notice)
  }
  return { quiet: { ...ctx, notify }, tell }
}
