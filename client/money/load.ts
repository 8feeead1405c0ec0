/** How much it is that relays are to keep, before any of it is sealed: one record, or all records of a file. */
import { utf8Length } from '../market/bytes.ts'
import { paddedLength, type Payload } from '../market/payload.ts'
import { billedBytes, type Wish } from '../market/price.ts'
import { protocolLimits } from '../market/units.ts'
import {
  chunkCount,
  chunkIds,
  cipherBytes,
  fileHead,
  idsPerRecord,
  type Outgoing,
  partIds,
} from './sending.ts'

/**
 * Records that cost as much together as one record of `bytes` with this ttl and these pulls: what is billed is in
 * proportion to billed bytes, so the costs of many may be summed before they are rounded, once.
 */
export interface Load extends Wish {
  readonly records: number
  /** Content bytes of the largest record: no relay quotes for more than it takes in one record. */
  readonly largest: number
}

export interface Keeping {
  readonly ttlSeconds: number
  readonly maxPulls?: number | undefined
}

/** `sizes`: the content bytes of every record. */
export function loadOf(sizes: Iterable<number>, { ttlSeconds, maxPulls }: Keeping): Load {
  let [records, billed, largest] = [0, 0, 0]
  for (const size of sizes) {
    records += 1
    billed += billedBytes(size)
    largest = Math.max(largest, size)
  }
  return {
    bytes: billed - billedBytes(0),
    ttl: ttlSeconds,
    maxPulls: maxPulls ?? protocolLimits.defaultMaxPulls,
    records,
    largest,
  }
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

/** Length of the content of the record that carries this payload and so many raw bytes. */
export const contentBytes = (payload: Payload, bytes = 0): number =>
  Math.ceil(paddedLength(utf8Length(JSON.stringify(payload)) + 1 + bytes) / 3) * 4 + cipherBytes
