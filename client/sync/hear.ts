/** The other copies of a folder: the newest version of each, found by its tag where its owner's records are. */
import { type FolderEntry, folderLimits, parseEntries } from '../../market/folder.ts'
import type { RelayAddress } from '../../market/address.ts'
import { fromUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { type Folder, type Piece, decodePayload } from '../../market/payload.ts'
import { formatPath, parsePath, type RecordId, type SealedRecord } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Cursor, RequestOf } from '../../contracts/api.ts'
import type { Context } from '../context.ts'
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
import { noteRead } from '../mail/acks.ts'
import { folderTag } from '../mail/tags.ts'
import type { CallOptions } from '../wire/connection.ts'
import { PageCheck } from '../wire/places.ts'
import { hashHex } from './cut.ts'

const hearLimits = {
  /** Of one relay's list of versions: a page, and pages. */
  listed: 100,
  pages: 10,
  /** Each version that is read is a pull. */
  read: 16,
  seen: 500,
} as const

export type Failures = { relay: string; error: Error }[]

/** A folder, whose other copies are where. */
export interface Share {
  readonly ctx: Context
  readonly place: Place
  readonly folder: KeptFolder
  /** The relays of its peer. */
  readonly relays: readonly RelayAddress[]
  readonly options: CallOptions
}

export interface Copy {
  readonly device: string
  readonly head: Folder
  readonly sentMs: number
  readonly expires: number
  readonly entries: readonly FolderEntry[]
}

/** Relays see that records belong together, and not what to: each folder has a tag of its own. */
export function tagOf(self: Key, { peer, name }: Pick<KeptFolder, 'peer' | 'name'>): string {
  return folderTag(hashOf([...[self, peer].sort(), name].join(' ')).slice(0, 16))
}

/** Every other copy as far as it was ever heard of, after asking for news. What a relay fails at stops no other. */
export async function hearCopies(
  share: Share,
): Promise<{ copies: Copy[]; failures: Failures; refused: Error[] }> {
  const { place, folder, options } = share
  const heard = await readHeard(place)
  const failures: Failures = []
  const refused: Error[] = []
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
      await takeHead(share, heard, path)
    } catch (error) {
      options.signal?.throwIfAborted()
      // A relay's no, or silence, is no fact about the folder.
      if (codeOf(error) !== 'ERR_MALFORMED' || error instanceof Refused) {
        failures.push({ relay: share.relays[0]?.url ?? '', error: error as Error })
        continue
      }
      refused.push(error as Error)
    }
    heard.seen = [...heard.seen, recordId].slice(-hearLimits.seen)
    await saveHeard(place, heard)
  }
  return { copies: await knownCopies(place, heard), failures, refused }
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
async function takeHead(share: Share, heard: Heard, path: string): Promise<void> {
  const { place, folder } = share
  const { record, payload } = await readRecord(share, path)
  if (payload.type !== 'folder') throw new MarketError('ERR_MALFORMED', 'it announces no version of a folder')
  const { device, name, sequence, size } = payload
  const before = heard.copies[device]
  if (name !== folder.name || device === folder.device || sequence <= (before?.head.sequence ?? 0)) return
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

/** What a record of pieces carries. @throws ERR_NOT_FOUND where no relay has it, ERR_MALFORMED, and as `call` */
export async function readPack(share: Share, id: RecordId): Promise<Uint8Array> {
  const { peer } = share.folder
  const path = formatPath({ owner: peer, receiver: share.ctx.wallet.identity, recordId: id })
  const { payload, bytes } = await readRecord(share, path)
  if (payload.type !== 'chunk') throw new MarketError('ERR_MALFORMED', 'a record of pieces is none')
  return bytes
}

async function readRecord({ ctx, relays, options }: Share, path: string) {
  let failure: unknown
  for (const relay of relays) {
    const connection = ctx.connect(relay)
    try {
      const { record, re } = await connection.call({ type: 'read', path }, options)
      if (record === undefined) continue
      const opened = await openRecord(ctx, record)
      if (record.msg.from !== ctx.wallet.identity) await noteRead(ctx, { record, re, relay: relay.key })
      await connection.finishRead(path)
      return { ...opened, record }
    } catch (error) {
      options.signal?.throwIfAborted()
      failure = error
    }
  }
  throw failure ?? new MarketError('ERR_NOT_FOUND', `no relay has ${path} any more`)
}

async function openRecord({ wallet }: Context, record: SealedRecord) {
  const { from, request } = record.msg
  const plaintext = await wallet.decrypt(record.content, { recordId: request.recordId, counterparty: from })
  return decodePayload(plaintext)
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
