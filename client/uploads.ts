/** Files we send: chunk records first, the `file` record that names them last; a kill at any point is continued. */
import { createHash, randomBytes } from 'node:crypto'
import { type FileHandle, open, realpath, stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { toHex, toUtf8 } from '../market/bytes.ts'
import { MarketError } from '../market/errors.ts'
import { type Payload, payloadLimits } from '../market/payload.ts'
import type { RecordId } from '../market/record.ts'
import type { Key } from '../market/units.ts'
import { type Context, ownRelays } from './context.ts'
import { named } from './durable.ts'
import { Refused } from './errors.ts'
import { deliver, newRecordId, outboxLimits, post, type Posted } from './outbox.ts'
import { entries, type Entry, recordOf } from './outbox-files.ts'
import { eachLimited } from './retry.ts'
import {
  chunkCount,
  chunkId,
  chunkBytesFor,
  chunkIds,
  giveUp,
  forgetUpload,
  idsPerRecord,
  largestCount,
  lockOf,
  type Outgoing,
  outgoing,
  partIds,
  saveOutgoing,
} from './sending.ts'
import { checkUnchanged, readAt } from './source-file.ts'
import { chunkTag } from './tags.ts'
import type { Progress, TransferOptions } from './transfer.ts'

export interface FileOptions extends TransferOptions {
  readonly tag?: string | undefined
  readonly ttlSeconds?: number | undefined
  readonly maxPulls?: number | undefined
}

/**
 * Sends a file, or goes on with the unfinished sending of this same file to this same friend.
 * @throws ERR_NOT_FOUND, ERR_CHANGED when the file is no longer what the sending began with, ERR_EXPIRED when it
 * took longer than its records were to live
 */
export async function sendFile(
  ctx: Context,
  { to, path }: { to: Key; path: string },
  options: FileOptions = {},
): Promise<Posted> {
  const source = await named(path, realpath(path))
  const begun = (await outgoing(ctx.home)).find(
    (one) => one.state === 'sending' && one.to === to && one.source === source && secondsLeft(ctx, one) > 0,
  )
  const transfer = begun ?? (await begin(ctx, { to, source }, options))
  const lock = { signal: options.signal }
  try {
    return await ctx.home.lock(lockOf(transfer.id), () => upload(ctx, transfer, options), lock)
  } catch (error) {
    // Every relay refused a record of it for good: as with a refused message, nothing stays.
    if (error instanceof Refused) await giveUp(ctx.home, transfer)
    throw error
  }
}

/** Goes on with every sending that a kill or a silent network interrupted. Failures are notified. */
export async function resumeUploads(ctx: Context, options: TransferOptions = {}): Promise<void> {
  for (const transfer of await outgoing(ctx.home)) {
    if (secondsLeft(ctx, transfer) < 1) {
      await forgetUpload(ctx.home, transfer.id)
      continue
    }
    if (transfer.state !== 'sending') continue
    try {
      await ctx.home.tryLock(lockOf(transfer.id), () => upload(ctx, transfer, options))
    } catch (error) {
      options.signal?.throwIfAborted()
      if (error instanceof Refused) await giveUp(ctx.home, transfer)
      ctx.notify({ type: 'transfer-failed', name: basename(transfer.source), error: error as Error })
    }
  }
}

async function begin(
  ctx: Context,
  { to, source }: Pick<Outgoing, 'to' | 'source'>,
  options: FileOptions,
): Promise<Outgoing> {
  // Looked at before it is opened: the opening of a pipe may wait for ever.
  const found = await named(source, stat(source))
  if (!found.isFile()) throw new MarketError('ERR_MALFORMED', `${source} is not a file with bytes to send`)
  const { size, mtimeMs } = found
  const transfer: Outgoing = {
    id: newRecordId(),
    state: 'sending',
    seed: toHex(randomBytes(32)),
    ...{ to, source, size, modifiedMs: mtimeMs },
    chunkBytes: await chunkBytesFor(ctx, options.signal),
    ttlSeconds: options.ttlSeconds ?? outboxLimits.ttlSeconds,
    tag: options.tag ?? '',
    maxPulls: options.maxPulls ?? null,
    createdMs: ctx.now(),
  }
  if (chunkCount(transfer) > largestCount(transfer))
    throw new MarketError('ERR_TOO_LARGE', `${source} is too large to be sent in one file`)
  await saveOutgoing(ctx.home, transfer)
  return transfer
}

async function upload(ctx: Context, transfer: Outgoing, options: TransferOptions): Promise<Posted> {
  const file = await named(transfer.source, open(transfer.source, 'r'))
  try {
    await checkUnchanged(file, transfer)
    const job = { ctx, transfer, options, known: await entries(ctx.home) }
    const hash = await sendChunks(job, file)
    await checkUnchanged(file, transfer)
    const chunks = chunkIds(transfer)
    const parts = await sendParts(job, chunks)
    const posted = await ensure(job, transfer.id, () => ({
      payload: fileHead(transfer, hash, { chunks, parts }),
    }))
    await saveOutgoing(ctx.home, { ...transfer, state: 'sent' })
    return posted
  } catch (error) {
    if (!(error instanceof Paused)) throw error
    // What is sealed waits in the outbox, what is not in the source; any later command goes on.
    return { ...error.posted, recordId: transfer.id, state: 'queued' }
  } finally {
    await file.close()
  }
}

interface Job {
  readonly ctx: Context
  readonly transfer: Outgoing
  readonly options: TransferOptions
  /** The outbox as it was at the start: who holds the transfer's lock is alone with its records. */
  readonly known: ReadonlyMap<RecordId, Entry>
}

/** No relay takes chunks now: going on would only fill the disk. */
class Paused extends Error {
  readonly posted: Posted

  constructor(posted: Posted) {
    super('no relay answers')
    this.posted = posted
  }
}

/** Brings every chunk to the relays and returns the hash of the whole, which is read in any case. */
async function sendChunks(job: Job, file: FileHandle): Promise<string> {
  const { transfer, options } = job
  const hash = createHash('sha256')
  let doneBytes = 0
  const report = () => {
    const { size: totalBytes, source } = transfer
    const progress: Progress = { direction: 'sending', name: basename(source), doneBytes, totalBytes }
    options.onProgress?.(progress)
  }
  report()
  await eachLimited(chunksOf(file, transfer), outboxLimits.inFlight, async ({ index, bytes }) => {
    options.signal?.throwIfAborted()
    const posted = await ensure(job, chunkId(transfer, index), () => ({
      payload: { type: 'chunk', size: bytes.length },
      bytes,
      tag: chunkTag,
      ttlSeconds: transfer.ttlSeconds,
    }))
    if (posted.state === 'queued') throw new Paused(posted)
    doneBytes += bytes.length
    report()
  })
  return hash.digest('hex')

  async function* chunksOf(source: FileHandle, { size, chunkBytes }: Outgoing) {
    for (let index = 0; index * chunkBytes < size; index++) {
      const bytes = await readAt(source, index * chunkBytes, Math.min(chunkBytes, size - index * chunkBytes))
      hash.update(bytes)
      yield { index, bytes }
    }
  }
}

/** More chunks than one record may name are named by lists, which are chunks themselves. */
async function sendParts(job: Job, chunks: readonly RecordId[]): Promise<RecordId[]> {
  const ids = partIds(job.transfer)
  const perPart = idsPerRecord(job.transfer)
  for (const [index, id] of ids.entries()) {
    const bytes = toUtf8(JSON.stringify(chunks.slice(index * perPart, (index + 1) * perPart)))
    const posted = await ensure(job, id, () => ({
      payload: { type: 'chunk', size: bytes.length },
      bytes,
      tag: chunkTag,
    }))
    if (posted.state === 'queued') throw new Paused(posted)
  }
  return ids
}

/** How long what names the chunks may live: the oldest chunk is as old as the sending. Below 1 it is over. */
const secondsLeft = ({ now }: Context, { createdMs, ttlSeconds }: Outgoing): number =>
  Math.floor((createdMs + ttlSeconds * 1000 - now()) / 1000)

type Content = { payload: Payload; bytes?: Uint8Array; tag?: string; ttlSeconds?: number }

/** A record of this sending exists once: what an earlier run sealed is delivered, not sealed again. */
async function ensure(
  { ctx, transfer, options, known }: Job,
  id: RecordId,
  content: () => Content,
): Promise<Posted> {
  const entry = known.get(id)
  const record = entry && (await recordOf(ctx.home, entry))
  if (entry === undefined || record === undefined) {
    const { to, tag, maxPulls, source } = transfer
    const ttlSeconds = secondsLeft(ctx, transfer)
    if (ttlSeconds < 1)
      throw new MarketError('ERR_EXPIRED', `the sending of ${source} took longer than it was to live`)
    return post(
      ctx,
      { to, recordId: id, tag, ttlSeconds, maxPulls: maxPulls ?? undefined, ...content() },
      options,
    )
  }
  const accepted = [...entry.accepted]
  if (accepted.length >= ctx.quorum)
    return { recordId: id, path: record.path, state: 'delivered', accepted, failures: [] }
  return deliver(ctx, { record, relays: await ownRelays(ctx) }, options)
}

function fileHead(
  transfer: Outgoing,
  hash: string,
  { chunks, parts }: { chunks: RecordId[]; parts: RecordId[] },
): Payload {
  const { source, size, chunkBytes } = transfer
  const names = parts.length > 0 ? { parts } : { chunks }
  return {
    type: 'file',
    name: basename(source).slice(0, payloadLimits.nameLength),
    size,
    sha256: hash,
    chunkBytes,
    ...names,
  }
}
