/** Telling friends when the own relays change (docs/protocol.md §8.4). */
import { parseAddress } from '../../market/address.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import { protocolLimits } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { Refused } from '../errors.ts'
import { feedLimits, lastPost } from '../home/feeds.ts'
import { friends } from '../people/friends.ts'
import type { CallOptions } from '../wire/connection.ts'
import { post } from './post.ts'
import { isPublished, publish } from './publish.ts'
import { identityTag } from './tags.ts'

/** Longer than messages: who was away must still find out where everybody went. */
const announcementTtlSeconds = 30 * 86_400

/**
 * Tells every friend, and all who follow our public posts, where we are, on the relays we had and those we have. Friends who know
 * already see nothing new.
 */
export async function announce(ctx: Context, options: CallOptions = {}): Promise<void> {
  const announced = await ctx.home.announcement()
  if (announced.length === 0) return
  // A record names only so many relays; the newest stand last.
  const relays = announced.slice(-protocolLimits.relaysPerRecord).map(parseAddress)
  const { text } = await ctx.home.me()
  const payload = { type: 'identity' as const, identity: JSON.parse(text) as unknown }
  const isPublic = (await lastPost(ctx.home, ANYONE_KEY)) !== undefined
  const followers = isPublic ? [{ key: ANYONE_KEY, maxPulls: feedLimits.audience }] : []
  const known = (await friends(ctx)).map(({ key }) => ({ key, maxPulls: undefined }))
  for (const { key, maxPulls } of [...known, ...followers]) {
    const terms = { maxPulls, tag: identityTag, ttlSeconds: announcementTtlSeconds, relays }
    await post(ctx, { to: key, payload, ...terms }, options).catch(tellRefusal(ctx))
  }
  if (await isPublished(ctx)) await publish(ctx, { ...options, relays }).catch(tellRefusal(ctx))
  await ctx.home.lock('me', async () => {
    // The relays may have changed again while friends were told.
    const isSame = String(await ctx.home.announcement()) === String(announced)
    if (isSame) await ctx.home.forgetAnnouncement()
  })
}

const tellRefusal = (ctx: Context) => (error: unknown) => {
  if (!(error instanceof Refused)) throw error
  ctx.notify({ type: 'relay-failed', relay: error.relay, error })
}
