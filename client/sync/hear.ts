/** The other copies of a folder: the newest version of each, found by its tag where its owner's records are. */
import { type FolderEntry, folderLimits, parseEntries } from '../../market/folder.ts'
import type { RelayAddress } from '../../market/address.ts'
import { fromUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import type { Folder, Piece } from '../../market/payload.ts'
import { parsePath, type RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
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
import { noteTrouble } from '../home/redundancy.ts'
import { folderTag } from '../mail/tags.ts'
import { listTagged } from '../wire/listing.ts'
import { eachLimited } from '../wire/retry.ts'
import { hashHex } from './cut.ts'
import { type Failures, readPack, readRecord, type Share, urlsOf } from './records.ts'

const hearLimits = {
  /** Of one relay's list of versions: a page, and pages. */
  listed: 100,
  pages: 10,
  /** Versions that one relay lists; each that is read is a pull. */
  read: 16,
  /** Bytes of the lists of all copies: they are compared in memory, where they take several times as much. */
  lists: 4 * folderLimits.indexBytes,
  seen: 500,
} as const

export interface Copy {
  readonly device: string
  readonly head: Folder
  readonly sentMs: number
  readonly expires: number
  readonly entries: readonly FolderEntry[]
}

interface News {
  readonly copies: readonly Copy[]
  readonly failures: Failures
  readonly refused: readonly Error[]
  /** Of lists. */
  readonly fetchedBytes: number
  /** Another home says to be this copy: it is a copy of this one, or this one of it. */
  readonly hasTwin: boolean
}

/** Relays see that records belong together, and not what to: each folder has a tag of its own. */
export function tagOf(self: Key, { peer, name }: Pick<KeptFolder, 'peer' | 'name'>): string {
  return folderTag(hashOf([...[self, peer].sort(), name].join(' ')).slice(0, 16))
}

/** Every other copy as far as it was ever heard of, after asking for news. What a relay fails at stops no other. */
export async function hearCopies(share: Share): Promise<News> {
  const { place, options } = share
  const heard = await readHeard(place)
  const failures: Failures = []
  const refused: Error[] = []
  let hasTwin = false
  let fetchedBytes = 0
  for (const { path, read } of await readHeads(share, await newHeads(share, heard, failures))) {
    try {
      if ('error' in read) throw read.error
      const taken = await takeHead(share, heard, read.head)
      if (taken === 'twin') {
        hasTwin = true
        continue
      }
      fetchedBytes += taken
    } catch (error) {
      options.signal?.throwIfAborted()
      // A relay's no, or silence, is no fact about the folder.
      if (codeOf(error) !== 'ERR_MALFORMED' || error instanceof Refused) {
        failures.push({ relay: urlsOf(share), error: error as Error })
        continue
      }
      refused.push(error as Error)
    }
    heard.seen = [...heard.seen, parsePath(path).recordId].slice(-hearLimits.seen)
    await saveHeard(place, heard)
  }
  return { copies: await knownCopies(place, heard), failures, refused, fetchedBytes, hasTwin }
}

/** The paths of versions that were not read yet, the newest first. */
async function newHeads(share: Share, heard: Heard, failures: Failures): Promise<string[]> {
  const { ctx, folder, options } = share
  const copies = Object.values(heard.copies).map(({ recordId }) => recordId)
  const known = new Set([...copies, ...heard.seen, ...folder.heads])
  const found = new Map<string, number>()
  await Promise.all(
    share.relays.map(async (relay) => {
      try {
        const listed = await listHeads(share, relay)
        const news = listed.filter(({ path }) => !known.has(parsePath(path).recordId))
        news.sort((a, b) => b.at - a.at)
        // Of each relay: one that lists what is not there keeps nobody from what others have.
        for (const { path, at } of news.slice(0, hearLimits.read))
          found.set(path, Math.max(at, found.get(path) ?? 0))
      } catch (error) {
        failures.push({ relay: relay.url, error: error as Error })
        if (options.signal?.aborted !== true) await noteTrouble(ctx.home, relay.key, error, ctx.now())
      }
    }),
  )
  options.signal?.throwIfAborted()
  return [...found].sort(([, a], [, b]) => b - a).map(([path]) => path)
}

interface Head {
  readonly path: string
  readonly read: { readonly head: ReadRecord } | { readonly error: unknown }
}

/** All at once, and in their order: one relay that lists much and gives nothing is waited for once. */
async function readHeads(share: Share, paths: readonly string[]): Promise<Head[]> {
  const reads = new Map<string, Head['read']>()
  await eachLimited(paths, hearLimits.read, async (path) => {
    const read = readRecord(share, path)
    reads.set(path, await read.then((head) => ({ head })).catch((error: unknown) => ({ error })))
  })
  share.options.signal?.throwIfAborted()
  return paths.map((path) => ({ path, read: reads.get(path)! })) // all were read
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

type ReadRecord = Awaited<ReturnType<typeof readRecord>>

/** Takes what announces a version, and reads its list: only the pieces of it that the version before had not; their bytes. */
async function takeHead(
  share: Share,
  heard: Heard,
  { record, payload }: ReadRecord,
): Promise<'twin' | number> {
  const { place, folder } = share
  if (payload.type !== 'folder') throw new MarketError('ERR_MALFORMED', 'it announces no version of a folder')
  const { device, name, sequence, size } = payload
  const before = heard.copies[device]
  if (name === folder.name && device === folder.device && sequence > folder.sequence) return 'twin'
  if (name !== folder.name || device === folder.device || sequence <= (before?.head.sequence ?? 0)) return 0
  if (before === undefined && Object.keys(heard.copies).length >= folderLimits.devices)
    throw new MarketError('ERR_MALFORMED', `the folder has more than ${folderLimits.devices} copies`)
  const total = payload.pieces.reduce((sum, { length }) => sum + length, 0)
  if (size > folderLimits.indexBytes || total !== size)
    throw new MarketError('ERR_MALFORMED', 'the list of the folder is too long, or not as long as it says')
  const others = Object.entries(heard.copies).filter(([other]) => other !== device)
  if (others.reduce((sum, [, { head }]) => sum + head.size, size) > hearLimits.lists)
    throw new MarketError('ERR_MALFORMED', 'the lists of all copies of the folder are too long together')
  const known = before && piecesOf(before.head.pieces, await readList(place, device))
  const { found, fetchedBytes } = await fetchPieces(share, payload.pieces, known)
  const list = Buffer.concat(payload.pieces.map((piece) => found.get(piece.sha256)!)) // each was found
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
  return fetchedBytes
}

function piecesOf(pieces: readonly Piece[], list: Uint8Array | undefined) {
  const found = new Map<string, Uint8Array>()
  let offset = 0
  for (const { sha256, length } of pieces) {
    const bytes = list?.subarray(offset, offset + length)
    if (bytes !== undefined && hashHex(bytes) === sha256) found.set(sha256, bytes)
    offset += length
  }
  return found
}

/** Every record is fetched once, and nothing of it is kept but what was asked for: a list may name many large ones. */
async function fetchPieces(
  share: Share,
  pieces: readonly Piece[],
  known: ReadonlyMap<string, Uint8Array> = new Map(),
) {
  const found = new Map(known)
  const byRecord = new Map<RecordId, Piece[]>()
  for (const piece of pieces) {
    if (known.has(piece.sha256)) continue
    if (piece.at === undefined)
      throw new MarketError('ERR_MALFORMED', 'the list of the folder does not say where it is')
    byRecord.set(piece.at, [...(byRecord.get(piece.at) ?? []), piece])
  }
  let fetchedBytes = 0
  for (const [id, wanted] of byRecord) {
    const pack = await readPack(share, id)
    fetchedBytes += pack.length
    for (const { sha256, length, offset = 0 } of wanted) {
      const bytes = new Uint8Array(pack.subarray(offset, offset + length))
      if (hashHex(bytes) !== sha256) throw new MarketError('ERR_MALFORMED', 'a piece of the list is another')
      found.set(sha256, bytes)
    }
  }
  return { found, fetchedBytes }
}

function listHeads({ ctx, folder, options }: Share, relay: RelayAddress) {
  const receiver = ctx.wallet.identity
  const { listed: limit, pages } = hearLimits
  const owner = folder.peer
  const list = { owner, receiver, tag: tagOf(receiver, folder), limit, pages, now: ctx.now() }
  return listTagged(ctx.connect(relay), list, options)
}
