/** One folder brought in step with its other copies: looked at, told of, changed, announced. */
import { realpath, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type FolderEntry, isFile } from '../../market/folder.ts'
import { MarketError } from '../../market/errors.ts'
import { payloadLimits, type Piece } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { codeOf } from '../errors.ts'
import { named } from '../home/durable.ts'
import {
  keptFolder,
  type KeptFolder,
  lockOf,
  newDevice,
  type Place,
  placeOf,
  readIndex,
  saveFolder,
  saveIndex,
} from '../home/folders.ts'
import type { Progress } from '../files/transfer.ts'
import type { CostOptions } from '../money/bound.ts'
import { friend } from '../people/friends.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'
import { type Applied, apply, nothingApplied } from './apply.ts'
import { type Copy, hearCopies } from './hear.ts'
import type { Failures, Share } from './records.ts'
import { forgetOld, merge } from './merge.ts'
import { publish, type Published } from './publish.ts'
import { readPiece, scan } from './scan.ts'

const syncLimits = {
  ttlSeconds: 30 * 86_400,
  /** How often a folder that changes while it is read is looked at again. */
  attempts: 3,
} as const

export interface SyncOptions extends CallOptions, CostOptions {
  /** What both call it; the name of the directory unless it is said. */
  readonly name?: string | undefined
  /** How long relays keep what the others have not got; it is renewed by later calls. */
  readonly ttlSeconds?: number | undefined
  readonly maxPulls?: number | undefined
  /** Takes it as meant that all files are gone. */
  readonly allowEmpty?: boolean | undefined
  readonly onProgress?: ((progress: Progress) => void) | undefined
}

/** What a call did. Names in it may be a friend's words. */
export interface Synced extends Omit<Applied, 'fetchedBytes'> {
  readonly name: string
  readonly directory: string
  /** Of what we have to tell: `unchanged` where the others know; `queued` where no relay took it yet, and a later call goes on. */
  readonly state: Published['state']
  /** Records of ours that went up, and bytes of pieces. */
  readonly sent: { readonly records: number; readonly bytes: number; readonly ids: readonly RecordId[] }
  /** Of files, and of the others' lists of them. */
  readonly fetchedBytes: number
  readonly failures: readonly { relay: string; error: Error }[]
  /** Versions of other copies that say what nobody who means well would say: nothing of them is done. */
  readonly refused: readonly Error[]
}

/**
 * Brings a directory in step with the copies of a friend, or of our own other devices where `peer` is ourselves.
 * @throws ERR_NOT_FOUND, ERR_CONFLICT where another directory has this name, or all its files are gone; ERR_COST and others
 *   as `publish`; ERR_NO_SPACE
 */
export async function syncFolder(
  ctx: Context,
  what: { readonly directory: string; readonly peer: Key },
  options: SyncOptions = {},
): Promise<Synced> {
  const directory = await named(what.directory, realpath(what.directory))
  if (!(await stat(directory)).isDirectory())
    throw new MarketError('ERR_NOT_FOUND', `${directory} is not a directory`)
  const name = (options.name ?? basename(directory)).normalize('NFC')
  if (name === '' || name.length > payloadLimits.nameLength)
    throw new MarketError('ERR_MALFORMED', 'a shared folder has a name of 1 to 255 characters')
  const place = placeOf(ctx.home, { peer: what.peer, name })
  return ctx.home.lock(
    lockOf(place),
    () => inStep(ctx, place, { directory, name, peer: what.peer }, options),
    {
      signal: options.signal,
    },
  )
}

async function inStep(
  ctx: Context,
  place: Place,
  what: Pick<KeptFolder, 'directory' | 'name' | 'peer'>,
  options: SyncOptions,
): Promise<Synced> {
  const known = await keptFolder(place)
  if (known !== undefined && known.directory !== what.directory)
    throw new MarketError(
      'ERR_CONFLICT',
      `${known.directory} is the folder of that name: give this one another (--name)`,
    )
  const fresh = { ...what, device: newDevice(), sequence: 0, heads: [], until: 0, digest: '' }
  if (known === undefined) await saveFolder(place, fresh)
  const relays =
    what.peer === ctx.wallet.identity
      ? await ownRelays(ctx)
      : ((await friend(ctx.home, what.peer))?.relays ?? [])
  const { signal, attempts, onProgress } = options
  let share: Share = { ctx, place, relays, folder: known ?? fresh, options: { signal, attempts } }
  let news = await hearCopies(share)
  if (news.hasTwin) {
    share = { ...share, folder: { ...share.folder, device: newDevice() } }
    await saveFolder(place, share.folder)
    news = await hearCopies(share)
  }
  const { copies, failures, refused } = news
  const show = (direction: Progress['direction']) => (doneBytes: number, totalBytes: number) =>
    onProgress?.({ direction, name: what.name, doneBytes, totalBytes })
  const total = { ...nothingApplied(), fetchedBytes: news.fetchedBytes }
  for (let attempt = 1; ; attempt++) {
    try {
      const entries = await bringIn({ share, copies, failures, total, onProgress: show('fetching') }, options)
      const read = (path: string, offset: number, piece: Piece) =>
        readPiece(join(what.directory, path), offset, piece)
      const { maxCost, maxSpend, onQuote, maxPulls, ttlSeconds = syncLimits.ttlSeconds } = options
      const terms = { maxCost, maxSpend, onQuote, maxPulls, ttlSeconds, onProgress: show('sending') }
      const done = await publish(
        { ...share, folder: (await keptFolder(place)) ?? fresh },
        { entries, copies, read },
        terms,
      )
      const { state, records, bytes, ids } = done
      const sent = { records, bytes, ids }
      return { ...what, ...total, state, sent, refused, failures: [...failures, ...done.failures] }
    } catch (error) {
      if (codeOf(error) !== 'ERR_CHANGED' || attempt >= syncLimits.attempts) throw error
    }
  }
}

interface Bringing {
  readonly share: Share
  readonly copies: readonly Copy[]
  readonly failures: Failures
  readonly total: Applied
  onProgress(doneBytes: number, totalBytes: number): void
}

/** The folder as it is and as the others have it: what this copy then is. */
async function bringIn(
  { share, copies, failures, total, onProgress }: Bringing,
  { signal, allowEmpty }: SyncOptions,
): Promise<FolderEntry[]> {
  const { ctx, place } = share
  const folder = (await keptFolder(place)) ?? share.folder
  const index = await readIndex(place)
  const looking = {
    device: folder.device,
    sequence: folder.sequence + 1,
    nowMs: ctx.now(),
    signal,
    allowEmpty,
  }
  const unshared = await scan(folder.directory, index, looking)
  forgetOld(index, ctx.now())
  // Before anything of it is told: a version never counts for two contents.
  await saveIndex(place, index)
  const { steps, skipped } = merge(
    index,
    copies.map(({ entries }) => entries),
    ctx.now(),
  )
  const job = {
    share: { ...share, folder },
    index,
    places: piecePlaces(copies, ctx.now()),
    failures,
    onProgress,
  }
  const applied = await apply(job, steps)
  forgetOld(index, ctx.now())
  total.received.push(...applied.received)
  total.removed.push(...applied.removed)
  total.conflicts.push(...applied.conflicts)
  total.fetchedBytes += applied.fetchedBytes
  total.skipped.splice(0, total.skipped.length, ...unshared, ...skipped, ...applied.skipped)
  total.waiting.splice(0, total.waiting.length, ...applied.waiting)
  return [...index.values()].map(({ entry }) => entry)
}

/** Pieces that the others say the place of, by their hashes. */
function piecePlaces(copies: readonly Copy[], nowMs: number): Map<string, Piece> {
  const live = copies.filter(({ expires }) => expires > nowMs).flatMap(({ entries }) => entries)
  const located = live.filter(isFile).flatMap(({ pieces }) => pieces.filter(({ at }) => at !== undefined))
  return new Map(located.map((piece) => [piece.sha256, piece]))
}
