/** Files as the others have them: made whole beside the folder's, checked, and put in place of what was there. */
import { createHash, randomBytes } from 'node:crypto'
import { open, rename, rm, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type FileEntry, isFile, pathFault } from '../../market/folder.ts'
import { MarketError } from '../../market/errors.ts'
import type { Piece } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import { codeOf, messageOf, Refused } from '../errors.ts'
import { ensureDirectory, syncDirectory } from '../home/durable.ts'
import { type LocalEntry, saveIndex, spool, spooled, spoolFolder, unspool } from '../home/folders.ts'
import { eachLimited } from '../wire/retry.ts'
import { hashHex } from './cut.ts'
import { checkAsBefore, checkRoom, exists, placeFor, removeEmptied, statOf } from './disk.ts'
import { type Failures, readPack, type Share } from './hear.ts'
import type { Step } from './merge.ts'
import { readPiece, type Skipped, workFolder } from './scan.ts'
import { changed } from './versions.ts'

const applyLimits = {
  inFlight: 4,
  /** Files that are made at the same time: disks take many as fast as one. */
  atOnce: 16,
  /** Records of pieces that are held in memory, of a quarter MiB each. */
  held: 32,
  /** Of files that are made at once; so much more, and what is shared with later files, lies on the disk meanwhile. */
  batchBytes: 64 * 1024 * 1024,
} as const

export interface Applied {
  readonly received: string[]
  readonly removed: string[]
  /** The names under which what stood there stays. */
  readonly conflicts: string[]
  readonly skipped: Skipped[]
  /** Their pieces are on no relay: who has them is asked for them by the next version. */
  readonly waiting: string[]
  fetchedBytes: number
}

interface Job {
  readonly share: Share
  readonly index: Map<string, LocalEntry>
  /** Where pieces lie that an entry does not say it of. */
  readonly places: ReadonlyMap<string, Piece>
  readonly applied: Applied
  readonly failures: Failures
  /** Records of pieces that no relay has. */
  readonly lost: Set<RecordId>
  /** Pieces of records, the oldest first. */
  readonly held: Map<RecordId, Uint8Array>
  /** Pieces in the files that are here: where, by their hashes. */
  readonly here: ReadonlyMap<string, { path: string; offset: number }>
  onProgress(doneBytes: number, totalBytes: number): void
}

/** Does these steps, each of which may be done again; the index is kept as it goes. @throws ERR_NO_SPACE */
export async function apply(
  what: Pick<Job, 'share' | 'index' | 'places' | 'failures' | 'onProgress'>,
  steps: readonly Step[],
): Promise<Applied> {
  const { share, index } = what
  const applied: Applied = {
    received: [],
    removed: [],
    conflicts: [],
    skipped: [],
    waiting: [],
    fetchedBytes: 0,
  }
  const job: Job = { ...what, applied, lost: new Set(), held: new Map(), here: piecesHere(index) }
  const takes = steps.filter((step) => step.do === 'take')
  const total = takes.reduce((sum, { entry }) => sum + entry.size, 0)
  let done = 0
  try {
    const first = steps.findIndex((step) => step.do === 'take')
    const room = first < 0 ? steps : steps.slice(0, first)
    for (const step of room) await doPlain(job, step)
    for (const batch of batchesOf(takes)) {
      const later = new Set(
        takes.slice(takes.indexOf(batch.at(-1)!) + 1).flatMap((step) => recordsOf(job, step)),
      )
      await checkRoom(
        [share.folder.directory, spoolFolder(share.place)],
        2 * batch.reduce((sum, { entry }) => sum + entry.size, 0),
      )
      const needed = [...new Set(batch.flatMap((step) => recordsOf(job, step)))]
      await eachLimited(needed, applyLimits.inFlight, (id) => fetchPack(job, id))
      await eachLimited(batch, applyLimits.atOnce, async (step) => {
        share.options.signal?.throwIfAborted()
        await attempt(job, step.entry.path, () => takeFile(job, step))
        done += step.entry.size
        job.onProgress(done, total)
      })
      await saveIndex(share.place, index)
      for (const id of needed) if (!later.has(id)) await unspool(share.place, id)
    }
    for (const step of steps.slice(room.length)) await doPlain(job, step)
  } finally {
    await saveIndex(share.place, index)
    await rm(join(share.folder.directory, workFolder), { recursive: true, force: true })
  }
  return applied
}

function know(index: Map<string, LocalEntry>, entry: LocalEntry['entry']): void {
  const before = index.get(entry.path)
  index.set(entry.path, { ...(before ?? { mtimeMs: 0, ctimeMs: 0 }), entry })
}

async function doPlain(job: Job, step: Step): Promise<void> {
  if (step.do === 'know') know(job.index, step.entry)
  else if (step.do === 'remove') await attempt(job, step.entry.path, () => removeFile(job, step))
}

/** What one file fails at stops no other. */
async function attempt({ applied, share }: Job, path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    share.options.signal?.throwIfAborted()
    if (codeOf(error) === 'ERR_NO_SPACE' || codeOf(error) === 'ERR_LOCKED') throw error
    if (codeOf(error) === 'ERR_NOT_FOUND') applied.waiting.push(path)
    else applied.skipped.push({ path, reason: messageOf(error) })
  }
}

type Take = Extract<Step, { do: 'take' }>

function* batchesOf(takes: readonly Take[]): Generator<Take[]> {
  let [batch, bytes]: [Take[], number] = [[], 0]
  for (const take of takes) {
    if (batch.length > 0 && bytes + take.entry.size > applyLimits.batchBytes) {
      yield batch
      ;[batch, bytes] = [[], 0]
    }
    batch.push(take)
    bytes += take.entry.size
  }
  if (batch.length > 0) yield batch
}

function piecesHere(index: ReadonlyMap<string, LocalEntry>): Job['here'] {
  const here = new Map<string, { path: string; offset: number }>()
  for (const { entry } of index.values()) {
    if (!isFile(entry)) continue
    let offset = 0
    for (const { sha256, length } of entry.pieces) {
      if (!here.has(sha256)) here.set(sha256, { path: entry.path, offset })
      offset += length
    }
  }
  return here
}

const placeOfPiece = ({ places }: Job, piece: Piece): Piece | undefined =>
  piece.at === undefined ? places.get(piece.sha256) : piece

const recordsOf = (job: Job, { entry }: Take): RecordId[] =>
  entry.pieces.flatMap((piece) => (job.here.has(piece.sha256) ? [] : (placeOfPiece(job, piece)?.at ?? [])))

async function fetchPack(job: Job, id: RecordId): Promise<void> {
  const { share, applied, lost, failures } = job
  if (lost.has(id) || (await spooled(share.place, id)) !== undefined) return
  try {
    const bytes = await readPack(share, id)
    await spool(share.place, id, bytes)
    applied.fetchedBytes += bytes.length
  } catch (error) {
    share.options.signal?.throwIfAborted()
    lost.add(id)
    const isGone = codeOf(error) === 'ERR_NOT_FOUND'
    if (!isGone || error instanceof Refused)
      failures.push({ relay: share.relays[0]?.url ?? '', error: error as Error })
  }
}

async function pieceBytes(job: Job, piece: Piece): Promise<Uint8Array> {
  const { share, here } = job
  const local = here.get(piece.sha256)
  if (local !== undefined) {
    const read = readPiece(join(share.folder.directory, local.path), local.offset, piece)
    const bytes = await read.catch(() => undefined) // changed meanwhile, or replaced by this very run
    if (bytes !== undefined) return bytes
  }
  const { at, offset = 0 } = placeOfPiece(job, piece) ?? {}
  if (at === undefined) throw new MarketError('ERR_NOT_FOUND', 'nobody says where it is')
  const pack = await packBytes(job, at)
  if (pack === undefined) throw new MarketError('ERR_NOT_FOUND', 'no relay has it')
  const bytes = pack.subarray(offset, offset + piece.length)
  if (hashHex(bytes) !== piece.sha256)
    throw new MarketError('ERR_MALFORMED', 'a piece of it is another than promised')
  return bytes
}

async function packBytes(job: Job, id: RecordId): Promise<Uint8Array | undefined> {
  const { held, share } = job
  const known = held.get(id)
  if (known !== undefined) return known
  await fetchPack(job, id) // which most often is done already
  const bytes = await spooled(share.place, id)
  if (bytes !== undefined) held.set(id, bytes)
  const [oldest] = held.keys()
  if (held.size > applyLimits.held && oldest !== undefined) held.delete(oldest)
  return bytes
}

async function takeFile(job: Job, { entry, keepAs }: Take): Promise<void> {
  const { share, index, applied } = job
  const { directory, device, sequence } = share.folder
  const temporary = join(directory, workFolder, randomBytes(8).toString('hex'))
  await ensureDirectory(dirname(temporary))
  await writeFile(job, temporary, entry)
  const before = index.get(entry.path)
  const target = await placeFor(directory, entry.path)
  await checkAsBefore(target, before)
  if (keepAs !== undefined && before !== undefined && isFile(before.entry)) {
    const kept = pathFault(keepAs) === undefined ? await placeFor(directory, keepAs) : undefined
    if (kept === undefined || (await exists(kept)))
      throw new MarketError('ERR_CONFLICT', `it changed on both sides, and there is a ${keepAs} already`)
    await rename(target, kept)
    const version = changed(undefined, device, sequence + 1)
    index.set(keepAs, { ...(await statOf(kept)), entry: { ...before.entry, path: keepAs, version } })
    applied.conflicts.push(keepAs)
  }
  await rename(temporary, target)
  await syncDirectory(dirname(target))
  const pieces = entry.pieces.map(({ sha256, length }) => ({ sha256, length }))
  index.set(entry.path, { ...(await statOf(target)), entry: { ...entry, pieces } })
  applied.received.push(entry.path)
}

async function writeFile(job: Job, path: string, entry: FileEntry): Promise<void> {
  const file = await open(path, 'wx', 0o666)
  const whole = createHash('sha256')
  try {
    for (const piece of entry.pieces) {
      const bytes = await pieceBytes(job, piece)
      whole.update(bytes)
      await file.write(bytes)
    }
    if (whole.digest('hex') !== entry.sha256)
      throw new MarketError('ERR_MALFORMED', 'its bytes are not those that were promised')
    await file.sync()
  } finally {
    await file.close()
  }
  const seconds = Math.min(entry.modifiedMs, latestMs) / 1000
  await utimes(path, seconds, seconds)
}

/** Some file systems know no later time. */
const latestMs = 2 ** 31 * 1000 - 1

async function removeFile(
  { share, index, applied }: Job,
  { entry }: Extract<Step, { do: 'remove' }>,
): Promise<void> {
  const { directory } = share.folder
  const target = await placeFor(directory, entry.path, { isNew: false })
  await checkAsBefore(target, index.get(entry.path))
  await rm(target, { force: true })
  await removeEmptied(directory, entry.path)
  know(index, entry)
  applied.removed.push(entry.path)
}
