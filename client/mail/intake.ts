/** What a verified record does when it arrives, by the type of its payload. */
import { z } from 'zod'
import type { RelayAddress } from '../../market/address.ts'
import { canonicalize } from '../../market/canonical.ts'
import { MarketError } from '../../market/errors.ts'
import type { Channel } from '../../market/payload.ts'
import type { Context } from '../context.ts'
import { takeChannel, takeRemoval } from '../home/channels.ts'
import { type Arrival, keepArrival, type Message, openArrival } from '../home/inbox.ts'
import { expectFile } from '../home/incoming.ts'
import { updateFriend } from '../people/friends.ts'
import { noteRead, takeAck } from './acks.ts'

/**
 * Takes a verified record into the inbox. Effects come first and are harmless to repeat, the inbox comes last:
 * a record that is there has had its effects, one that is not will come again.
 */
export async function takeIn(
  ctx: Context,
  arrived: Arrival,
  { isFriend, at }: { isFriend: boolean; at: RelayAddress },
): Promise<Message> {
  const message = await openArrival(ctx, arrived)
  const { payload, from } = message
  // A stranger learns nothing of us, and moves nothing here.
  if (isFriend) {
    if (payload.type === 'ack') await takeAck(ctx, from, payload)
    else await noteRead(ctx, arrived)
    if (payload.type === 'identity') await takeIdentity(ctx, from, payload.identity)
    if (payload.type === 'channel') await takeKey(ctx, message, payload)
    if (payload.type === 'channel-removed')
      await takeRemoval(ctx.home, { owner: from, nowMs: ctx.now() }, payload)
  }
  if (payload.type === 'file') await expectFile(ctx.home, message, at)
  await keepArrival(ctx.home, arrived)
  return message
}

/** A key that is no news, or no key of its sender's, changes nothing and stays in the inbox as it is. */
async function takeKey(ctx: Context, { from, path }: Message, channel: Channel): Promise<void> {
  try {
    await takeChannel(ctx.home, { owner: from, nowMs: ctx.now() }, channel)
  } catch (error) {
    if (!(error instanceof MarketError)) throw error
    ctx.notify({ type: 'record-unread', path, error })
  }
}

const Envelope = z.looseObject({ msg: z.unknown() })

/** A bad identity payload is a fact about its sender and stays in the inbox as it is; it must not stop the pull. */
async function takeIdentity(ctx: Context, from: string, identity: unknown): Promise<void> {
  try {
    await updateFriend(ctx, from, canonicalize(Envelope.parse(identity)))
  } catch (error) {
    if (!(error instanceof MarketError) && !(error instanceof z.ZodError)) throw error
    ctx.notify({ type: 'record-unread', path: `the new identity of ${from}`, error })
  }
}
