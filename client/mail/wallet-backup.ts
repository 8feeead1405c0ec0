/** The backup of the coins as a record to oneself: on every own relay, the former one only until a relay has the new one. */
import { z } from 'zod'
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { decodePayload } from '../../market/payload.ts'
import { parsePath, RecordId } from '../../market/record.ts'
import type { Cursor, RequestOf } from '../../contracts/api.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { readJson, writeDurably } from '../home/durable.ts'
import type { Home } from '../home/home.ts'
import { entries, markDeleted } from '../home/outbox.ts'
import { contentBytes } from '../money/load.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { PageCheck } from '../wire/places.ts'
import { flush } from './flush.ts'
import { post } from './post.ts'
import { walletBackupTag } from './tags.ts'

export const backupLimits = {
  ttlSeconds: 365 * 86_400,
  /** Before it ends it is placed anew, even if no coin has moved. */
  renewMs: 180 * 86_400_000,
  /** Of one relay's list: a page, and pages. */
  listed: 100,
  pages: 10,
  /** How many of the newest are read: each is a pull. */
  read: 4,
} as const

const Placed = z.strictObject({
  /** None yet, in a home that goes on without the backup that others hold. */
  recordId: RecordId.optional(),
  network: z.string(),
  /** What the coins were then, for whoever asks whether they are something else now. */
  state: z.string(),
  takenMs: z.int().min(0),
  /** Records that are to go once a relay has this one. */
  former: z.array(RecordId),
})
type Placed = z.infer<typeof Placed>

export interface Backing {
  readonly network: string
  /** Changes whenever there is something new to be backed up. */
  readonly state: string
  /** The encrypted backup of now. */
  export(): Promise<Uint8Array>
}

/**
 * Places a backup where the coins have changed since the last one, or it grows old. Without relays nothing is done.
 * @throws what keeps it from the relays for now; the former one stays then
 */
export async function placeBackup(ctx: Context, coins: Backing, options: CallOptions): Promise<void> {
  const { home, now } = ctx
  const before = await placed(home)
  const isSame = before?.network === coins.network && before.state === coins.state
  if (isSame && before.takenMs + backupLimits.renewMs > now()) return dropFormer(ctx, before, options)
  if ((await ownRelays(ctx)).length === 0) return
  if (before === undefined) await checkNone(ctx, options)
  const bytes = await coins.export()
  const takenMs = now()
  const { network, state } = coins
  const payload = { type: 'wallet-backup' as const, size: bytes.length, network, taken: takenMs }
  await checkSize(ctx, contentBytes(payload, bytes.length), options.signal)
  const { ttlSeconds } = backupLimits
  const draft = { to: ctx.wallet.identity, payload, bytes, tag: walletBackupTag, ttlSeconds }
  const { recordId, failures } = await post(ctx, draft, { ...options, attempts: 1 })
  const former = before === undefined ? [] : [...before.former, ...(before.recordId ? [before.recordId] : [])]
  const next = { recordId, network, state, takenMs, former }
  await save(home, next)
  await dropFormer(ctx, next, options)
  if (failures.length > 0)
    throw new ClientError(
      'ERR_UNREACHABLE',
      `${failures.map(({ relay }) => relay).join(', ')} did not take it yet; it goes up with a later command`,
    )
}

/** Notes records found on relays that no outbox knows of: they go when the next backup is placed. */
export async function noteFormer(ctx: Context, found: Found): Promise<void> {
  const { recordId, network, takenMs } = found
  const known = await placed(ctx.home)
  const former = [...new Set([...(known?.former ?? []), ...found.others])]
  await save(ctx.home, { recordId, network, state: '', takenMs, former })
}

/** From now on this home places its own; what lies on the relays stays there until it expires. */
export const ignoreBackups = ({ home }: Context, network: string): Promise<void> =>
  save(home, { network, state: '', takenMs: 0, former: [] })

/**
 * A home that knows of no backup must not put a poorer one before the one it came from.
 * @throws ERR_CONFLICT when there is one; what a relay fails with: it may have one
 */
async function checkNone(ctx: Context, options: CallOptions): Promise<void> {
  for (const relay of await ownRelays(ctx)) {
    const found = await listOwn(ctx, ctx.connect(relay), { ...options, attempts: 1 })
    if (found.length > 0)
      throw new MarketError(
        'ERR_CONFLICT',
        `${relay.url} has an earlier one, of before this folder: bring it back first, with relay wallet recover`,
      )
  }
}

const placed = (home: Home): Promise<Placed | undefined> => readJson(fileOf(home), Placed)
const save = (home: Home, of: Placed): Promise<void> => writeDurably(fileOf(home), JSON.stringify(of))
const fileOf = (home: Home): string => home.path('wallet-backup.json')

/** What no relay took is of no use beside a newer one; the others stay until a relay has that. */
async function dropFormer(ctx: Context, now: Placed, options: CallOptions): Promise<void> {
  if (now.former.length === 0) return
  const { home } = ctx
  const all = await entries(home)
  const isThere = now.recordId !== undefined && (all.get(now.recordId)?.accepted.size ?? 0) > 0
  const kept: RecordId[] = []
  for (const id of now.former) {
    const entry = all.get(id)
    if (!isThere && (entry === undefined || entry.accepted.size > 0)) kept.push(id)
    else if (entry !== undefined) await markDeleted(home, id)
    else if (!(await deleteEverywhere(ctx, id, options))) kept.push(id)
  }
  await save(home, { ...now, former: kept })
  await flush(ctx, { ...options, attempts: 1 })
}

/** Of a record that the outbox does not know: it was lost with a folder. */
async function deleteEverywhere(ctx: Context, recordId: RecordId, options: CallOptions): Promise<boolean> {
  const relays = await ownRelays(ctx)
  const calls = relays.map((relay) =>
    ctx.connect(relay).call({ type: 'delete', recordId }, { ...options, attempts: 1 }),
  )
  return (await Promise.allSettled(calls)).every(({ status }) => status === 'fulfilled')
}

/** Relays that do not answer have no say: they refuse it when it comes. */
async function checkSize(ctx: Context, bytes: number, signal: AbortSignal | undefined): Promise<void> {
  for (const relay of await ownRelays(ctx)) {
    const info = await ctx
      .connect(relay)
      .info(signal)
      .catch(() => undefined)
    const most = info?.limits.recordBytes ?? Number.POSITIVE_INFINITY
    if (bytes > most)
      throw new MarketError(
        'ERR_TOO_LARGE',
        `it has ${bytes} bytes and ${relay.url} takes ${most} in a record: keep one with --backup FILE`,
      )
  }
}

export interface Found {
  readonly bytes: Uint8Array
  readonly recordId: RecordId
  readonly network: string
  readonly takenMs: number
  readonly relay: string
  /** Older ones. */
  readonly others: readonly RecordId[]
}

export interface Searched {
  readonly found: Found | undefined
  readonly failures: readonly { relay: string; error: Error }[]
}

/** The newest backup for this network that own relays have, pulled from oneself. One relay's failure stops no other. */
export async function findBackup(ctx: Context, network: string, options: CallOptions): Promise<Searched> {
  const failures: { relay: string; error: Error }[] = []
  const places = new Map<string, { at: number; connections: Connection[] }>()
  const search = async (relay: RelayAddress) => {
    const connection = ctx.connect(relay)
    try {
      for (const { path, at } of await listOwn(ctx, connection, options)) {
        const known = places.get(path) ?? { at, connections: [] }
        places.set(path, { at: Math.max(at, known.at), connections: [...known.connections, connection] })
      }
    } catch (error) {
      failures.push({ relay: relay.url, error: error as Error })
    }
  }
  await Promise.all((await ownRelays(ctx)).map(search))
  options.signal?.throwIfAborted()
  const newest = [...places].sort(([, a], [, b]) => b.at - a.at)
  const read: Omit<Found, 'others'>[] = []
  for (const [path, { connections }] of newest.slice(0, backupLimits.read)) {
    const one = await readOne(ctx, { path, connections, failures }, options)
    if (one?.network === network) read.push(one)
  }
  const [latest] = read.sort((a, b) => b.takenMs - a.takenMs)
  if (latest === undefined) return { found: undefined, failures }
  const others = [...places.keys()].map((path) => parsePath(path).recordId)
  return { found: { ...latest, others: others.filter((id) => id !== latest.recordId) }, failures }
}

/** What we have there for ourselves, with the times of its arrival. */
async function listOwn(ctx: Context, connection: Connection, options: CallOptions) {
  const self = ctx.wallet.identity
  const found: { path: string; at: number }[] = []
  const { listed: limit, pages: most } = backupLimits
  const filter = { type: 'inventory' as const, owner: [self], tag: walletBackupTag, detail: true, limit }
  const pages = new PageCheck()
  let place: { cursor: Cursor } | { afterTs: number } = { afterTs: 0 }
  for (let page = 0; page < most; page++) {
    const request: RequestOf<'inventory'> = { ...filter, ...place }
    const { reply } = await connection.call(request, options)
    pages.take({ reply, limit, now: ctx.now() })
    for (const entry of reply.result) {
      const { path, at } = typeof entry === 'string' ? { path: entry, at: 0 } : entry
      const { owner, receiver } = parsePath(path)
      if (owner === self && receiver === self) found.push({ path, at })
    }
    if (!reply.more) break
    place = { cursor: reply.cursor }
  }
  return found
}

async function readOne(
  { wallet }: Context,
  {
    path,
    connections,
    failures,
  }: { path: string; connections: Connection[]; failures: Searched['failures'] },
  options: CallOptions,
): Promise<Omit<Found, 'others'> | undefined> {
  const failed = failures as { relay: string; error: Error }[]
  for (const connection of connections) {
    const relay = formatAddress(connection.address)
    try {
      const { record } = await connection.call({ type: 'read', path }, options)
      if (record === undefined) continue
      const { recordId } = record.msg.request
      const plaintext = await wallet.decrypt(record.content, { recordId, counterparty: wallet.identity })
      const { payload, bytes } = decodePayload(plaintext)
      if (payload.type !== 'wallet-backup') return undefined
      return { bytes, recordId, network: payload.network, takenMs: payload.taken, relay }
    } catch (error) {
      options.signal?.throwIfAborted()
      failed.push({ relay: connection.address.url, error: error as Error })
    }
  }
  return undefined
}
