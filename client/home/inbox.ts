/** What arrived: verified records as they were signed, opened when somebody looks. */
import { z } from 'zod'
import { verify } from '../../market/envelope.ts'
import { decodePayload, type ReadPayload } from '../../market/payload.ts'
import { decodeRecord, type RecordId, type SealedRecord } from '../../market/record.ts'
import { Hash, Key, Milliseconds } from '../../market/units.ts'
import { codeOf, messageOf } from '../errors.ts'
import type { Wallet } from '../wallet.ts'
import { namesIn, readJson, readText, readWhole, writeDurably } from './durable.ts'
import { hashOf, type Home } from './home.ts'

const SavedRecord = z.strictObject({
  record: z.string(),
  /** The relay it came from, and the signed read it answered. */
  relay: Key,
  re: Hash,
  receivedMs: Milliseconds,
})

export interface Arrival {
  readonly record: SealedRecord
  readonly relay: Key
  readonly re: Hash
  readonly receivedMs: number
}

/** A record as its reader sees it. Text in it was chosen by its sender: it is not fit for a terminal as it is. */
export interface Message {
  readonly id: RecordId
  readonly path: string
  readonly from: Key
  readonly tag: string
  readonly sentMs: number
  readonly receivedMs: number
  readonly relay: Key
  readonly payload: ReadPayload['payload'] | { readonly type: 'damaged'; readonly reason: string }
  readonly bytes: Uint8Array
}

export async function holds(home: Home, path: string): Promise<boolean> {
  return (await readText(fileOf(home, path))) !== undefined
}

/** Keeps a verified record; once this resolves it is there for good. */
export async function keepArrival(home: Home, { record, ...rest }: Arrival): Promise<void> {
  await writeDurably(fileOf(home, record.path), JSON.stringify({ record: record.text, ...rest }))
}

export async function arrival(home: Home, path: string): Promise<Arrival | undefined> {
  return readArrival(fileOf(home, path))
}

/** Everything that ever arrived, oldest first. */
export async function* arrivals(home: Home): AsyncGenerator<Arrival> {
  const names = (await namesIn(home.path('inbox'))).filter((name) => name.endsWith('.json'))
  const order: { name: string; receivedMs: number }[] = []
  for (const name of names) {
    const one = await readArrival(home.path('inbox', name))
    if (one !== undefined) order.push({ name, receivedMs: one.receivedMs })
  }
  order.sort((a, b) => a.receivedMs - b.receivedMs)
  // Read again one by one: an inbox may be larger than memory.
  for (const { name } of order) {
    const one = await readArrival(home.path('inbox', name))
    if (one !== undefined) yield one
  }
}

async function readArrival(path: string): Promise<Arrival | undefined> {
  const saved = await readJson(path, SavedRecord)
  if (saved === undefined) return undefined
  const { record, ...rest } = saved
  return { ...rest, record: readWhole(path, () => verify(decodeRecord(record))) }
}

/**
 * Decrypts and parses. What does not decrypt is shown as damaged: it was signed by its sender, so it is a fact about
 * him. @throws what the wallet throws when it fails: that is a fact about the wallet, and no record's fault
 */
export async function openArrival(
  { wallet }: { readonly wallet: Wallet },
  arrived: Arrival,
): Promise<Message> {
  const { record, relay, receivedMs } = arrived
  const { from, timestamp, request } = record.msg
  const { recordId: id, tag } = request
  const about = { id, path: record.path, from, tag, sentMs: timestamp, receivedMs, relay }
  try {
    const plaintext = await wallet.decrypt(record.content, { recordId: id, counterparty: from })
    return { ...about, ...decodePayload(plaintext) }
  } catch (error) {
    if (codeOf(error) !== 'ERR_MALFORMED') throw error
    return { ...about, payload: { type: 'damaged', reason: messageOf(error) }, bytes: new Uint8Array(0) }
  }
}

const fileOf = (home: Home, path: string): string => home.path('inbox', `${hashOf(path)}.json`)
