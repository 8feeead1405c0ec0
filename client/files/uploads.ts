/** Files we send: chunk records first, the `file` record that names them last; a kill at any point is continued. */
import { createHash } from 'node:crypto'
import { type FileHandle, open, realpath } from 'node:fs/promises'
import { basename } from 'node:path'
import { toUtf8 } from '../../market/bytes.ts'
import type { RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { BrokenWord, isUnpaid, Refused, RefusedByAll } from '../errors.ts'
import { named } from '../home/durable.ts'
import { entries } from '../home/outbox.ts'
import {
  chunkId,
  chunkIds,
  giveUp,
  forgetUpload,
  idsPerRecord,
  lockOf,
  type Outgoing,
  outgoing,
  partIds,
  saveOutgoing,
} from '../home/outgoing.ts'
import { outboxLimits, type Posted } from '../mail/post.ts'
import { chunkTag } from '../mail/tags.ts'
import { eachLimited } from '../wire/retry.ts'
import { fileHead } from './chunks.ts'
import { endOf, ensure, type Job, Paused, secondsLeft, took, withRefusals } from './ensure.ts'
import { begin, type FileOptions, goOn } from './plan.ts'
import { checkUnchanged, readAt } from './source.ts'
import type { Progress, TransferOptions } from './transfer.ts'

/**
 * Sends a file, or goes on with the unfinished sending of this same file to this same friend.
 * @throws ERR_NOT_FOUND, ERR_CHANGED when the file is no longer what the sending began with, ERR_EXPIRED when it
 * took longer than its records were to live, ERR_COST when it may cost more than allowed or every relay took more than
 * it had quoted, ERR_CONFLICT when it began with
 * another bound, RefusedByAll when no relay takes it: nothing stays then, unless credit was what was missing
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
  const transfer =
    begun === undefined ? await begin(ctx, { to, source }, options) : await goOn(ctx, begun, options)
  const lock = { signal: options.signal }
  try {
    return await ctx.home.lock(lockOf(transfer.id), () => upload(ctx, transfer, options), lock)
  } catch (error) {
    // Every relay refused a record of it for good: as with a refused message, nothing stays.
    if (isRefused(error)) await giveUp(ctx.home, transfer)
    throw error
  }
}

/** Goes on with every sending that a kill, a silent network or want of credit interrupted. Failures are notified. */
export async function resumeUploads(
  ctx: Context,
  options: TransferOptions & { retryRefused?: boolean } = {},
): Promise<void> {
  for (const transfer of await outgoing(ctx.home)) {
    if (secondsLeft(ctx, transfer) < 1) {
      await forgetUpload(ctx.home, transfer.id)
      continue
    }
    if (transfer.state !== 'sending') continue
    if ((transfer.notBefore ?? 0) > ctx.now() && !options.retryRefused) continue
    try {
      await ctx.home.tryLock(lockOf(transfer.id), () => upload(ctx, transfer, options))
    } catch (error) {
      options.signal?.throwIfAborted()
      if (isRefused(error)) await giveUp(ctx.home, transfer)
      ctx.notify({ type: 'transfer-failed', name: basename(transfer.source), error: error as Error })
    }
  }
}

/** A no that credit would change nothing about. */
const isRefused = (error: unknown): boolean =>
  error instanceof RefusedByAll ? !error.all.some(isUnpaid) : error instanceof Refused && !isUnpaid(error)

async function upload(ctx: Context, transfer: Outgoing, options: TransferOptions): Promise<Posted> {
  const file = await named(transfer.source, open(transfer.source, 'r'))
  try {
    await checkUnchanged(file, transfer)
    const job: Job = { ctx, transfer, options, known: await entries(ctx.home), refusals: new Map() }
    const hash = await sendChunks(job, file)
    await checkUnchanged(file, transfer)
    const chunks = chunkIds(transfer)
    const parts = await sendParts(job, chunks)
    const posted = await ensure(job, transfer.id, () => ({
      payload: fileHead(transfer, hash, { chunks, parts }),
    }))
    await saveOutgoing(ctx.home, { ...transfer, state: 'sent' })
    return withRefusals(posted, job)
  } catch (error) {
    if (error instanceof Refused && !isRefused(error))
      await saveOutgoing(ctx.home, { ...transfer, notBefore: ctx.now() + unpaidPauseMs })
    // Only the user can go on: with another relay.
    if (error instanceof BrokenWord) await saveOutgoing(ctx.home, { ...transfer, notBefore: endOf(transfer) })
    if (!(error instanceof Paused)) throw error
    // What is sealed waits in the outbox, what is not in the source; any later command goes on.
    return { ...error.posted, recordId: transfer.id, state: 'queued' }
  } finally {
    await file.close()
  }
}

/** Every attempt carries a chunk to a relay that most likely still has no credit for it. */
const unpaidPauseMs = 600_000

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
    took(job, posted)
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
    took(job, posted)
  }
  return ids
}
