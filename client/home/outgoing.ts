/** What is known of a file being sent: enough to go on after a kill, and the ids of all its records. */
import { z } from 'zod'
import { toHex } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import { payloadLimits } from '../../market/payload.ts'
import { RecordId } from '../../market/record.ts'
import { Hash, Key, Milliseconds, Tag } from '../../market/units.ts'
import { namesIn, readJson, remove, writeDurably } from './durable.ts'
import type { Home } from './home.ts'
import { Bound, entries, forgetBroken, markDeleted } from './outbox.ts'

export const Outgoing = z.strictObject({
  /** Also the id of the `file` record. */
  id: RecordId,
  state: z.enum(['sending', 'sent']),
  /** The ids of all chunks follow from it; only we know it. */
  seed: Hash,
  to: Key,
  source: z.string(),
  size: z.int().min(0),
  modifiedMs: z.number(),
  chunkBytes: z.int().min(1),
  ttlSeconds: z.int().min(1),
  tag: Tag,
  maxPulls: z.int().min(1).nullable(),
  createdMs: Milliseconds,
  /** The relays that were chosen for it, and how many of them must sign for each record, where that was said of it. */
  relays: z.array(Key).min(1).optional(),
  quorum: z.int().min(1).optional(),
  /** The most that may be spent on all its records. */
  bound: Bound.optional(),
  /** No relay took a record of it for want of credit, or after one broke its word: until then it is not tried again by itself. */
  notBefore: Milliseconds.optional(),
})
/** A file on its way to a friend. */
export type Outgoing = z.infer<typeof Outgoing>

export async function outgoing(home: Home): Promise<Outgoing[]> {
  const names = (await namesIn(home.path('transfers'))).filter((name) => /^out-.*\.json$/.test(name))
  const all = await Promise.all(names.map((name) => readJson(home.path('transfers', name), Outgoing)))
  return all.filter((one) => one !== undefined).sort((a, b) => a.createdMs - b.createdMs)
}

/** Gives a sending up. Its records are the caller's to delete: `recordsOf` names them. */
export async function forgetUpload(home: Home, id: RecordId): Promise<void> {
  await remove(fileOf(home, id))
  await forgetBroken(home, id)
  await home.dropLock(lockOf(id))
}

/** Forgets a sending, and has what it put on relays deleted there by the next flush. */
export async function giveUp(home: Home, transfer: Outgoing): Promise<void> {
  const known = await entries(home)
  for (const id of recordsOf(transfer)) if (known.has(id)) await markDeleted(home, id)
  await forgetUpload(home, transfer.id)
}

/** The ids of all records a sending makes, the `file` record last. */
export const recordsOf = (transfer: Outgoing): RecordId[] => [
  ...chunkIds(transfer),
  ...partIds(transfer),
  transfer.id,
]

/** The records of the sending of that id, or the one record. */
export async function idsOf(home: Home, id: RecordId): Promise<RecordId[]> {
  const transfer = (await outgoing(home)).find((one) => one.id === id)
  return transfer === undefined ? [id] : recordsOf(transfer)
}

/** Which sending a record is part of, for all records of all sendings. */
export async function sendings(home: Home): Promise<Map<RecordId, RecordId>> {
  const all = await outgoing(home)
  return new Map(all.flatMap((transfer) => recordsOf(transfer).map((id) => [id, transfer.id])))
}

export const chunkCount = ({ size, chunkBytes }: Outgoing): number => Math.ceil(size / chunkBytes)

export const chunkId = ({ seed }: Outgoing, index: number): RecordId => idFrom(seed, `chunk ${index}`)

export const chunkIds = (transfer: Outgoing): RecordId[] =>
  Array.from({ length: chunkCount(transfer) }, (_, index) => chunkId(transfer, index))

/** The ids of the lists of chunks; none where the `file` record can name them all. */
export function partIds(transfer: Outgoing): RecordId[] {
  const count = chunkCount(transfer)
  const perPart = idsPerRecord(transfer)
  const length = count > perPart ? Math.ceil(count / perPart) : 0
  return Array.from({ length }, (_, index) => idFrom(transfer.seed, `part ${index}`))
}

/** How many ids one record may name: at most what the protocol allows, and what a record of this relay holds. */
export const idsPerRecord = ({ chunkBytes }: Outgoing): number =>
  Math.min(payloadLimits.chunksPerPart, Math.floor((chunkBytes - fileHeadBytes) / idBytes))

/** More chunks than this cannot be named by parts of parts: there are none. */
export const largestCount = (transfer: Outgoing): number => idsPerRecord(transfer) ** 2

const idFrom = (seed: string, what: string): RecordId => toHex(sha256(seed, what)).slice(0, 32)

/** A `file` record without its ids: mostly a name of 255 characters, escaped. */
export const fileHeadBytes = 2048
/** 32 digits, quotes and a comma. */
const idBytes = 35

export const lockOf = (id: RecordId): string => `out-${id}`
const fileOf = (home: Home, id: RecordId): string => home.path('transfers', `out-${id}.json`)
export const saveOutgoing = (home: Home, transfer: Outgoing): Promise<void> =>
  writeDurably(fileOf(home, transfer.id), JSON.stringify(transfer))
