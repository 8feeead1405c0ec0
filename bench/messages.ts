/** What the bench says to a relay, sealed before the clock runs. */
import { randomBytes } from 'node:crypto'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { seal } from '../market/envelope.ts'
import { sha256 } from '../market/hash.ts'
import { toHex } from '../market/bytes.ts'
import { formatPath } from '../market/record.ts'
import type { Hash, Key } from '../market/units.ts'

/** A body for `POST /`, and the hash by which the answer names it. */
export interface Message {
  readonly text: string
  readonly hash: Hash
}

export interface RecordMessage extends Message {
  readonly path: string
  readonly receiver: KeyWallet
}

export const people = (count: number): KeyWallet[] => Array.from({ length: count }, () => KeyWallet.random())

/** Parties of a load: enough that nobody's counters are special, few enough that their keys are known, as in a relay's day. */
export interface Parties {
  readonly owners: readonly KeyWallet[]
  readonly receivers: readonly KeyWallet[]
}
export const parties = (): Parties => ({ owners: people(64), receivers: people(64) })

export interface RecordOptions extends Parties {
  readonly relay: Key
  readonly count: number
  readonly bytes: number
  readonly maxPulls?: number
}

const ttlSeconds = 86_400

export async function sealRecords(options: RecordOptions): Promise<RecordMessage[]> {
  const { relay, count, bytes, owners, receivers, maxPulls } = options
  const messages: RecordMessage[] = []
  for (let index = 0; index < count; index++) {
    const owner = owners[index % owners.length]!
    const receiver = receivers[(index * 7) % receivers.length]!
    const recordId = toHex(randomBytes(16))
    const { text, hash } = await seal(
      {
        to: receiver.identity,
        timestamp: Date.now(),
        request: {
          type: 'write',
          recordId,
          ttl: ttlSeconds,
          tag: '',
          content: randomBytes(bytes).toString('base64'),
          relays: [relay],
          ...(maxPulls !== undefined && { maxPulls }),
        },
      },
      owner,
    )
    const path = formatPath({ owner: owner.identity, receiver: receiver.identity, recordId })
    messages.push({ text, hash, path, receiver })
  }
  return messages
}

/** A request to the relay itself. */
export async function sealRequest(
  request: { type: string; [field: string]: unknown },
  from: KeyWallet,
  relay: Key,
): Promise<Message> {
  const nonce = toHex(randomBytes(8))
  const { text, hash } = await seal({ to: relay, timestamp: Date.now(), nonce, request }, from)
  return { text, hash }
}

export async function sealReads(records: readonly RecordMessage[], relay: Key): Promise<Message[]> {
  const reads: Message[] = []
  for (const { path, receiver } of records)
    reads.push(await sealRequest({ type: 'read', path }, receiver, relay))
  return reads
}

export interface BatchMessage<M extends Message> extends Message {
  readonly parts: readonly M[]
}

/** Arrays of `size` messages; canonical messages joined by commas are a canonical array. */
export function batches<M extends Message>(messages: readonly M[], size: number): BatchMessage<M>[] {
  const result: BatchMessage<M>[] = []
  for (let start = 0; start < messages.length; start += size) {
    const parts = messages.slice(start, start + size)
    const text = `[${parts.map((part) => part.text).join(',')}]`
    result.push({ text, hash: toHex(sha256(text)), parts })
  }
  return result
}
