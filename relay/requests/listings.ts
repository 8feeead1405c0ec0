/** What there is: inventories, live or not, and the statement of an account (docs/protocol.md §4.4, §4.9). */
import { MarketError } from '../../market/errors.ts'
import { extensionLimits } from '../../contracts/receipt.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import type { Key } from '../../market/units.ts'
import { extensionPage } from '../ledger/extensions.ts'
import { entriesOf, pursesNow } from '../ledger/statements.ts'
import type { Answer, HandlerDeps, Message, Session } from './handlers.ts'

export async function inventory(
  { store, limits }: HandlerDeps,
  { request, from }: Message<'inventory'>,
  { examine }: Session,
): Promise<Answer> {
  const { owner, beforeTs, tag, detail } = request
  checkExamined(examine)
  const outbox = owner === from && from !== ANYONE_KEY
  const page = await store.inventory({
    view: outbox ? { outbox: from } : inboxOf(from, owner),
    after: placeOf(store, request),
    before: beforeTs === undefined ? undefined : store.placeAfter(beforeTs),
    tag,
    limit: pageSize(limits, request.limit),
    examine: examine?.left,
  })
  if (examine !== undefined) examine.left -= page.examined
  const result = detail
    ? page.entries.map(({ place, ...entry }) => entry)
    : page.entries.map(({ path }) => path)
  return { body: { result, cursor: store.cursorOf(page.place), more: page.more } }
}

export async function listen(
  { store }: HandlerDeps,
  { request, from, sealed }: Message<'listen'>,
  { subscriber }: Session,
): Promise<Answer> {
  if (subscriber === undefined) throw new MarketError('ERR_MALFORMED', 'listen needs a WebSocket')
  const { inbox, owners } = inboxOf(from, request.owner)
  const start = subscriber.subscribe({
    listen: sealed.hash,
    receiver: inbox,
    after: placeOf(store, request),
    ...(owners !== undefined && { owners }),
    ...(request.tag !== undefined && { tag: request.tag }),
  })
  return { body: { result: true }, sent: start }
}

/** The sender's purses and his entries, newest first. */
export async function account(
  { store, limits, now }: HandlerDeps,
  { request, from }: Message<'account'>,
  { examine }: Session,
): Promise<Answer> {
  checkExamined(examine)
  const before = request.cursor === undefined ? undefined : store.placeOfCursor(request.cursor)
  const limit = Math.min(pageSize(limits, request.limit), examine?.left ?? Number.POSITIVE_INFINITY)
  const { at, purses } = await pursesNow(store, from, now(), examine)
  const { entries, place, more } = await entriesOf(store, from, { before, limit })
  if (examine !== undefined) examine.left -= entries.length + 1
  return { body: { result: { at, entries, purses }, cursor: store.cursorOf(place), more } }
}

/** What renewals have extended of the sender's records, oldest first. */
export async function extensions(
  { store, limits }: HandlerDeps,
  { request, from }: Message<'extensions'>,
  { examine }: Session,
): Promise<Answer> {
  checkExamined(examine)
  const limit = Math.min(pageSize(limits, request.limit), extensionLimits.page)
  const query = { owner: from, after: placeOf(store, request), limit, examine }
  const { result, place, more } = await extensionPage(store, query)
  return { body: { result, cursor: store.cursorOf(place), more } }
}

/** @throws ERR_LIMIT when the listings of a batch have examined all they may together */
export function checkExamined(examine: Session['examine']): void {
  if (examine === undefined || examine.left > 0) return
  const extras = { retryAfterMs: 0 }
  throw new MarketError('ERR_LIMIT', 'the listings of this batch examine too much', { extras })
}

export const pageSize = ({ page }: { page: number }, limit = page): number => Math.min(limit, page)

/** Key 1 reads public channels, which are told apart by their owner: without one it would list everybody's. */
function inboxOf(receiver: Key, owner: Key | Key[] | undefined): { inbox: Key; owners?: Key[] } {
  if (owner !== undefined) return { inbox: receiver, owners: typeof owner === 'string' ? [owner] : owner }
  if (receiver === ANYONE_KEY) throw new MarketError('ERR_MALFORMED', 'for key 1 an owner is needed')
  return { inbox: receiver }
}

/** The place after which a listing begins; a cursor stands above `afterTs`. */
export function placeOf(
  store: HandlerDeps['store'],
  { cursor, afterTs }: { cursor?: string | undefined; afterTs?: number | undefined },
): number {
  if (cursor !== undefined) return store.placeOfCursor(cursor)
  return afterTs === undefined ? 0 : store.placeAfter(afterTs)
}
