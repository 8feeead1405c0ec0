/** Which of the own relays get a record: as many as the user wants, those in trouble last. */
import type { RelayAddress } from '../../market/address.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import type { Home } from '../home/home.ts'
import { bestFirst, redundancy } from '../home/redundancy.ts'
import { ownRelays } from './relays.ts'

export interface Chosen {
  readonly relays: readonly RelayAddress[]
  /** The other own relays: one takes the place of each that does not take a record. */
  readonly spares: readonly RelayAddress[]
}

/** How many relays are to get it, and how many of those must sign for it, where it is said of a record or file. */
export interface Wanted {
  readonly keep?: number | undefined
  readonly quorum?: number | undefined
}

/** `keep` of the own relays, as many as the settings say unless it is given. @throws ERR_USAGE where there are fewer than wanted */
export async function chosenRelays(ctx: Context, { keep, quorum }: Wanted = {}): Promise<Chosen> {
  const own = await ownRelays(ctx)
  const wanted = keep ?? (await redundancy(ctx.home)).keep ?? own.length
  if (keep !== undefined && (!Number.isSafeInteger(keep) || keep < 1 || keep > own.length))
    throw new ClientError('ERR_USAGE', `${keep} relays cannot have it: you have ${own.length}`)
  const count = Math.min(wanted, own.length)
  if (quorum !== undefined && (quorum < 1 || quorum > count))
    throw new ClientError('ERR_USAGE', `${quorum} relays cannot sign for what ${count} get`)
  if (wanted >= own.length) return { relays: own, spares: [] }
  const sorted = await bestFirst(ctx.home, own, ctx.now())
  return { relays: sorted.slice(0, wanted), spares: sorted.slice(wanted) }
}

/** How many relays must sign for a record unless it is said of it: as the settings say, and never more than there are to sign. */
export async function usualQuorum(home: Home): Promise<number> {
  const { keep, quorum } = await redundancy(home)
  const count = (await home.hasIdentity()) ? (await home.me()).msg.request.relays.length : 0
  return Math.max(1, Math.min(quorum, keep ?? count, count))
}
