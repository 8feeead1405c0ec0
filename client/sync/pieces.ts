/** The pieces that files are made of: from files that are here, else from the records that carry them. */
import { join } from 'node:path'
import { type FileEntry, isFile } from '../../market/folder.ts'
import { MarketError } from '../../market/errors.ts'
import type { Piece } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import { codeOf, Refused } from '../errors.ts'
import { type LocalEntry, spool, spooled, spoolFolder } from '../home/folders.ts'
import { hashHex } from './cut.ts'
import { checkRoom } from './disk.ts'
import { type Failures, readPack, type Share, urlsOf } from './records.ts'
import { readPiece } from './scan.ts'

/** Records that are held in memory, of a quarter MiB each. */
const held = 32

interface Sources {
  readonly index: ReadonlyMap<string, LocalEntry>
  /** Where pieces lie that an entry does not say it of. */
  readonly places: ReadonlyMap<string, Piece>
  readonly failures: Failures
}

export class Pieces {
  /** Of records that were fetched. */
  fetchedBytes = 0
  readonly #share: Share
  readonly #sources: Sources
  readonly #here = new Map<string, { path: string; offset: number }>()
  /** The oldest first. */
  readonly #held = new Map<RecordId, Uint8Array>()
  readonly #lost = new Set<RecordId>()

  constructor(share: Share, sources: Sources) {
    this.#share = share
    this.#sources = sources
    for (const { entry } of sources.index.values()) {
      if (!isFile(entry)) continue
      let offset = 0
      for (const { sha256, length } of entry.pieces) {
        if (!this.#here.has(sha256)) this.#here.set(sha256, { path: entry.path, offset })
        offset += length
      }
    }
  }

  /** The records that a file most likely needs. */
  recordsOf({ pieces }: FileEntry): RecordId[] {
    return pieces.flatMap((piece) => (this.#here.has(piece.sha256) ? [] : (this.#placeOf(piece)?.at ?? [])))
  }

  /** Brings a record to this disk, unless it is here, or no relay has it. */
  async fetch(id: RecordId): Promise<void> {
    const { place, options } = this.#share
    if (this.#lost.has(id) || (await spooled(place, id)) !== undefined) return
    try {
      const bytes = await readPack(this.#share, id)
      // Whatever the files say of their sizes.
      await checkRoom([spoolFolder(place)], bytes.length)
      await spool(place, id, bytes)
      this.fetchedBytes += bytes.length
    } catch (error) {
      options.signal?.throwIfAborted()
      if (codeOf(error) === 'ERR_NO_SPACE') throw error
      this.#lost.add(id)
      const isGone = codeOf(error) === 'ERR_NOT_FOUND' && !(error instanceof Refused)
      if (!isGone) this.#sources.failures.push({ relay: urlsOf(this.#share), error: error as Error })
    }
  }

  /** Checked against its hash. @throws ERR_NOT_FOUND, ERR_MALFORMED */
  async bytes(piece: Piece): Promise<Uint8Array> {
    const local = this.#here.get(piece.sha256)
    if (local !== undefined) {
      const read = readPiece(join(this.#share.folder.directory, local.path), local.offset, piece)
      const bytes = await read.catch(() => undefined) // changed meanwhile, or replaced by this very run
      if (bytes !== undefined) return bytes
    }
    const { at, offset = 0 } = this.#placeOf(piece) ?? {}
    if (at === undefined) throw new MarketError('ERR_NOT_FOUND', 'nobody says where it is')
    const pack = await this.#pack(at)
    if (pack === undefined) throw new MarketError('ERR_NOT_FOUND', 'no relay has it')
    const bytes = pack.subarray(offset, offset + piece.length)
    if (hashHex(bytes) !== piece.sha256)
      throw new MarketError('ERR_MALFORMED', 'a piece of it is another than promised')
    return bytes
  }

  #placeOf(piece: Piece): Piece | undefined {
    return piece.at === undefined ? this.#sources.places.get(piece.sha256) : piece
  }

  async #pack(id: RecordId): Promise<Uint8Array | undefined> {
    const known = this.#held.get(id)
    if (known !== undefined) return known
    await this.fetch(id)
    const bytes = await spooled(this.#share.place, id)
    if (bytes !== undefined) this.#held.set(id, bytes)
    const [oldest] = this.#held.keys()
    if (this.#held.size > held && oldest !== undefined) this.#held.delete(oldest)
    return bytes
  }
}
