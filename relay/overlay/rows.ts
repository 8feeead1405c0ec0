/**
 * The rows of the overlay, in a database of its own: public, and found again by whoever submits them again, so no part of a
 * backup. What is written is seen at once and is on disk, all of it or nothing, after `commit`.
 *
 *     o!TXID.VOUT!TOPIC   an output that a topic admitted (storage.ts)
 *     b!TXID.VOUT!TOPIC   its BEEF
 *     a!TXID!TOPIC        what a transaction came to in a topic
 *     l!HOST!TOPIC        until where another host was synchronised
 *     m!RELAY             a relay's advert, or that it was revoked (market-lookup.ts)
 */
import { MarketError } from '../../market/errors.ts'
import { type Change, type Database, openDatabase } from '../store/database.ts'

/** What topics and services keep there. */
export interface Rows {
  get(key: string): Buffer | undefined
  /** `undefined` deletes. */
  put(key: string, value: Buffer | undefined): void
  /** Rows whose key begins so, in no order. */
  under(prefix: string): AsyncIterable<readonly [key: string, value: Buffer]>
}

const pageRows = 256

export class OverlayRows implements Rows {
  readonly #database: Database
  #changes = new Map<string, Buffer | undefined>()
  #failure: unknown

  /** @throws as `openDatabase` */
  static async open(directory: string): Promise<OverlayRows> {
    return new OverlayRows(await openDatabase(directory))
  }

  private constructor(database: Database) {
    this.#database = database
  }

  get(key: string): Buffer | undefined {
    return this.#changes.has(key) ? this.#changes.get(key) : this.#database.get(Buffer.from(key))
  }

  put(key: string, value: Buffer | undefined): void {
    this.#changes.set(key, value)
  }

  async *under(prefix: string): AsyncGenerator<readonly [string, Buffer]> {
    const changes = [...this.#changes].filter(([key]) => key.startsWith(prefix))
    const changed = new Set(changes.map(([key]) => key))
    for (const [key, value] of changes) if (value !== undefined) yield [key, value]
    // Keys are ASCII.
    const scan = this.#database.scan({ gte: Buffer.from(prefix), lt: Buffer.from(`${prefix}\x7f`) })
    try {
      for (let page = await scan.next(pageRows); page.length > 0; page = await scan.next(pageRows))
        for (const [key, value] of page) if (!changed.has(key.toString())) yield [key.toString(), value]
    } finally {
      await scan.close()
    }
  }

  /** @throws ERR_BUSY after a write that failed: what is on disk is known only to whoever opens it again */
  check(): void {
    if (this.#failure === undefined) return
    throw new MarketError('ERR_BUSY', 'the overlay could not write: start the relay again', {
      cause: this.#failure,
    })
  }

  /** @throws ERR_BUSY */
  async commit(): Promise<void> {
    this.check()
    if (this.#changes.size === 0) return
    const changes: Change[] = [...this.#changes].map(([key, value]) => ({ key: Buffer.from(key), value }))
    try {
      await this.#database.write(changes)
    } catch (cause) {
      this.#failure = cause
      this.check()
    }
    this.#changes = new Map()
  }

  /** Forgets what was not committed. */
  discard(): void {
    this.#changes = new Map()
  }

  close(): Promise<void> {
    return this.#database.close()
  }
}
