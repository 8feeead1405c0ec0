/** The own identity file for everybody, served by the own relays for as long as the user wants (docs/protocol.md §8.2). */
import { randomBytes } from 'node:crypto'
import type { RelayAddress } from '../../market/address.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { publishedId, publishedPrefix, publishedSeq } from '../../market/identity-file.ts'
import type { Context } from '../context.ts'
import { type Entry, entries, markDeleted, mayHold } from '../home/outbox.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'
import { flush } from './flush.ts'
import { type Posted, post } from './post.ts'
import { identityTag } from './tags.ts'

const publishLimits = {
  ttlSeconds: 365 * 86_400,
  /** With less left, it is published anew. */
  renewMs: 180 * 86_400_000,
} as const

export const isPublished = async (ctx: Context): Promise<boolean> => (await published(ctx)).length > 0

/**
 * Puts the file on these relays, the own ones unless said; a former one goes once all have it. Undefined when it is there
 * already, or on its way.
 * @throws as `post`
 */
export async function publish(
  ctx: Context,
  { relays, ...options }: CallOptions & { readonly relays?: readonly RelayAddress[] } = {},
): Promise<Posted | undefined> {
  const { text, msg } = await ctx.home.me()
  const { seq } = msg.request
  const former = await published(ctx)
  const places = relays ?? (await ownRelays(ctx))
  const isThere = (entry: Entry) =>
    publishedSeq(entry.id) === seq &&
    entry.expires > ctx.now() + publishLimits.renewMs &&
    places.every(({ key }) => mayHold(entry).has(key))
  if (former.some(isThere)) {
    await flush(ctx, { ...options, attempts: 1 })
    return undefined
  }
  const payload = { type: 'identity' as const, identity: JSON.parse(text) as unknown }
  const recordId = publishedId(seq, randomBytes(8).toString('hex'))
  const { ttlSeconds } = publishLimits
  const draft = { to: ANYONE_KEY, payload, tag: identityTag, recordId, ttlSeconds, relays: places }
  const posted = await post(ctx, draft, options)
  if (posted.accepted.length === places.length) await takeBack(ctx, former, options)
  return posted
}

/** True when there was something to take back; relays that do not answer are told later. */
export async function unpublish(ctx: Context, options: CallOptions = {}): Promise<boolean> {
  const all = await published(ctx)
  await takeBack(ctx, all, options)
  return all.length > 0
}

async function takeBack(ctx: Context, all: readonly Entry[], options: CallOptions): Promise<void> {
  if (all.length === 0) return
  for (const { id } of all) await markDeleted(ctx.home, id)
  await flush(ctx, { ...options, attempts: 1 })
}

async function published({ home }: Context): Promise<Entry[]> {
  const all = [...(await entries(home)).values()]
  return all.filter(({ id, to, deleted }) => to === ANYONE_KEY && !deleted && id.startsWith(publishedPrefix))
}
