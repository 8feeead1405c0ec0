/** How a file is cut into records, what the last of them says, and how much they all are. */
import { basename } from 'node:path'
import { utf8Length } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { type Payload, payloadLimits } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import type { Context } from '../context.ts'
import {
  chunkCount,
  chunkIds,
  fileHeadBytes,
  idsPerRecord,
  type Outgoing,
  partIds,
} from '../home/outgoing.ts'
import { contentBytes, contentLength, type Load, loadOf } from '../money/load.ts'
import { ownRelays } from '../people/relays.ts'

const chunkBytesLimit: number = 256 * 1024
const headBytes = 64

/** Raw bytes per chunk so that its record fits the smallest of our relays; those that do not answer get no say. */
export async function chunkBytesFor(ctx: Context, signal: AbortSignal | undefined): Promise<number> {
  const relays = await ownRelays(ctx)
  const infos = await Promise.allSettled(relays.map((relay) => ctx.connect(relay).info(signal)))
  signal?.throwIfAborted()
  const limits = infos.map((info) =>
    info.status === 'fulfilled' ? info.value.limits.recordBytes : Number.POSITIVE_INFINITY,
  )
  return largestChunk(Math.min(...limits))
}

/** @throws ERR_TOO_LARGE when not even a small chunk fits */
export function largestChunk(recordBytes: number): number {
  const fits = (bytes: number) => contentLength(bytes + headBytes) <= recordBytes
  let bytes = chunkBytesLimit
  while (!fits(bytes)) {
    bytes = Math.floor(bytes * 0.95)
    if (bytes < 2 * fileHeadBytes)
      throw new MarketError('ERR_TOO_LARGE', 'your relay takes too small records for files')
  }
  return bytes
}

/** What the `file` record says. */
export function fileHead(
  { source, size, chunkBytes }: Outgoing,
  sha256: string,
  { chunks, parts }: { readonly chunks: RecordId[]; readonly parts: RecordId[] },
): Payload {
  const names = parts.length > 0 ? { parts } : { chunks }
  const name = basename(source).slice(0, payloadLimits.nameLength)
  return { type: 'file', name, size, sha256, chunkBytes, ...names }
}

/** All records of a sending. Those that name the chunks may come late and live shorter, so it is what they cost at most. */
export const fileLoad = (transfer: Outgoing): Load =>
  loadOf(sizesOf(transfer), { ttlSeconds: transfer.ttlSeconds, maxPulls: transfer.maxPulls ?? undefined })

function* sizesOf(transfer: Outgoing): Generator<number> {
  const { size, chunkBytes } = transfer
  const count = chunkCount(transfer)
  for (let index = 0; index < count; index++)
    yield chunkRecord(Math.min(chunkBytes, size - index * chunkBytes))
  const [chunks, parts] = [chunkIds(transfer), partIds(transfer)]
  const perPart = idsPerRecord(transfer)
  for (const index of parts.keys())
    yield chunkRecord(utf8Length(JSON.stringify(chunks.slice(index * perPart, (index + 1) * perPart))))
  // The hash is not known before the file was read; its length is.
  yield contentBytes(fileHead(transfer, '0'.repeat(64), { chunks, parts }))
}

const chunkRecord = (size: number): number => contentBytes({ type: 'chunk', size }, size)
