/** Joining relays and leaving them, with word to every friend. */
import type { RelayAddress } from '../../market/address.ts'
import type { Context } from '../context.ts'
import { addRelay, removeRelay } from '../people/me.ts'
import { resolveAddress } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'
import { announce } from './announce.ts'

/** @throws ERR_UNTRUSTED when another relay answers there */
export async function joinRelay(ctx: Context, text: string, options: CallOptions): Promise<RelayAddress> {
  const address = await resolveAddress(ctx.dialer, text, options.signal)
  await addRelay(ctx, address, options.signal)
  await announce(ctx, options)
  return address
}

/** @throws ERR_NOT_FOUND */
export async function leaveRelay(
  ctx: Context,
  reference: string,
  options: CallOptions,
): Promise<{ dropped: number }> {
  const dropped = await removeRelay(ctx, reference, options.signal)
  await announce(ctx, options)
  return { dropped }
}
