/** What is left to do after a command, and goes up by itself with a later one. */
import type { Context } from './context.ts'
import { tellMembers } from './feeds/channels.ts'
import { fetchFiles } from './files/downloads.ts'
import type { TransferOptions } from './files/transfer.ts'
import { resumeUploads } from './files/uploads.ts'
import type { Incoming } from './home/incoming.ts'
import { sendAcks } from './mail/acks.ts'
import { announce } from './mail/announce.ts'
import { flush, type FlushCall, type Flushed } from './mail/flush.ts'

export type FlushOptions = TransferOptions & FlushCall
export type FinishOptions = FlushOptions & { files?: boolean }

export interface Finished {
  readonly files: Incoming[]
  readonly flushed: Flushed
}

/** Fetches the files that wait unless `files` is false, acknowledges, and flushes. */
export async function finish(ctx: Context, options: FinishOptions): Promise<Finished> {
  const files = options.files === false ? [] : await fetchFiles(ctx, options)
  await sendAcks(ctx, { ...options, attempts: 1 })
  return { files, flushed: await flushAll(ctx, options) }
}

/** Tells friends of changes and of keys, goes on with sendings, and brings the queue to the relays; to one relay only the queue. */
export async function flushAll(ctx: Context, options: FlushOptions): Promise<Flushed> {
  if (options.only !== undefined) return flush(ctx, { ...options, attempts: 1 })
  await announce(ctx, { ...options, attempts: 1 })
  await tellMembers(ctx, options)
  await resumeUploads(ctx, options)
  return flush(ctx, { ...options, attempts: 1 })
}
