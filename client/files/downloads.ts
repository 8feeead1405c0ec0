/** Files that friends send: fetched chunk by chunk, resumed where a kill left them, checked as a whole before they get a name. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { constants, type FileHandle, open, stat, statfs } from 'node:fs/promises'
import { z } from 'zod'
import { formatAddress, parseAddress, type RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { type FileHead, safeName } from '../../market/payload.ts'
import type { Context } from '../context.ts'
import { ClientError, codeOf, Refused } from '../errors.ts'
import { isMissing, openJournal, readJournal, remove } from '../home/durable.ts'
import { type Arrival, arrival, openArrival } from '../home/inbox.ts'
import { fileOf, finish, giveName, type Incoming, incoming, waitingFiles } from '../home/incoming.ts'
import { folderOf, friend } from '../people/friends.ts'
import { distinct } from '../people/relays.ts'
import { eachLimited } from '../wire/retry.ts'
import { chunkIds, fetchChunk, type Job } from './pieces.ts'
import { type TransferOptions, transferLimits } from './transfer.ts'

const inFlight = 4

const Finished = z.strictObject({ index: z.int().min(0) })

/**
 * Fetches every file that waits, unless another process is at it. What fails is notified and, unless it is final,
 * tried again next time; what is larger than the options allow is returned as it waits.
 */
export async function fetchFiles(ctx: Context, options: TransferOptions = {}): Promise<Incoming[]> {
  const { home } = ctx
  const waiting = await waitingFiles(home)
  if (waiting.length === 0) return []
  return (await home.tryLock('downloads', () => fetchAll(ctx, waiting, options))) ?? []
}

async function fetchAll(
  ctx: Context,
  waiting: readonly Incoming[],
  options: TransferOptions,
): Promise<Incoming[]> {
  const finished: Incoming[] = []
  for (const { path, name } of waiting) {
    try {
      // Looked at again: the process that had the lock before us may have fetched it.
      const transfer = await incoming(ctx.home, path)
      if (transfer?.state !== 'waiting') continue
      const isAllowed = transfer.size <= (options.maxFileBytes ?? transferLimits.maxFileBytes)
      finished.push(isAllowed ? await fetchFile(ctx, transfer, options) : transfer)
    } catch (error) {
      options.signal?.throwIfAborted()
      ctx.notify({ type: 'transfer-failed', name, error: error as Error })
    }
  }
  return finished
}

async function fetchFile(ctx: Context, transfer: Incoming, options: TransferOptions): Promise<Incoming> {
  const arrived = await arrival(ctx.home, transfer.path)
  if (arrived === undefined) throw new MarketError('ERR_NOT_FOUND', 'its record is not in the inbox')
  const sources = await sourcesOf(ctx, arrived, transfer)
  return fetchArrived(ctx, transfer, { arrived, sources, isPosted: false, options })
}

/** Fetches a file that was posted to many, as the reader that `ctx` is of; nobody is told. @throws as `call`, ERR_NO_SPACE */
export async function fetchPosted(
  ctx: Context,
  { arrived, relays }: { readonly arrived: Arrival; readonly relays: readonly RelayAddress[] },
  options: TransferOptions,
): Promise<Incoming> {
  const { payload, path } = await openArrival(ctx, arrived)
  const [first] = relays
  if (payload.type !== 'file') throw new MarketError('ERR_NOT_FOUND', 'this post is no file')
  if (first === undefined) throw new MarketError('ERR_NOT_FOUND', 'its relays are not known any more')
  return ctx.home.lock('downloads', async () => {
    const known = await incoming(ctx.home, path)
    if (known?.state === 'saved') return known
    const about = { path, at: formatAddress(first), name: safeName(payload.name), size: payload.size }
    const what = { arrived, sources: relays, isPosted: true, options }
    return fetchArrived(ctx, { state: 'waiting', ...about }, what)
  })
}

async function fetchArrived(
  ctx: Context,
  transfer: Incoming,
  what: Omit<Job, 'ctx' | 'head'>,
): Promise<Incoming> {
  const { home } = ctx
  const { path } = transfer
  const { arrived } = what
  const { payload } = await openArrival(ctx, arrived)
  if (payload.type !== 'file') throw new MarketError('ERR_MALFORMED', 'its record is not a file')
  const job: Job = { ctx, head: payload, ...what }
  const part = fileOf(home, path, 'part')
  try {
    await fetchChunks(job, part)
    await checkWhole(part, payload)
  } catch (error) {
    // A relay's no is no fact about the file.
    const isBad = codeOf(error) === 'ERR_MALFORMED' && !(error instanceof Refused)
    const isFinal = isBad || arrived.record.expires <= ctx.now()
    if (!isFinal) throw error
    return finish(home, { ...transfer, state: 'failed', reason: (error as Error).message })
  }
  const folder = await folderOf(ctx, arrived.record.msg.from)
  const file = await giveName(home, part, { folder, name: payload.name })
  return finish(home, { ...transfer, state: 'saved', file })
}

/** The relay that had the file's record, then all others of its sender as known now. */
async function sourcesOf({ home }: Context, { record }: Arrival, { at }: Incoming): Promise<RelayAddress[]> {
  const others = (await friend(home, record.msg.from))?.relays ?? []
  return distinct([parseAddress(at), ...others])
}

async function fetchChunks(job: Job, part: string): Promise<void> {
  const { home } = job.ctx
  const { head, options } = job
  const ids = await chunkIds(job)
  const log = fileOf(home, job.arrived.record.path, 'log')
  if (!(await isThere(part))) await remove(log) // finished chunks of a file that somebody took away
  const done = new Set((await readJournal(log, Finished)).map(({ index }) => index))
  const bytesOf = (index: number) => Math.min(head.chunkBytes, head.size - index * head.chunkBytes)
  let doneBytes = [...done].reduce((sum, index) => sum + bytesOf(index), 0)
  const report = () =>
    options.onProgress?.({
      direction: 'fetching',
      name: safeName(head.name),
      doneBytes,
      totalBytes: head.size,
    })
  await checkRoom(job, head.size - doneBytes)
  const [target, journal] = await Promise.all([openPart(part), openJournal(log)])
  try {
    report()
    const missing = ids.map((id, index) => ({ id, index })).filter(({ index }) => !done.has(index))
    await eachLimited(missing, inFlight, async ({ id, index }) => {
      await fetchChunk(job, id, async (bytes) => {
        if (bytes.length !== bytesOf(index))
          throw new MarketError('ERR_MALFORMED', `its chunk ${index} has another size`)
        await checkRoom(job, bytes.length)
        await target.write(bytes, 0, bytes.length, index * head.chunkBytes)
        // The journal must never say more than the disk has.
        await target.datasync()
        await journal.appendFile(`${JSON.stringify({ index })}\n`)
        doneBytes += bytes.length
      })
      report()
    })
    await journal.datasync()
  } finally {
    await Promise.all([target.close(), journal.close()])
  }
}

/** The file is written in place, and others write too: asked again for every chunk. @throws ERR_NO_SPACE */
async function checkRoom({ ctx, options }: Job, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(ctx.home.path('transfers'))
  const { keepFreeBytes = transferLimits.keepFreeBytes } = options
  if (bavail * bsize - bytes < keepFreeBytes)
    throw new ClientError('ERR_NO_SPACE', `the disk would have less than ${keepFreeBytes} bytes left`)
}

async function checkWhole(part: string, { size, sha256 }: FileHead): Promise<void> {
  const hash = createHash('sha256')
  let length = 0
  for await (const bytes of createReadStream(part) as AsyncIterable<Uint8Array>) {
    hash.update(bytes)
    length += bytes.length
  }
  if (length !== size || hash.digest('hex') !== sha256) {
    throw new MarketError('ERR_MALFORMED', 'its bytes are not those its sender promised')
  }
}

const openPart = (path: string): Promise<FileHandle> =>
  open(path, constants.O_RDWR | constants.O_CREAT, 0o600)

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}
