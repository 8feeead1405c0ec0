/** Folders kept in step: with a friend's, or among our own devices (docs/protocol.md §5). */
import type { Key } from '../market/units.ts'
import type { Context } from './context.ts'
import { keptFolders } from './home/folders.ts'
import { reservedFor } from './money/reserved.ts'
import type { Cost } from './money/quotes.ts'
import type { Friend } from './people/friends.ts'
import { syncFolder, type SyncOptions, type Synced } from './sync/sync.ts'

/** A folder that was kept in step before. */
export interface FolderView {
  readonly name: string
  readonly directory: string
  /** Ourselves, for a folder of our own devices. */
  readonly peer: Key
  /** How many versions of it were told of from here. */
  readonly versions: number
}

export class Folders {
  readonly #ctx: Context

  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  /**
   * Brings a directory in step with the folder of the same name that a friend has, or another device of ours (`self`): what
   * changed there comes here, what changed here is put on the own relays, in pieces that only travel once. Where both changed a
   * file the later one gets its name, and the other stays beside it as `name.conflict-…`; deletions are changes. May be
   * interrupted and called again. `onQuote` hears the price of what goes up before any of it does, and `maxCost` bounds it.
   * @throws ERR_NOT_FOUND; ERR_CONFLICT where the name belongs to another directory or all files are gone; ERR_COST before
   *   anything is sent; ERR_NO_SPACE; ERR_TOO_LARGE; RefusedByAll
   */
  async sync(
    directory: string,
    peer: 'self' | Key | Friend,
    options: SyncOptions = {},
  ): Promise<Synced & { readonly reserved: Cost }> {
    const key = peer === 'self' ? this.#ctx.wallet.identity : typeof peer === 'string' ? peer : peer.key
    const synced = await syncFolder(this.#ctx, { directory, peer: key }, options)
    return { ...synced, reserved: await reservedFor(this.#ctx.home, synced.sent.ids) }
  }

  /** Every folder that was ever brought in step from this home. */
  async list(): Promise<FolderView[]> {
    const all = await keptFolders(this.#ctx.home)
    return all.map(({ name, directory, peer, sequence }) => ({ name, directory, peer, versions: sequence }))
  }
}
