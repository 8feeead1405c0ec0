/** The backup of the coins as a record to oneself: on every own relay, the former one only until a relay has the new one. */
import { MarketError } from '../../market/errors.ts'
import { isFree } from '../../market/price.ts'
import { parsePath, type RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { type Entry, entries, markDeleted, receiptOf } from '../home/outbox.ts'
import { backupsInOutbox, walletBackupTag } from '../home/own-backups.ts'
import { type PlacedBackup, placedBackup, savePlacedBackup } from '../home/placed-backup.ts'
import { contentBytes } from '../money/load.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'
import { flush } from './flush.ts'
import { post } from './post.ts'
import { type Found, listOwn } from './wallet-backup-search.ts'

export const backupLimits = {
  ttlSeconds: 365 * 86_400,
  /** Before it ends it is placed anew, even if no coin has moved. */
  renewMs: 180 * 86_400_000,
} as const

export interface Backing {
  readonly network: string
  /** Changes whenever there is something new to be backed up. */
  readonly state: string
  /** The encrypted backup of now. */
  export(): Promise<Uint8Array>
}

/**
 * Places a backup where the coins have changed since the last one, or it grows old. Without relays nothing is done. It is in
 * the outbox before a relay sees it: one that an interruption left behind goes when the next is placed.
 * @throws what keeps it from the relays for now; the former one stays then
 */
export async function placeBackup(ctx: Context, coins: Backing, options: CallOptions): Promise<void> {
  const { home, now } = ctx
  const before = await placedBackup(home)
  const isSame = before?.network === coins.network && before.state === coins.state
  if (isSame && before.takenMs + backupLimits.renewMs > now()) return dropFormer(ctx, before, options)
  if ((await ownRelays(ctx)).length === 0) return
  const left = await backupsInOutbox(ctx.home, { owner: ctx.wallet.identity })
  if (before === undefined) await checkNone(ctx, left, options)
  const bytes = await coins.export()
  const takenMs = now()
  const { network, state } = coins
  const payload = { type: 'wallet-backup' as const, size: bytes.length, network, taken: takenMs }
  await checkSize(ctx, contentBytes(payload, bytes.length), options.signal)
  const { ttlSeconds } = backupLimits
  const draft = { to: ctx.wallet.identity, payload, bytes, tag: walletBackupTag, ttlSeconds }
  const { recordId, accepted, failures } = await post(ctx, draft, { ...options, attempts: 1 })
  const ignored = before?.ignored ?? []
  const older = [...(before?.former ?? []), ...(before?.recordId ? [before.recordId] : []), ...left]
  const former = [...new Set(older)].filter((id) => !ignored.includes(id))
  const next = { recordId, network, state, takenMs, former, ignored }
  await savePlacedBackup(home, next)
  await sayPaid(ctx, { recordId, accepted })
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
  const known = await placedBackup(ctx.home)
  const former = [...new Set([...(known?.former ?? []), ...found.others])]
  await savePlacedBackup(ctx.home, { recordId, network, state: '', takenMs, former })
}

/** From now on this home places its own; what lies on the relays stays there until it expires. */
export async function ignoreBackups(ctx: Context, network: string): Promise<void> {
  const ignored = await backupsInOutbox(ctx.home, { owner: ctx.wallet.identity })
  await savePlacedBackup(ctx.home, { network, state: '', takenMs: 0, former: [], ignored })
}

/**
 * A home that knows of no backup must not put a poorer one before the one it came from.
 * @throws ERR_CONFLICT when there is one that is not `ours`; what a relay fails with: it may have one
 */
async function checkNone(ctx: Context, ours: readonly RecordId[], options: CallOptions): Promise<void> {
  for (const relay of await ownRelays(ctx)) {
    const found = await listOwn(ctx, ctx.connect(relay), { ...options, attempts: 1 })
    if (found.some(({ path }) => !ours.includes(parsePath(path).recordId)))
      throw new MarketError(
        'ERR_CONFLICT',
        `${relay.url} has an earlier one, of before this folder: bring it back first, with relay wallet recover`,
      )
  }
}

/** The user hears once that it is there, where it costs something. */
async function sayPaid(
  { home, notify }: Context,
  { recordId: id, accepted }: { recordId: RecordId; accepted: readonly Key[] },
): Promise<void> {
  const receipts = await Promise.all(accepted.map((relay) => receiptOf(home, { id, relay })))
  const isPaid = receipts.some((receipt) => receipt !== undefined && !isFree(receipt.charge.prices))
  if (isPaid && (await home.noticeOnce('backup-paid').catch(() => true))) notify({ type: 'backup-paid' })
}

/** What no relay took is of no use beside a newer one; elsewhere each goes from a relay once that has the newer one. */
async function dropFormer(ctx: Context, now: PlacedBackup, options: CallOptions): Promise<void> {
  if (now.former.length === 0) return
  const { home } = ctx
  const all = await entries(home)
  const holders = (now.recordId === undefined ? undefined : all.get(now.recordId))?.accepted ?? new Set<Key>()
  const kept: RecordId[] = []
  for (const id of now.former) {
    const entry = all.get(id)
    if (holders.size === 0 && (entry === undefined || entry.accepted.size > 0)) kept.push(id)
    else if (entry === undefined && !(await deleteAt(ctx, { id, holders }, options))) kept.push(id)
    else if (entry !== undefined) {
      await markDeleted(home, id)
      if (!isGone(entry)) kept.push(id)
    }
  }
  await savePlacedBackup(home, { ...now, former: kept })
  await flush(ctx, { ...options, attempts: 1 })
}

const isGone = ({ accepted, queued, gone }: Entry): boolean =>
  [...accepted, ...queued].every((relay) => gone.has(relay))

/** Of a record that the outbox does not know: it was lost with a folder. True when it is gone from every own relay. */
async function deleteAt(
  ctx: Context,
  { id: recordId, holders }: { id: RecordId; holders: ReadonlySet<Key> },
  options: CallOptions,
): Promise<boolean> {
  const relays = await ownRelays(ctx)
  const calls = relays
    .filter(({ key }) => holders.has(key))
    .map((relay) => ctx.connect(relay).call({ type: 'delete', recordId }, { ...options, attempts: 1 }))
  const done = await Promise.allSettled(calls)
  return done.length === relays.length && done.every(({ status }) => status === 'fulfilled')
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
