/** Records of people who are no friends: shown when asked for, and before anything is read. */
import type { Cursor, Entry, RequestOf } from '../contracts/api.ts'
import { MarketError } from '../market/errors.ts'
import type { CallOptions, Connection } from './connection.ts'
import type { Context } from './context.ts'
import { isWanted, pageEntries, pagesPerPull } from './pull.ts'

type Inventory = RequestOf<'inventory'>

/** What strangers have put on a relay for us, read by nobody: listing costs no pull. */
export async function listStrangers(
  ctx: Context,
  connection: Connection,
  options: CallOptions = {},
): Promise<Entry[]> {
  const found: Entry[] = []
  let position: { cursor: Cursor } | { afterTs: number } = { afterTs: 0 }
  for (let page = 0; page < pagesPerPull; page++) {
    const request: Inventory = { type: 'inventory', ...position, limit: pageEntries, detail: true }
    const { result, cursor, more } = (await connection.call(request, options)).reply
    for (const entry of result) {
      if (typeof entry === 'string')
        throw new MarketError('ERR_MALFORMED', 'the relay gives no details of its list')
      if (await isWanted(ctx, { owner: undefined }, entry)) found.push(entry)
    }
    position = { cursor }
    if (!more) break
  }
  return found
}
