/** Whom the user follows: people whose public posts are read, by the relays in their identity files. */
import { z } from 'zod'
import { parseAddress, type RelayAddress } from '../../market/address.ts'
import { canonicalize } from '../../market/canonical.ts'
import { MarketError } from '../../market/errors.ts'
import { type IdentityFile, identityLimits, openIdentity, succession } from '../../market/identity-file.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import {
  feedLimits,
  feedLock,
  forgetFeed,
  forgetFollow,
  type SavedFollow,
  savedFollows,
  saveFollow,
} from '../home/feeds.ts'
import { readWhole } from '../home/durable.ts'
import { friend, type Friend, friends, updateFriend } from '../people/friends.ts'
import { checkAlias } from '../people/names.ts'
import { everybody } from './reader.ts'

export interface Followed {
  readonly key: Key
  /** What the user calls him. */
  readonly name: string
  readonly relays: readonly RelayAddress[]
  readonly file: IdentityFile
}

/** Everybody who is followed, by name; of a friend the newest file that is known. */
export async function followed(ctx: Context): Promise<Followed[]> {
  const known = new Map((await friends(ctx)).map((friend) => [friend.key, friend]))
  const all = [...(await savedFollows(ctx.home))].map(([key, saved]) => {
    const path = ctx.home.path('follows', `${key}.json`)
    return followedOf(
      readWhole(path, () => openIdentity(saved.identity)),
      saved,
      known.get(key),
    )
  })
  return all.sort((a, b) => a.name.localeCompare(b.name))
}

function followedOf(held: IdentityFile, { name }: SavedFollow, friend: Friend | undefined): Followed {
  const isNewer = friend !== undefined && ['next', 'skipped'].includes(succession(held, friend.file))
  const file = isNewer ? friend.file : held
  return {
    key: file.msg.from,
    name: friend?.alias ?? name,
    relays: file.msg.request.relays.map(parseAddress),
    file,
  }
}

/**
 * Follows who signed this file; of one who is followed already a newer file is taken.
 * @throws ERR_CONFLICT for a rollback, a fork, oneself, or a name that is taken; ERR_LIMIT
 */
export async function follow(
  ctx: Context,
  file: IdentityFile,
  { as }: { readonly as?: string | undefined } = {},
): Promise<Followed> {
  const key = file.msg.from
  if (key === ctx.wallet.identity) throw new MarketError('ERR_CONFLICT', 'these are your own posts')
  return ctx.home.lock('follows', async () => {
    const all = await followed(ctx)
    const held = all.find((one) => one.key === key)
    const name = as ?? held?.name ?? file.msg.request.label.slice(0, identityLimits.labelLength)
    if (as !== undefined) checkAlias(as)
    if (all.some((one) => one.name === name && one.key !== key))
      throw new MarketError('ERR_CONFLICT', `you follow another ${name}: choose a name with --as`)
    if (held === undefined && all.length >= feedLimits.follows)
      throw new MarketError('ERR_LIMIT', `you follow ${all.length} already`)
    const relation = held === undefined ? 'next' : succession(held.file, file)
    if (relation === 'older' || relation === 'fork')
      throw new MarketError(
        'ERR_CONFLICT',
        relation === 'fork'
          ? `this identity file contradicts the one held of ${name}: it is a fork`
          : `this identity file of ${name} is older than the one held`,
      )
    await saveFollow(ctx.home, key, { identity: file.text, name })
    return followedOf(file, { identity: file.text, name }, undefined)
  })
}

/** Takes an identity file that its owner, who may be a friend too, posted for all who follow him; anything but a newer one changes nothing. */
export async function updateFollow(ctx: Context, key: Key, identity: unknown): Promise<void> {
  const { home, notify } = ctx
  await home.lock('follows', async () => {
    const saved = (await savedFollows(home)).get(key)
    if (saved === undefined) return
    try {
      const text = canonicalize(Envelope.parse(identity))
      const file = openIdentity(text)
      // A friend's move is told there, and once.
      const isFriend = (await friend(home, key)) !== undefined
      if (isFriend) await updateFriend(ctx, key, text)
      const relation = succession(openIdentity(saved.identity), file)
      if (file.msg.from !== key || !['next', 'skipped'].includes(relation)) return
      await saveFollow(home, key, { ...saved, identity: file.text })
      if (isFriend) return
      notify({ type: 'friend-moved', friend: key, name: saved.name, relays: file.msg.request.relays })
    } catch (error) {
      if (!(error instanceof MarketError) && !(error instanceof z.ZodError)) throw error
      notify({ type: 'record-unread', path: `the new identity of ${key}`, error })
    }
  })
}

const Envelope = z.looseObject({ msg: z.unknown() })

/** By name or key. What was read of him is forgotten too. @throws ERR_NOT_FOUND */
export async function unfollow(ctx: Context, reference: string): Promise<Followed> {
  return ctx.home.lock('follows', async () => {
    const all = await followed(ctx)
    const found = all.find(({ key, name }) => key === reference || name === reference)
    if (found === undefined) throw new MarketError('ERR_NOT_FOUND', `you follow nobody called ${reference}`)
    await forgetFollow(ctx.home, found.key)
    const feed = { reader: everybody.identity, owner: found.key }
    await ctx.home.lock(feedLock(feed), () => forgetFeed(ctx.home, feed))
    return found
  })
}
