/**
 * Private channels (docs/protocol.md §5): every change of the members begins an epoch with a fresh key, which each of those who
 * remain gets in a record of his own. It is on disk, with whom it goes to, before anything is sent.
 */
import { randomBytes } from 'node:crypto'
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { payloadLimits, type Payload } from '../../market/payload.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { Refused } from '../errors.ts'
import {
  channelLimits,
  currentKey,
  keptChannel,
  type KeptChannel,
  keptChannels,
  saveChannel,
  type Untold,
  withChannels,
} from '../home/channels.ts'
import { entries } from '../home/outbox.ts'
import { newRecordId, post } from '../mail/post.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'

/** As long as a news of relays: who was away must still get the key. */
const keyTtlSeconds = 30 * 86_400

/** A channel of our own without members. @throws ERR_CONFLICT when there is one of that name, ERR_MALFORMED, ERR_LIMIT */
export async function createChannel(ctx: Context, name: string): Promise<KeptChannel> {
  if (
    name.length === 0 ||
    name.length > payloadLimits.nameLength ||
    /[\p{Cc}/]/u.test(name) ||
    !name.isWellFormed()
  )
    throw new MarketError(
      'ERR_MALFORMED',
      `the name of a channel has 1 to ${payloadLimits.nameLength} printable characters, without /`,
    )
  const owner = ctx.wallet.identity
  return withChannels(ctx.home, async () => {
    if ((await keptChannel(ctx.home, { owner, name })) !== undefined)
      throw new MarketError('ERR_CONFLICT', `you have a channel ${name} already`)
    if ((await keptChannels(ctx.home)).length >= channelLimits.channels)
      throw new MarketError('ERR_LIMIT', `there are ${channelLimits.channels} channels already`)
    const channel = { owner, name, keys: [freshKey(ctx, 0)], members: [], untold: [] }
    await saveChannel(ctx.home, channel)
    return channel
  })
}

/**
 * Lets people in, with a fresh key for everybody: they read what is written from now on, and with `hasHistory` what was.
 * @throws ERR_NOT_FOUND, ERR_CONFLICT for a member, ERR_LIMIT
 */
export function invite(
  ctx: Context,
  name: string,
  {
    people,
    hasHistory = false,
  }: { readonly people: readonly Key[]; readonly hasHistory?: boolean | undefined },
  options: CallOptions,
): Promise<KeptChannel> {
  return changeMembers(ctx, name, options, (members) => {
    const again = people.find((key) => members.includes(key) || key === ctx.wallet.identity)
    if (again !== undefined)
      throw new MarketError('ERR_CONFLICT', `${again} is in the channel ${name} already`)
    return {
      members: [...members, ...new Set(people)],
      hasHistory: (key) => hasHistory && people.includes(key),
    }
  })
}

/** Those who remain get a fresh key; what was written before, the removed can still read. @throws ERR_NOT_FOUND */
export function removeMembers(
  ctx: Context,
  name: string,
  people: readonly Key[],
  options: CallOptions,
): Promise<KeptChannel> {
  return changeMembers(ctx, name, options, (members) => {
    const stranger = people.find((key) => !members.includes(key))
    if (stranger !== undefined)
      throw new MarketError('ERR_NOT_FOUND', `${stranger} is not in the channel ${name}`)
    return { members: members.filter((key) => !people.includes(key)), hasHistory: () => false }
  })
}

async function changeMembers(
  ctx: Context,
  name: string,
  options: CallOptions,
  change: (members: readonly Key[]) => { members: Key[]; hasHistory: (key: Key) => boolean },
): Promise<KeptChannel> {
  const { home } = ctx
  const owner = ctx.wallet.identity
  const changed = await withChannels(home, async () => {
    const held = await keptChannel(home, { owner, name })
    if (held === undefined) throw new MarketError('ERR_NOT_FOUND', `you have no channel ${name} of your own`)
    const { members, hasHistory } = change(held.members)
    if (members.length > channelLimits.members)
      throw new MarketError('ERR_LIMIT', `a channel has at most ${channelLimits.members} members`)
    const keys = [...held.keys, freshKey(ctx, currentKey(held).epoch + 1)].slice(-payloadLimits.epochs)
    // Who was promised the old keys and did not get them yet gets them now.
    const owed = (to: Key) => held.untold.some((one) => one.to === to && one.hasHistory)
    const told = members.map((to) => ({
      ...{ to, recordId: newRecordId() },
      hasHistory: owed(to) || hasHistory(to),
    }))
    const untold = [...told, ...removedOf(held, members)]
    const next = { ...held, keys, members, untold }
    await saveChannel(home, next)
    return next
  })
  await tellMembers(ctx, options)
  return (await keptChannel(home, changed)) ?? changed
}

/** Sends the keys of now to members who do not have them yet, and word to who was removed; what no relay takes now goes with a later command. */
export async function tellMembers(ctx: Context, options: CallOptions = {}): Promise<void> {
  const untold = (await keptChannels(ctx.home)).filter((channel) => channel.untold.length > 0)
  if (untold.length === 0 || (await ownRelays(ctx)).length === 0) return
  await ctx.home.tryLock('channel-keys', async () => {
    for (const { owner, name } of untold) {
      const channel = await keptChannel(ctx.home, { owner, name })
      for (const one of channel?.untold ?? []) await tell(ctx, channel!, one, options) // it has some
    }
  })
}

/** The record has its id before it is made: one that a crash left in the outbox is not sent twice. */
async function tell(ctx: Context, channel: KeptChannel, one: Untold, options: CallOptions): Promise<void> {
  const { to, recordId } = one
  if (!(await entries(ctx.home)).has(recordId)) {
    const draft = { to, recordId, payload: payloadFor(channel, one), ttlSeconds: keyTtlSeconds }
    try {
      await post(ctx, draft, { ...options, attempts: 1 })
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return ctx.notify({ type: 'relay-failed', relay: error.relay, error })
    }
  }
  await withChannels(ctx.home, async () => {
    const held = await keptChannel(ctx.home, channel)
    if (held === undefined) return
    const untold = held.untold.filter((other) => other.recordId !== recordId)
    await saveChannel(ctx.home, { ...held, untold })
  })
}

/** Who is out by this change, and who did not hear yet that he is. */
function removedOf(held: KeptChannel, members: readonly Key[]): Untold[] {
  const isOut = (to: Key) => !members.includes(to)
  const before = held.untold.filter(({ to, isRemoved }) => isRemoved === true && isOut(to))
  const now = held.members.filter(isOut).map((to) => ({
    ...{ to, recordId: newRecordId(), hasHistory: false, isRemoved: true },
  }))
  return [...before, ...now].slice(-channelLimits.members)
}

function payloadFor(channel: KeptChannel, { hasHistory, isRemoved }: Untold): Payload {
  const { name, members, keys } = channel
  const { epoch, key } = currentKey(channel)
  if (isRemoved === true) return { type: 'channel-removed', name, epoch }
  const history = keys.slice(0, -1).map((old) => ({ epoch: old.epoch, key: old.key }))
  return { type: 'channel', name, key, members, epoch, ...(hasHistory && history.length > 0 && { history }) }
}

const freshKey = ({ now }: Pick<Context, 'now'>, epoch: number) => ({
  ...{ epoch, key: toHex(randomBytes(32)), sinceMs: now() },
})

/**
 * The channel meant by its name, or by `OWNER/NAME` where several friends have one of that name; an own one comes first.
 * @throws ERR_NOT_FOUND, ERR_CONFLICT
 */
export async function findChannel(
  ctx: Context,
  reference: string,
  nameOf: (key: Key) => string | undefined,
): Promise<KeptChannel> {
  const all = await keptChannels(ctx.home)
  const named = all.filter(({ name }) => name === reference)
  const full = all.filter(({ owner, name }) =>
    [owner, nameOf(owner)].some((word) => word !== undefined && `${word}/${name}` === reference),
  )
  const found = full.length > 0 ? full : named
  const own = found.find(({ owner }) => owner === ctx.wallet.identity)
  const [one] = found
  if (one === undefined)
    throw new MarketError('ERR_NOT_FOUND', `there is no channel ${reference}; relay pull brings invitations`)
  if (own === undefined && found.length > 1)
    throw new MarketError('ERR_CONFLICT', `several channels are called ${reference}: say OWNER/${reference}`)
  return own ?? one
}
