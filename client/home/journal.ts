/**
 * What audits need of records that the outbox forgets, one file for each relay, a line for each record; and what a relay has
 * signed of renewals. A line is there before the files it was made of go; a crash between the two leaves both, so a record may
 * be there twice.
 */
import { createReadStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { z } from 'zod'
import { Path, RecordId } from '../../market/record.ts'
import { Hash, Key, Milliseconds, Tag } from '../../market/units.ts'
import { isMissing, openJournal, readWhole, syncDirectory } from './durable.ts'
import type { Home } from './home.ts'

/** A request to prove that a record is held, and what was answered, as both were signed. */
export const Proof = z.strictObject({ re: Hash, asked: z.string().optional(), text: z.string().optional() })
export type Proof = z.infer<typeof Proof>

/** One record of ours on one relay. */
export const Kept = z.strictObject({
  path: Path,
  bytes: z.int().min(1),
  sent: Milliseconds,
  expires: Milliseconds,
  maxPulls: z.int().min(1),
  tag: Tag,
  bilateralPulls: z.int().min(0),
  /** It was to be deleted, whether or not the relay was told. */
  deleted: z.boolean(),
  /** The relay's signed replies to the write and to the deletion; null where there was none. */
  receipt: z.string().nullable(),
  gone: z.string().nullable(),
  /** The reads that its receiver told us of. */
  acks: z.array(Hash),
  proofs: z.array(Proof),
})
export type Kept = z.infer<typeof Kept>

/** An ack that came when its record was forgotten already. */
const LateAck = z.strictObject({ from: Key, recordId: RecordId, re: Hash })
export type LateAck = z.infer<typeof LateAck>

/** A page of what renewals have extended, as the relay signed it. */
const Extended = z.strictObject({ extended: z.string() })
export type Extended = z.infer<typeof Extended>

const Line = z.union([Kept, LateAck, Extended])
export type Line = Kept | LateAck | Extended

/** A line, where it begins and where the next one does, in bytes. */
export interface Read {
  readonly line: Line
  readonly offset: number
  readonly end: number
}

/** Adds lines to a relay's journal; once this resolves they are there for good. */
export async function append(home: Home, relay: Key, lines: readonly Line[]): Promise<void> {
  if (lines.length === 0) return
  await home.lock('journal', async () => {
    const path = fileOf(home, relay)
    const isTorn = await endsInside(path)
    const file = isTorn ? await openJournal(path) : await open(path, 'a', 0o600)
    try {
      await file.appendFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
      await file.sync()
    } finally {
      await file.close()
    }
    await syncDirectory(home.path('journal'))
  })
}

/** Whether anything of this relay was ever journaled. */
export const hasJournal = async (home: Home, relay: Key): Promise<boolean> =>
  (await sizeOf(fileOf(home, relay))) > 0

/** The lines of a journal from `offset` on, one after another. @throws ERR_DAMAGED naming the file */
export async function* journalOf(home: Home, relay: Key, offset = 0): AsyncGenerator<Read> {
  const path = fileOf(home, relay)
  if ((await sizeOf(path)) <= offset) return
  let place = offset
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of createReadStream(path, { start: offset }) as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    for (let end = rest.indexOf(newline); end >= 0; end = rest.indexOf(newline)) {
      const text = rest.toString('utf8', 0, end)
      const line = readWhole(path, () => Line.parse(JSON.parse(text)))
      yield { line, offset: place, end: place + end + 1 }
      place += end + 1
      rest = rest.subarray(end + 1)
    }
  }
  // What is left is a line that was never finished: its files are still in the outbox.
}

const newline = 0x0a
const fileOf = (home: Home, relay: Key): string => home.path('journal', `${relay}.jsonl`)

async function sizeOf(path: string): Promise<number> {
  return (await opened(path, async (file) => (await file.stat()).size)) ?? 0
}

/** Whether its last line has no end. */
async function endsInside(path: string): Promise<boolean> {
  const last = await opened(path, async (file) => {
    const { size } = await file.stat()
    return size === 0 ? newline : (await file.read(Buffer.alloc(1), 0, 1, size - 1)).buffer[0]
  })
  return last !== undefined && last !== newline
}

/** What `look` sees in a file, undefined when there is none. */
async function opened<T>(path: string, look: (file: FileHandle) => Promise<T>): Promise<T | undefined> {
  try {
    const file = await open(path, 'r')
    try {
      return await look(file)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}
