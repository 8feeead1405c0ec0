/**
 * The file of a devnet: what happened, in order, each record with a checksum. A block is on the disk before it is answered; a
 * transaction that waits is handed to the system, so that it survives the end of the process but not that of the machine.
 */
import { strict as assert } from 'node:assert'
import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { concat, equal, fromHex, toHex, toUtf8 } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { sha256 } from '../../../market/hash.ts'
import { Reader, type Txid, uint32 } from '../../transaction/transaction.ts'
import { lock } from './lock.ts'

export type Happening =
  | { readonly kind: 'block' | 'transaction'; readonly bytes: Uint8Array }
  | { readonly kind: 'invalid' | 'valid'; readonly hash: Txid }

const kinds = ['block', 'transaction', 'invalid', 'valid'] as const
const fileName = 'devnet.chain'
const head = toUtf8('devnet 1: coins worth nothing\n')
const checksumBytes = 4
const recordHeadBytes = 1 + 4 + checksumBytes
const mostRecordBytes = 512 << 20

export class Journal {
  readonly #file: number
  readonly #path: string
  readonly #unlock: () => void
  #end = head.length

  private constructor(path: string) {
    this.#path = path
    this.#unlock = lock(`${path}.lock`)
    try {
      this.#file = openSync(path, 'a+', 0o600)
    } catch (error) {
      this.#unlock()
      throw error
    }
  }

  /** @throws ERR_BUSY while another process has it, ERR_INTERNAL for a file of something else */
  static open(directory: string): Journal {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const journal = new Journal(join(directory, fileName))
    try {
      journal.#begin()
      return journal
    } catch (error) {
      journal.close()
      throw error
    }
  }

  /** All that happened. A record that was not written to its end is cut off. @throws ERR_INTERNAL for one that was changed */
  *replay(): Iterable<Happening> {
    const { size } = fstatSync(this.#file)
    for (let at = head.length; at < size; at = this.#end) {
      if (size - at < recordHeadBytes) return this.#cut(at)
      const start = new Reader(this.#read(at, recordHeadBytes))
      const kind = kinds[start.uint8()]
      const length = start.uint32()
      if (kind === undefined || !equal(start.bytes(checksumBytes), checksumOf(recordHead(kind, length))))
        throw this.#damaged(`at byte ${at}`)
      const end = at + recordHeadBytes + length
      const next = end + checksumBytes
      if (next > size) return this.#cut(at)
      const bytes = this.#read(at + recordHeadBytes, length)
      if (!equal(this.#read(end, checksumBytes), checksumOf(bytes))) throw this.#damaged(`at byte ${at}`)
      this.#end = next
      yield kind === 'block' || kind === 'transaction' ? { kind, bytes } : { kind, hash: toHex(bytes) }
    }
  }

  append(happening: Happening): void {
    const { kind } = happening
    const bytes = 'bytes' in happening ? happening.bytes : fromHex(happening.hash)
    const start = recordHead(kind, bytes.length)
    const record = concat(start, checksumOf(start), bytes, checksumOf(bytes))
    try {
      for (let written = 0; written < record.length; )
        written += writeSync(this.#file, record, written, record.length - written)
    } catch (cause) {
      // What is half there would hide all that comes behind it.
      ftruncateSync(this.#file, this.#end)
      throw new MarketError('ERR_INTERNAL', `cannot write ${this.#path}`, { cause })
    }
    this.#end += record.length
  }

  sync(): void {
    fdatasyncSync(this.#file)
  }

  close(): void {
    closeSync(this.#file)
    this.#unlock()
  }

  #begin(): void {
    if (fstatSync(this.#file).size < head.length) {
      ftruncateSync(this.#file, 0)
      writeSync(this.#file, head)
    }
    if (!equal(this.#read(0, head.length), head)) throw this.#damaged('it is none')
  }

  #cut(at: number): void {
    ftruncateSync(this.#file, at)
    this.#end = at
  }

  #read(from: number, length: number): Uint8Array {
    if (length > mostRecordBytes) throw this.#damaged(`a record of ${length} bytes`)
    const bytes = new Uint8Array(length)
    assert.equal(readSync(this.#file, bytes, 0, length, from), length)
    return bytes
  }

  #damaged(what: string): MarketError {
    return new MarketError('ERR_INTERNAL', `${this.#path} is damaged, or no chain of a devnet: ${what}`)
  }
}

const recordHead = (kind: Happening['kind'], length: number): Uint8Array =>
  concat(Uint8Array.of(kinds.indexOf(kind)), uint32(length))

const checksumOf = (bytes: Uint8Array): Uint8Array => sha256(bytes).subarray(0, checksumBytes)
