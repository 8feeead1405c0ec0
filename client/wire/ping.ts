/** Whether relays are there, and answer with the key they should have. */
import type { RelayAddress } from '../market/address.ts'
import type { CallOptions } from './connection.ts'
import type { Context } from './context.ts'
import { relaysNamed } from './me.ts'

export interface Ping {
  readonly relay: RelayAddress
  /** Time until the signed answer was verified. */
  readonly ms?: number
  readonly error?: Error
}

/** Asks the own relays, or the one that is named. */
export async function ping(
  ctx: Context,
  reference: string | undefined,
  options: CallOptions,
): Promise<Ping[]> {
  const relays = await relaysNamed(ctx, reference, options.signal)
  return Promise.all(relays.map((relay) => pingOne(ctx, relay, options)))
}

async function pingOne(ctx: Context, relay: RelayAddress, options: CallOptions): Promise<Ping> {
  const began = performance.now()
  try {
    // Of all requests, the one that every relay answers to everybody.
    const request = { type: 'inventory' as const, afterTs: ctx.now(), limit: 1 }
    await ctx.connect(relay).call(request, { ...options, attempts: 1 })
    return { relay, ms: Math.round((performance.now() - began) * 10) / 10 }
  } catch (error) {
    return { relay, error: error as Error }
  }
}
