/** Whether relays are there, and answer with the key they should have. */
import type { RelayAddress } from '../../market/address.ts'
import type { Context } from '../context.ts'
import type { CallOptions } from './connection.ts'

type Asking = Pick<Context, 'connect' | 'now'>

export interface Ping {
  readonly relay: RelayAddress
  /** Time until the signed answer was verified. */
  readonly ms?: number
  readonly error?: Error
}

export const ping = (ctx: Asking, relays: readonly RelayAddress[], options: CallOptions): Promise<Ping[]> =>
  Promise.all(relays.map((relay) => pingOne(ctx, relay, options)))

async function pingOne(ctx: Asking, relay: RelayAddress, options: CallOptions): Promise<Ping> {
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
