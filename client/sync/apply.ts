/** Files as the others have them: made whole beside the folder's, checked, and put in place of what was there. */
import { createHash, randomBytes } from 'node:crypto'
import { open, rename, rm, rmdir, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type FileEntry, isFile, pathFault } from '../../market/folder.ts'
import { MarketError } from '../../market/errors.ts'
import type { Piece } from '../../market/payload.ts'
import { codeOf, messageOf } from '../errors.ts'
import { ensureDirectory, syncDirectory } from '../home/durable.ts'
import { type LocalEntry, saveIndex, spoolFolder, unspool } from '../home/folders.ts'
import { eachLimited } from '../wire/retry.ts'
import { checkAsBefore, checkRoom, exists, placeFor, removeEmptied, statOf } from './disk.ts'
import type { Failures, Share } from './records.ts'
import type { Step } from './merge.ts'
import { Pieces } from './pieces.ts'
import { type Skipped, workFolder } from './scan.ts'
import { changed } from './versions.ts'

const applyLimits = {
  inFlight: 4,
  /** Files that are made at the same time: disks take many as fast as one. */
  atOnce: 16,
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

export const nothingApplied = (): Applied => ({
  ...{ received: [], removed: [], conflicts: [], skipped: [], waiting: [] },
  fetchedBytes: 0,
})

interface Job {
  readonly share: Share
  readonly index: Map<string, LocalEntry>
  readonly pieces: Pieces
  readonly applied: Applied
  onProgress(doneBytes: number, totalBytes: number): void
}

/** Does these steps, each of which may be done again; the index is kept as it goes. @throws ERR_NO_SPACE */
export async function apply(
  what: Omit<Job, 'pieces' | 'applied'> & {
    readonly places: ReadonlyMap<string, Piece>
    readonly failures: Failures
  },
  steps: readonly Step[],
): Promise<Applied> {
  const { share, index } = what
  const applied = nothingApplied()
  const pieces = new Pieces(share, { index, places: what.places, failures: what.failures })
  const job: Job = { share, index, pieces, applied, onProgress: what.onProgress }
  const takes = steps.filter((step) => step.do === 'take')
  try {
    const first = steps.findIndex((step) => step.do === 'take')
    const room = first < 0 ? steps : steps.slice(0, first)
    for (const step of room) await doPlain(job, step)
    await takeAll(job, takes)
    for (const step of steps.slice(room.length)) await doPlain(job, step)
  } finally {
    applied.fetchedBytes = pieces.fetchedBytes
    await saveIndex(share.place, index)
    await rm(workPlace(share), { recursive: true, force: true })
    await rmdir(dirname(workPlace(share))).catch(() => undefined) // another share of this directory is at work
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

/** A batch at a time: a record is fetched once, and leaves the spool when no file to come needs it. */
async function takeAll(job: Job, takes: readonly Take[]): Promise<void> {
  const { pieces } = job
  const { folder, place, options } = job.share
  const needed = (some: readonly Take[]) => new Set(some.flatMap(({ entry }) => pieces.recordsOf(entry)))
  const total = bytesOf(takes)
  let [done, begun] = [0, 0]
  for (const batch of batchesOf(takes)) {
    begun += batch.length
    await checkRoom([folder.directory, spoolFolder(place)], 2 * bytesOf(batch))
    const now = needed(batch)
    await eachLimited([...now], applyLimits.inFlight, (id) => pieces.fetch(id))
    await eachLimited(batch, applyLimits.atOnce, async (step) => {
      options.signal?.throwIfAborted()
      await attempt(job, step.entry.path, () => takeFile(job, step))
      done += step.entry.size
      job.onProgress(done, total)
    })
    await saveIndex(place, job.index)
    const later = needed(takes.slice(begun))
    for (const id of now) if (!later.has(id)) await unspool(place, id)
  }
}

const bytesOf = (takes: readonly Take[]): number => takes.reduce((sum, { entry }) => sum + entry.size, 0)

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

async function takeFile(job: Job, { entry, keepAs }: Take): Promise<void> {
  const { share, index, applied } = job
  const { directory, device, sequence } = share.folder
  const temporary = join(workPlace(share), randomBytes(8).toString('hex'))
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

/** One directory may be shared with several, at the same time. */
const workPlace = ({ folder, place }: Share): string => join(folder.directory, workFolder, place.id)

async function writeFile(job: Job, path: string, entry: FileEntry): Promise<void> {
  const file = await open(path, 'wx', 0o666)
  const whole = createHash('sha256')
  try {
    for (const piece of entry.pieces) {
      const bytes = await job.pieces.bytes(piece)
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
