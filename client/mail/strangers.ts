/** Records of people who are no friends: shown when asked for, and before anything is read. */
import type { Cursor, Entry, RequestOf } from '../../contracts/api.ts'
import type { RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import type { Context } from '../context.ts'
import { friendKeys } from '../people/friends.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { PageCheck } from '../wire/places.ts'
import { pageEntries } from './pull.ts'
import { isWanted } from './wanted.ts'

/** Of a longer list only the oldest is shown: it is all held in memory. */
const pagesShown = 100

type Inventory = RequestOf<'inventory'>

/** What one relay has of others than friends, or why it does not say. */
export interface Strangers {
  readonly relay: RelayAddress
  readonly entries: readonly Entry[]
  readonly error?: Error
}

/** What strangers have put on these relays for us, read by nobody. One relay's failure stops no other. */
export async function strangersOn(
  ctx: Context,
  relays: readonly RelayAddress[],
  options: CallOptions = {},
): Promise<Strangers[]> {
  const all = relays.map(async (relay): Promise<Strangers> => {
    try {
      return { relay, entries: await listStrangers(ctx, ctx.connect(relay), options) }
    } catch (error) {
      return { relay, entries: [], error: error as Error }
    }
  })
  const found = await Promise.all(all)
  options.signal?.throwIfAborted()
  return found
}

/** Listing costs no pull. */
async function listStrangers(ctx: Context, connection: Connection, options: CallOptions): Promise<Entry[]> {
  // A relay that speaks for itself is no stranger.
  const friends = (await friendKeys(ctx)).add(connection.address.key)
  const reader = { self: ctx.wallet.identity, friends }
  const found: Entry[] = []
  const pages = new PageCheck()
  let position: { cursor: Cursor } | { afterTs: number } = { afterTs: 0 }
  for (let page = 0; page < pagesShown; page++) {
    const request: Inventory = { type: 'inventory', ...position, limit: pageEntries, detail: true }
    const { reply } = await connection.call(request, options)
    pages.take({ reply, limit: pageEntries, now: ctx.now() })
    const { result, cursor, more } = reply
    for (const entry of result) {
      if (typeof entry === 'string')
        throw new MarketError('ERR_MALFORMED', 'the relay gives no details of its list')
      if (isWanted(entry, undefined, reader)) found.push(entry)
    }
    position = { cursor }
    if (!more) break
  }
  return found
}
