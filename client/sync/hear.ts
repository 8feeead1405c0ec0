/** The other copies of a folder: the newest version of each, found by its tag where its owner's records are. */
import { type FolderEntry, folderLimits, parseEntries } from '../../market/folder.ts'
import type { RelayAddress } from '../../market/address.ts'
import { fromUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import type { Folder, Piece } from '../../market/payload.ts'
import { parsePath, type RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Cursor, RequestOf } from '../../contracts/api.ts'
import { codeOf, Refused } from '../errors.ts'
import {
  type Heard,
  type KeptFolder,
  type Place,
  readHeard,
  readList,
  saveHeard,
  saveList,
} from '../home/folders.ts'
import { hashOf } from '../home/home.ts'
import { folderTag } from '../mail/tags.ts'
import { PageCheck } from '../wire/places.ts'
import { hashHex } from './cut.ts'
import { type Failures, placesOf, readPack, readRecord, type Share } from './records.ts'

const hearLimits = {
  /** Of one relay's list of versions: a page, and pages. */
  listed: 100,
  pages: 10,
  /** Each version that is read is a pull. */
  read: 16,
  seen: 500,
} as const

export interface Copy {
  readonly device: string
  readonly head: Folder
  readonly sentMs: number
  readonly expires: number
  readonly entries: readonly FolderEntry[]
}

export interface News {
  readonly copies: readonly Copy[]
  readonly failures: Failures
  readonly refused: readonly Error[]
  /** Another home says to be this copy: it is a copy of this one, or this one of it. */
  readonly hasTwin: boolean
}

/** Relays see that records belong together, and not what to: each folder has a tag of its own. */
export function tagOf(self: Key, { peer, name }: Pick<KeptFolder, 'peer' | 'name'>): string {
  return folderTag(hashOf([...[self, peer].sort(), name].join(' ')).slice(0, 16))
}

/** Every other copy as far as it was ever heard of, after asking for news. What a relay fails at stops no other. */
export async function hearCopies(share: Share): Promise<News> {
  const { place, folder, options } = share
  const heard = await readHeard(place)
  const failures: Failures = []
  const refused: Error[] = []
  let hasTwin = false
  const found = new Map<string, number>()
  await Promise.all(
    share.relays.map(async (relay) => {
      try {
        for (const { path, at } of await listHeads(share, relay))
          found.set(path, Math.max(at, found.get(path) ?? 0))
      } catch (error) {
        failures.push({ relay: relay.url, error: error as Error })
      }
    }),
  )
  options.signal?.throwIfAborted()
  const isNews = (path: string) => {
    const { recordId } = parsePath(path)
    const isKnown = Object.values(heard.copies).some((copy) => copy.recordId === recordId)
    return !isKnown && !heard.seen.includes(recordId) && !folder.heads.includes(recordId)
  }
  const news = [...found].filter(([path]) => isNews(path)).sort(([, a], [, b]) => b - a)
  for (const [path] of news.slice(0, hearLimits.read)) {
    const { recordId } = parsePath(path)
    try {
      if ((await takeHead(share, heard, path)) === 'twin') {
        hasTwin = true
        continue
      }
    } catch (error) {
      options.signal?.throwIfAborted()
      // A relay's no, or silence, is no fact about the folder.
      if (codeOf(error) !== 'ERR_MALFORMED' || error instanceof Refused) {
        failures.push({ relay: placesOf(share), error: error as Error })
        continue
      }
      refused.push(error as Error)
    }
    heard.seen = [...heard.seen, recordId].slice(-hearLimits.seen)
    await saveHeard(place, heard)
  }
  return { copies: await knownCopies(place, heard), failures, refused, hasTwin }
}

async function knownCopies(place: Place, heard: Heard): Promise<Copy[]> {
  const copies: Copy[] = []
  for (const [device, { head, sentMs, expires }] of Object.entries(heard.copies)) {
    const list = await readList(place, device)
    if (list !== undefined && hashHex(list) === head.sha256)
      copies.push({ device, head, sentMs, expires, entries: parseEntries(fromUtf8(list)) })
  }
  return copies
}

/** Reads what announces a version, then its list: only the pieces of it that the version before had not. */
async function takeHead(share: Share, heard: Heard, path: string): Promise<'twin' | undefined> {
  const { place, folder } = share
  const { record, payload } = await readRecord(share, path)
  if (payload.type !== 'folder') throw new MarketError('ERR_MALFORMED', 'it announces no version of a folder')
  const { device, name, sequence, size } = payload
  const before = heard.copies[device]
  if (name === folder.name && device === folder.device && sequence > folder.sequence) return 'twin'
  if (name !== folder.name || device === folder.device || sequence <= (before?.head.sequence ?? 0))
    return undefined
  if (before === undefined && Object.keys(heard.copies).length >= folderLimits.devices)
    throw new MarketError('ERR_MALFORMED', `the folder has more than ${folderLimits.devices} copies`)
  const total = payload.pieces.reduce((sum, { length }) => sum + length, 0)
  if (size > folderLimits.indexBytes || total !== size)
    throw new MarketError('ERR_MALFORMED', 'the list of the folder is too long, or not as long as it says')
  const known = before && (await piecesOf(before.head.pieces, await readList(place, device)))
  const packs = new Map<RecordId, Promise<Uint8Array>>()
  const parts: Uint8Array[] = []
  for (const piece of payload.pieces)
    parts.push(known?.get(piece.sha256) ?? (await fetchPiece(share, packs, piece)))
  const list = Buffer.concat(parts)
  if (hashHex(list) !== payload.sha256)
    throw new MarketError('ERR_MALFORMED', 'the list of the folder is another')
  parseEntries(fromUtf8(list))
  await saveList(place, device, list)
  const about = {
    recordId: record.msg.request.recordId,
    sentMs: record.msg.timestamp,
    expires: record.expires,
  }
  heard.copies[device] = { head: payload, ...about }
  return undefined
}

async function piecesOf(pieces: readonly Piece[], list: Uint8Array | undefined) {
  const found = new Map<string, Uint8Array>()
  let offset = 0
  for (const { sha256, length } of pieces) {
    const bytes = list?.subarray(offset, offset + length)
    if (bytes !== undefined && hashHex(bytes) === sha256) found.set(sha256, bytes)
    offset += length
  }
  return found
}

async function fetchPiece(
  share: Share,
  packs: Map<RecordId, Promise<Uint8Array>>,
  { at, offset = 0, length, sha256 }: Piece,
): Promise<Uint8Array> {
  if (at === undefined)
    throw new MarketError('ERR_MALFORMED', 'the list of the folder does not say where it is')
  const pack = packs.get(at) ?? readPack(share, at)
  packs.set(at, pack)
  const bytes = (await pack).subarray(offset, offset + length)
  if (hashHex(bytes) !== sha256) throw new MarketError('ERR_MALFORMED', 'a piece of the list is another')
  return bytes
}

async function listHeads({ ctx, folder, options }: Share, relay: RelayAddress) {
  const self = ctx.wallet.identity
  const connection = ctx.connect(relay)
  const { listed: limit, pages: most } = hearLimits
  const found: { path: string; at: number }[] = []
  const filter = {
    type: 'inventory' as const,
    owner: [folder.peer],
    tag: tagOf(self, folder),
    detail: true,
    limit,
  }
  const pages = new PageCheck()
  let place: { cursor: Cursor } | { afterTs: number } = { afterTs: 0 }
  for (let page = 0; page < most; page++) {
    const request: RequestOf<'inventory'> = { ...filter, ...place }
    const { reply } = await connection.call(request, options)
    pages.take({ reply, limit, now: ctx.now() })
    for (const entry of reply.result) {
      const { path, at } = typeof entry === 'string' ? { path: entry, at: 0 } : entry
      const { owner, receiver } = parsePath(path)
      if (owner === folder.peer && receiver === self) found.push({ path, at })
    }
    if (!reply.more) break
    place = { cursor: reply.cursor }
  }
  return found
}
