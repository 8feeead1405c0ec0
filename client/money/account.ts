/** How one's credit stands at a relay, and what happened to it (docs/protocol.md §4.9). */
import { type Account, addsUp, type LedgerEntry, type Purse } from '../../contracts/account.ts'
import type { Cursor } from '../../contracts/api.ts'
import type { RelayAddress } from '../../market/address.ts'
import type { RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { type ContractStanding, standingsOf } from './standing.ts'
import { knownBackups } from '../home/own-backups.ts'
import { relaysNamed } from '../people/relays.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { epochOf, placeOf } from '../wire/places.ts'

/** Entries asked for at once; a relay may give fewer. */
const pageEntries = 500

/** What one relay says of our account, or why it did not. */
export type AccountAt =
  | {
      readonly relay: RelayAddress
      /** The relay's clock when it was as it says. */
      readonly at: number
      readonly purses: readonly Purse[]
      /** The latest, newest first. */
      readonly entries: readonly LedgerEntry[]
      /** Those records that hold or held the backup of the coins. */
      readonly backups: ReadonlySet<RecordId>
      /** Those purses that are contracts of ours, with what was signed for them. */
      readonly contracts: readonly ContractStanding[]
    }
  | { readonly relay: RelayAddress; readonly error: Error }

/** The account as it is now at the own relays, or the one that is named, each with its latest `entries`. */
export async function accounts(
  ctx: Context,
  reference: string | undefined,
  { entries = 20, ...options }: CallOptions & { readonly entries?: number },
): Promise<AccountAt[]> {
  const relays = await relaysNamed(ctx, reference, options.signal)
  return Promise.all(relays.map((relay) => accountAt(ctx, relay, { ...options, entries })))
}

async function accountAt(
  ctx: Context,
  relay: RelayAddress,
  { entries: wanted, ...options }: CallOptions & { readonly entries: number },
): Promise<AccountAt> {
  try {
    const entries: LedgerEntry[] = []
    let now: Account | undefined
    for await (const page of pages(ctx.connect(relay), Math.max(1, Math.min(wanted, pageEntries)), options)) {
      now ??= page
      entries.push(...page.entries.slice(0, wanted - entries.length))
      if (entries.length >= wanted) break
    }
    const { at, purses } = now! // there is a first page, or it threw
    const contracts = await standingsOf(ctx, ctx.connect(relay), { at, purses }, options)
    const backups = await knownBackups(ctx.home, ctx.wallet.identity)
    return { relay, at, purses, entries, backups, contracts }
  } catch (error) {
    options.signal?.throwIfAborted()
    return { relay, error: error as Error }
  }
}

/** Every entry, newest first, as they come. @throws ERR_UNTRUSTED when its sums or pages make no sense, and as `call` */
export async function* ledger(connection: Connection, options: CallOptions): AsyncGenerator<LedgerEntry> {
  for await (const { entries } of pages(connection, pageEntries, options)) yield* entries
}

async function* pages(
  connection: Connection,
  limit: number,
  options: CallOptions,
): AsyncGenerator<Account, void> {
  let cursor: Cursor | undefined
  for (;;) {
    const request = { type: 'account' as const, limit, ...(cursor !== undefined && { cursor }) }
    const { result, more, cursor: next } = (await connection.call(request, options)).reply
    checkSums(connection, result)
    yield result
    if (!more) return
    // A relay gives whole pages: crumbs would keep us asking for ever.
    const { page } = (await connection.info(options.signal)).limits
    if (result.entries.length < Math.min(limit, page) / 2)
      throw new ClientError('ERR_UNTRUSTED', `${connection.address.url} gives its entries in crumbs`)
    if (result.entries.length === 0 || (cursor !== undefined && !isBefore(next, cursor)))
      throw new ClientError('ERR_UNTRUSTED', `the entries of ${connection.address.url} lead nowhere`)
    cursor = next
  }
}

function checkSums({ address: { url } }: Connection, { purses, entries }: Account): void {
  const names = new Set(purses.map(({ purse }) => purse))
  const wrong = purses.find((purse) => !addsUp(purse))?.purse
  if (wrong !== undefined || names.size < purses.length)
    throw new ClientError(
      'ERR_UNTRUSTED',
      wrong === undefined
        ? `${url} names a purse twice`
        : `what ${url} says of the purse ${wrong} does not add up: available is not received − returned − spent − reserved`,
    )
  if (entries.length > pageEntries)
    throw new ClientError('ERR_UNTRUSTED', `${url} gives more entries than were asked for`)
}

/** The relay refuses a cursor of another epoch. */
const isBefore = (cursor: Cursor, other: Cursor): boolean =>
  epochOf(cursor) === epochOf(other) && placeOf(cursor) < placeOf(other)
