/** How much it is that relays are to keep, before any of it is sealed: one record, or many. */
import { utf8Length } from '../../market/bytes.ts'
import { paddedLength, type Payload } from '../../market/payload.ts'
import { billedBytes, type Wish } from '../../market/price.ts'
import { protocolLimits } from '../../market/units.ts'

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

/** Length of the content of the record that carries this payload and so many raw bytes. */
export const contentBytes = (payload: Payload, bytes = 0): number =>
  contentLength(utf8Length(JSON.stringify(payload)) + 1 + bytes)

/** The same of so many bytes in all, before they are padded. */
export const contentLength = (plainBytes: number): number =>
  Math.ceil(paddedLength(plainBytes) / 3) * 4 + cipherBytes

/** What BRC-2 adds to a plaintext. */
const cipherBytes = 48
