/** What a version of this copy consists of: what goes up, and what it says of where everything is. */
import { type FileEntry, type FolderEntry, formatEntries, isFile } from '../../market/folder.ts'
import { toUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { type Folder, payloadLimits, type Piece } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import { readPacks } from '../home/folders.ts'
import { type Entry, entries } from '../home/outbox.ts'
import { chunkBytesFor } from '../files/chunks.ts'
import { newRecordId } from '../mail/post.ts'
import { cutBytes, hashHex, indexSizes } from './cut.ts'
import type { Copy } from './hear.ts'
import type { Share } from './records.ts'
import { livePacks, type PackPlan, type Places, placesIn, planPacks, type Wanted } from './packs.ts'

/** What a version consists of, before any of it is sealed. */
export interface Plan {
  readonly id: RecordId
  readonly head: Folder
  readonly packs: readonly PackPlan[]
  /** Sealed before, and not on enough relays. */
  readonly unsent: readonly Entry[]
  /** Records of ours that the version names. */
  readonly named: ReadonlySet<RecordId>
  readonly digest: string
}

/** A piece of a file of the folder, which can be read there. */
export interface Source {
  readonly entries: readonly FolderEntry[]
  readonly copies: readonly Copy[]
  read(path: string, offset: number, piece: Piece): Promise<Uint8Array>
}

/** Where a piece is; undefined where the reader has it. */
type KnownPlaces = ReadonlyMap<string, { readonly at: RecordId; readonly offset: number } | undefined>

/** The version to be told of next; undefined where the others know the folder as it is, for a good while still. */
export async function planVersion(
  share: Share,
  { entries: all, copies, read }: Source,
  ttlSeconds: number,
): Promise<Plan | undefined> {
  const { ctx, place, folder } = share
  if (all.length === 0 && folder.heads.length === 0) return undefined
  const packBytes = await chunkBytesFor(ctx, share.options.signal)
  // What ends sooner is as good as gone.
  const leastMs = ttlSeconds * 500
  const live = await livePacks(ctx, await readPacks(place), leastMs)
  const ours = placesIn(live.map(({ pack }) => pack))
  const theirs = theirPlaces(share, copies, leastMs)
  const files = all.filter(isFile)
  const isThere = ({ sha256 }: Piece) => ours.has(sha256) || theirs.has(sha256)
  const wanted = files.flatMap((entry) => piecesOf(entry, read)).filter(({ piece }) => !isThere(piece))
  const digest = digestOf(all)
  const isDue = folder.until - ctx.now() < leastMs / 2
  if (wanted.length === 0 && digest === folder.digest && !isDue) return undefined
  const packs = planPacks(wanted, packBytes)
  const places: KnownPlaces = new Map([...theirs, ...ours, ...placesIn(packs.map(({ pack }) => pack))])
  const list = toUtf8(formatEntries(all.map((entry) => located(entry, places))))
  const index = planList(list, ours, packBytes)
  const known = await entries(ctx.home)
  const previous = folder.heads.findLast((id) => known.has(id))
  const head: Folder = {
    ...{ type: 'folder', name: folder.name, device: folder.device, sequence: folder.sequence + 1 },
    ...(previous && { previous }),
    ...{ size: list.length, sha256: hashHex(list), pieces: index.pieces },
  }
  const named = new Set([
    ...files.flatMap(({ pieces }) => pieces.flatMap(({ sha256 }) => places.get(sha256)?.at ?? [])),
    ...index.pieces.flatMap(({ at }) => at ?? []),
  ])
  const isUnsent = ({ id, accepted, quorum = ctx.quorum }: Entry) => named.has(id) && accepted.size < quorum
  const unsent = live.map(({ entry }) => entry).filter(isUnsent)
  return { id: newRecordId(), head, packs: [...packs, ...index.packs], named, unsent, digest }
}

/** Each with where it is read in its file. */
function piecesOf({ path, pieces }: FileEntry, read: Source['read']): Wanted[] {
  let end = 0
  return pieces.map((piece) => {
    const offset = end
    end += piece.length
    return { piece, read: () => read(path, offset, piece) }
  })
}

/** The list in pieces, and the records for those of them that are on no relay yet. @throws ERR_TOO_LARGE */
function planList(list: Uint8Array, ours: Places, packBytes: number): { pieces: Piece[]; packs: PackPlan[] } {
  const cut = [...cutBytes(list, indexSizes(list.length))]
  if (cut.length > payloadLimits.indexPieces)
    throw new MarketError('ERR_TOO_LARGE', 'the list of this folder is too long')
  const fresh = cut.filter(({ piece }) => !ours.has(piece.sha256))
  const wanted = fresh.map(({ piece, bytes }) => ({ piece, read: async () => bytes }))
  const packs = planPacks(wanted, packBytes)
  const places = new Map([...ours, ...placesIn(packs.map(({ pack }) => pack))])
  return { pieces: cut.map(({ piece }) => ({ ...piece, ...places.get(piece.sha256) })), packs }
}

/** Pieces that need not go up: a friend has them; our other devices put them where all of ours may read. */
function theirPlaces({ ctx, folder }: Share, copies: readonly Copy[], leastMs: number): KnownPlaces {
  const isSelf = folder.peer === ctx.wallet.identity
  const newest = [...copies].sort((a, b) => b.sentMs - a.sentMs).slice(0, isSelf ? undefined : 1)
  const places = new Map<string, { at: RecordId; offset: number } | undefined>()
  for (const { entries: all, expires } of newest) {
    if (isSelf && expires - ctx.now() < leastMs) continue
    for (const { sha256, at, offset } of all.filter(isFile).flatMap(({ pieces }) => pieces)) {
      if (!isSelf) places.set(sha256, undefined)
      else if (at !== undefined && offset !== undefined) places.set(sha256, { at, offset })
    }
  }
  return places
}

function located(entry: FolderEntry, places: KnownPlaces): FolderEntry {
  if (!isFile(entry)) return entry
  const pieces = entry.pieces.map(({ sha256, length }) => ({ sha256, length, ...places.get(sha256) }))
  return { ...entry, pieces }
}

/** What a version says, and not where it lies. */
const digestOf = (all: readonly FolderEntry[]): string =>
  hashHex(
    toUtf8(
      formatEntries(all.map((entry) => (isFile(entry) ? { ...entry, modifiedMs: 0, pieces: [] } : entry))),
    ),
  )
