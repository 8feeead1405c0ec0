/**
 * The file that a store is backed up in:
 *
 *     a line     relayd backup, version 1
 *     a line     what it is a backup of (`BackupHeader`), as JSON
 *     rows       length of the key (4 bytes, big-endian) ‖ length of the value (4) ‖ key ‖ value, in the order of keys
 *     the end    number of rows (8) ‖ SHA-256 of everything before it (32) ‖ `relayd backup end`
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { Hash, Milliseconds } from '../../market/units.ts'
import type { KeyValue } from './database.ts'
import { checkVersion, Meta } from './meta.ts'

const version = 1
const titleOf = (number: number): string => `relayd backup, version ${number}\n`
const endMark = Buffer.from('relayd backup end')
const rowHeadBytes = 8
const countBytes = 8
const digestBytes = 32

export const BackupHeader = z.strictObject({
  takenAt: Milliseconds,
  /** SHA-256 of the file with the relay's key. */
  key: Hash,
  /** SHA-256 of the backup of its coins, where it has any. */
  wallet: Hash.optional(),
  /** What the store says of itself, the one row that is not among the rows. */
  store: Meta,
})
export type BackupHeader = z.infer<typeof BackupHeader>

/** Bytes that may wait for the disk: an fsync of the relay waits with them. */
const unsyncedBytes = 4 << 20
const headBytes = 64 << 10
const chunkBytes = 4 << 20
/** More than any row of a relay has; what claims more is refused before it is waited for. */
const longestKeyBytes = 64 << 10
const longestValueBytes = 256 << 20

/** A backup being written; lets little of itself wait for the disk. */
export class BackupWriter {
  readonly #file: FileHandle
  readonly #hash = createHash('sha256')
  #unsynced = 0
  #rows = 0
  #bytes = 0

  constructor(file: FileHandle) {
    this.#file = file
  }

  get rows(): number {
    return this.#rows
  }

  get bytes(): number {
    return this.#bytes
  }

  begin(header: BackupHeader): Promise<void> {
    return this.#write(Buffer.from(`${titleOf(version)}${JSON.stringify(header)}\n`))
  }

  write(rows: readonly KeyValue[]): Promise<void> {
    this.#rows += rows.length
    return this.#write(encodeRows(rows))
  }

  /** Nothing more follows; all of it is durable then. */
  async end(): Promise<void> {
    const count = Buffer.alloc(countBytes)
    count.writeBigUInt64BE(BigInt(this.#rows))
    await this.#write(count)
    await this.#write(Buffer.concat([this.#hash.copy().digest(), endMark])) // a copy: this is a write like any other
    await this.#file.sync()
  }

  async #write(bytes: Buffer): Promise<void> {
    this.#hash.update(bytes)
    await this.#file.writeFile(bytes) // goes on where the last one ended
    this.#bytes += bytes.length
    this.#unsynced += bytes.length
    if (this.#unsynced < unsyncedBytes) return
    await this.#file.datasync()
    this.#unsynced = 0
  }
}

/** A backup being read. */
export class BackupReader {
  readonly header: BackupHeader
  readonly #path: string
  readonly #file: FileHandle
  /** Title and header. */
  readonly #head: Buffer
  /** Number of rows, checksum, mark. */
  readonly #end: Buffer
  readonly #rowsEnd: number

  /** Reads its head and its end; the rest is only trusted after `verify`. */
  static async open(path: string): Promise<BackupReader> {
    const file = await open(path, 'r')
    try {
      const { size } = await file.stat()
      const head = headOf(path, await readAt(file, 0, Math.min(headBytes, size)))
      const rowsEnd = size - countBytes - digestBytes - endMark.length
      if (rowsEnd < head.length) throw cutShort(path)
      const end = await readAt(file, rowsEnd, size - rowsEnd)
      if (!end.subarray(countBytes + digestBytes).equals(endMark)) throw cutShort(path)
      return new BackupReader({ path, file, head, end, rowsEnd })
    } catch (error) {
      await file.close()
      throw error
    }
  }

  private constructor(parts: { path: string; file: FileHandle; head: Buffer; end: Buffer; rowsEnd: number }) {
    this.#path = parts.path
    this.#file = parts.file
    this.#head = parts.head
    this.#end = parts.end
    this.#rowsEnd = parts.rowsEnd
    this.header = this.#readHeader()
  }

  get rowCount(): number {
    return Number(this.#end.readBigUInt64BE())
  }

  /** @throws ERR_MALFORMED unless every byte is as it was written, ERR_INTERNAL for a store of a newer version. */
  async verify(): Promise<void> {
    for await (const _ of this.#chunks());
    checkVersion(this.header.store)
  }

  /** All rows in order, some at a time; checks the file once more. */
  async *rows(): AsyncGenerator<KeyValue[]> {
    let rest: Buffer = Buffer.alloc(0)
    let count = 0
    for await (const chunk of this.#chunks()) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      const { rows, read } = decodeRows(this.#path, bytes)
      rest = bytes.subarray(read)
      count += rows.length
      yield rows
    }
    if (rest.length > 0 || count !== this.rowCount) throw altered(this.#path)
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  /** The bytes of the rows; throws at their end unless the checksum of the file holds. */
  async *#chunks(): AsyncGenerator<Buffer> {
    const hash = createHash('sha256').update(this.#head)
    for (let at = this.#head.length; at < this.#rowsEnd; ) {
      const chunk = await readAt(this.#file, at, Math.min(chunkBytes, this.#rowsEnd - at))
      hash.update(chunk)
      at += chunk.length
      yield chunk
    }
    const digest = hash.update(this.#end.subarray(0, countBytes)).digest()
    if (!digest.equals(this.#end.subarray(countBytes, countBytes + digestBytes))) throw altered(this.#path)
  }

  #readHeader(): BackupHeader {
    try {
      return BackupHeader.parse(JSON.parse(this.#head.toString().split('\n')[1] ?? ''))
    } catch (cause) {
      throw altered(this.#path, cause)
    }
  }
}

/** The two lines at the beginning. */
function headOf(path: string, bytes: Buffer): Buffer {
  const titleEnd = bytes.indexOf('\n') + 1
  const title = bytes.toString('latin1', 0, titleEnd)
  const found = Number(/version (\d{1,9})\n$/.exec(title)?.[1])
  if (title !== titleOf(found)) throw malformed(path, 'foreign', 'is not a backup of a relay')
  if (found > version) {
    const versions = `it has version ${found}, this program knows ${version}`
    throw malformed(path, 'newer', `was made by a newer version of this program: ${versions}`)
  }
  const headerEnd = bytes.indexOf('\n', titleEnd) + 1
  if (headerEnd === 0) throw cutShort(path)
  return bytes.subarray(0, headerEnd)
}

function encodeRows(rows: readonly KeyValue[]): Buffer {
  const bytes = rows.reduce((sum, [key, value]) => sum + rowHeadBytes + key.length + value.length, 0)
  const encoded = Buffer.allocUnsafe(bytes)
  let at = 0
  for (const [key, value] of rows) {
    encoded.writeUInt32BE(key.length, at)
    encoded.writeUInt32BE(value.length, at + 4)
    encoded.set(key, at + rowHeadBytes)
    encoded.set(value, at + rowHeadBytes + key.length)
    at += rowHeadBytes + key.length + value.length
  }
  return encoded
}

/** Whole rows at the beginning of `bytes`, and how many bytes they take. @throws ERR_MALFORMED for one that no relay has */
function decodeRows(path: string, bytes: Buffer): { rows: KeyValue[]; read: number } {
  const rows: KeyValue[] = []
  let read = 0
  while (read + rowHeadBytes <= bytes.length) {
    const keyStart = read + rowHeadBytes
    const [keyBytes, valueBytes] = [bytes.readUInt32BE(read), bytes.readUInt32BE(read + 4)]
    if (keyBytes > longestKeyBytes || valueBytes > longestValueBytes)
      throw malformed(path, 'altered', `has a row of ${keyBytes + valueBytes} bytes`)
    const valueStart = keyStart + keyBytes
    const end = valueStart + valueBytes
    if (end > bytes.length) break
    rows.push([bytes.subarray(keyStart, valueStart), bytes.subarray(valueStart, end)])
    read = end
  }
  return { rows, read }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length)
  let read = 0
  while (read < length) {
    const { bytesRead } = await file.read(bytes, read, length - read, position + read)
    if (bytesRead === 0) throw malformed('the backup', 'incomplete', 'became shorter while it was read')
    read += bytesRead
  }
  return bytes
}

type Reason = 'foreign' | 'newer' | 'incomplete' | 'altered'

const malformed = (path: string, reason: Reason, what: string, cause?: unknown): MarketError =>
  new MarketError('ERR_MALFORMED', `${path} ${what}`, { extras: { reason }, cause })
const cutShort = (path: string): MarketError =>
  malformed(path, 'incomplete', 'is cut short: its end is missing')
const altered = (path: string, cause?: unknown): MarketError =>
  malformed(path, 'altered', 'was altered: its checksum does not hold', cause)
