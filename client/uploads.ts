/** Files we send: chunk records first, the `file` record that names them last; a kill at any point is continued. */
import { createHash, randomBytes } from 'node:crypto'
import { type FileHandle, open, realpath } from 'node:fs/promises'
import { basename } from 'node:path'
import { toHex, toUtf8 } from '../market/bytes.ts'
import { MarketError } from '../market/errors.ts'
import { type Payload, payloadLimits } from '../market/payload.ts'
import type { RecordId } from '../market/record.ts'
import type { Key } from '../market/units.ts'
import { type Context, ownRelays } from './context.ts'
import { codeOf } from './errors.ts'
import { deliver, newRecordId, outboxLimits, post, type Posted } from './outbox.ts'
import { entries, type Entry, recordOf } from './outbox-files.ts'
import { eachLimited } from './retry.ts'
import {
  chunkCount,
  chunkId,
  chunkIds,
  forgetUpload,
  idsPerRecord,
  largestChunk,
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
 * @throws ERR_CHANGED when the file is no longer what the sending began with
 */
export async function sendFile(
  ctx: Context,
  to: Key,
  path: string,
  options: FileOptions = {},
): Promise<Posted> {
  const source = await realpath(path)
  const begun = (await outgoing(ctx.home)).find(
    (one) => one.state === 'sending' && one.to === to && one.source === source,
  )
  const transfer = begun ?? (await begin(ctx, { to, source }, options))
  return ctx.home.lock(lockOf(transfer.id), () => upload(ctx, transfer, options), { signal: options.signal })
}

/** Goes on with every sending that a kill or a silent network interrupted. Failures are notified. */
export async function resumeUploads(ctx: Context, options: TransferOptions = {}): Promise<void> {
  for (const transfer of await outgoing(ctx.home)) {
    if (transfer.createdMs + transfer.ttlSeconds * 1000 <= ctx.now()) {
      await forgetUpload(ctx.home, transfer.id)
      continue
    }
    if (transfer.state !== 'sending') continue
    try {
      await ctx.home.lock(lockOf(transfer.id), () => upload(ctx, transfer, options), { waitMs: 0 })
    } catch (error) {
      options.signal?.throwIfAborted()
      if (codeOf(error) === 'ERR_LOCKED') continue // another process is at it
      ctx.notify({ type: 'transfer-failed', name: basename(transfer.source), error: error as Error })
    }
  }
}

async function begin(
  ctx: Context,
  { to, source }: { to: Key; source: string },
  options: FileOptions,
): Promise<Outgoing> {
  const file = await open(source, 'r')
  const { size, mtimeMs } = await file.stat().finally(() => file.close())
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
  const file = await open(transfer.source, 'r')
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

type Content = { payload: Payload; bytes?: Uint8Array; tag?: string }

/** A record of this sending exists once: what an earlier run sealed is delivered, not sealed again. */
async function ensure(
  { ctx, transfer, options, known }: Job,
  id: RecordId,
  content: () => Content,
): Promise<Posted> {
  const entry = known.get(id)
  const record = entry && (await recordOf(ctx.home, entry))
  if (entry === undefined || record === undefined) {
    const { to, tag, ttlSeconds, maxPulls } = transfer
    return post(
      ctx,
      { to, recordId: id, tag, ttlSeconds, maxPulls: maxPulls ?? undefined, ...content() },
      options,
    )
  }
  const accepted = [...entry.accepted]
  if (accepted.length >= ctx.quorum)
    return { recordId: id, path: record.path, state: 'delivered', accepted, failures: [] }
  const posted = await deliver(ctx, record, await ownRelays(ctx), options)
  return posted
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

/** Raw bytes per chunk so that its record fits the smallest of our relays; those that do not answer get no say. */
async function chunkBytesFor(ctx: Context, signal: AbortSignal | undefined): Promise<number> {
  const relays = await ownRelays(ctx)
  const infos = await Promise.allSettled(relays.map((relay) => ctx.connect(relay).info(signal)))
  signal?.throwIfAborted()
  const limits = infos.map((info) =>
    info.status === 'fulfilled' ? info.value.limits.recordBytes : Number.POSITIVE_INFINITY,
  )
  return largestChunk(Math.min(...limits))
}
