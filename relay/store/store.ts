/** Everything the relay keeps. Whatever a method has resolved with is durable. */
import type { Proof } from '../../contracts/api.ts'
import { toBase64, toHex } from '../../market/bytes.ts'
import { leafAt, merklePath } from '../../market/merkle.ts'
import type { SealedRecord } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import { contentOfBody, textOfBody } from './body.ts'
import { type CommitObserver, Committer, type Log, type StoreState } from './committer.ts'
import { countersOf, openStock } from './counters.ts'
import { type Bounds, type Database, openDatabase, type Scan, type Snapshot } from './database.ts'
import { type Page, type Query, readPage } from './inventory.ts'
import { isUnwritten, type Meta, openMeta } from './meta.ts'
import { cursorExpired, cursorOf, lastPlace, placeAt, placeOfCursor, timeOf } from './place.ts'
import {
  proveRecord,
  pullByWeb,
  pullRecord,
  type SignedRead,
  type SignedRequest,
  type WebRead,
} from './pulls.ts'
import * as records from './records.ts'
import { Repeats } from './repeats.ts'
import type { Counters, Payer } from './rows.ts'

/** Told, too, of what is durable, once each time. Must not throw. */
export interface StoreObserver extends CommitObserver {
  written(bytes: number): void
  served(bytes: number): void
}

export interface StoreOptions {
  readonly directory: string
  now(): number
  readonly log?: Log | undefined
  readonly onState?: (state: StoreState) => void
  /** How the database is opened, each time; for tests of its failures. */
  openDatabase?(directory: string): Promise<Database>
  readonly reopenDelaysMs?: readonly number[]
  readonly observer?: StoreObserver | undefined
}

export type Read =
  | { readonly outcome: 'record'; readonly text: string; readonly bytes: number }
  | { readonly outcome: 'absent' | 'replayed' | 'unpaid' }
export type ReadByWeb =
  | { readonly outcome: 'record'; readonly text: string; readonly bytes: number; readonly paidBy: Payer }
  | { readonly outcome: 'absent' | 'replayed' }
  /** What the reader must pay. */
  | { readonly outcome: 'unpaid'; readonly satoshis: number }
export type Proved =
  | { readonly outcome: 'proof'; readonly proof: Proof }
  | { readonly outcome: 'absent' | 'replayed' | 'unpaid' }
export type { Agree, Arrival, Offer, RecordBatch, Terms } from './records.ts'
export type ArrivalsListener = (arrivals: readonly records.Arrival[]) => void
export type InventoryQuery = Omit<Query, 'before' | 'now'> & { readonly before?: number | undefined }

type Parts = {
  meta: Meta
  committer: Committer<records.Arrival>
  listeners: Set<ArrivalsListener>
  now(): number
  observer: StoreObserver | undefined
  isNew: boolean
}

export class Store {
  readonly meta: Meta
  /** Whether this process made it: nothing was ever promised of it before. */
  readonly isNew: boolean
  readonly #committer: Committer<records.Arrival>
  readonly #listeners: Set<ArrivalsListener>
  readonly #now: () => number
  readonly #observer: StoreObserver | undefined
  readonly #repeats = new Repeats()

  /** @throws ERR_BUSY when another process has it open; ERR_INTERNAL when it is damaged or of a newer version. */
  static async open(options: StoreOptions): Promise<Store> {
    const { directory, now, log = silent } = options
    const reopen = () => (options.openDatabase ?? openDatabase)(directory)
    const listeners = new Set<ArrivalsListener>()
    const announce = (arrivals: records.Arrival[]) => tell(listeners, arrivals, log)
    const database = await reopen()
    try {
      const isNew = isUnwritten(database)
      const meta = await openMeta(database, now())
      await openStock(database)
      const { onState, reopenDelaysMs, observer } = options
      const committer = new Committer({
        database,
        reopen,
        now,
        log,
        announce,
        onState,
        reopenDelaysMs,
        observer,
      })
      return new Store({ meta, isNew, committer, listeners, now, observer })
    } catch (error) {
      await database.close()
      throw error
    }
  }

  private constructor({ meta, isNew, committer, listeners, now, observer }: Parts) {
    this.meta = meta
    this.isNew = isNew
    this.#committer = committer
    this.#listeners = listeners
    this.#now = now
    this.#observer = observer
  }

  get state(): StoreState {
    return this.#committer.state
  }

  /** Operations that wait for the next commit, and about what they hold in memory. */
  get waiting(): { operations: number; bytes: number } {
    return this.#committer.waiting
  }

  /** @throws whatever `agree` throws; nothing was written then. */
  async write(record: SealedRecord, agree: records.Agree): Promise<records.Written> {
    const prepared = records.prepare(record)
    const operation = (batch: records.RecordBatch) => records.writeRecord(batch, prepared, agree)
    const written = await this.commit(operation, prepared.body.length)
    if (written.outcome === 'stored') this.#observer?.written(written.receipt.bytes)
    return written
  }

  /** One pull, durable before it is served; the identical signed read again is the same pull, three times. */
  async read(read: SignedRead): Promise<Read> {
    const pulled = await this.commit((batch) => pullRecord(batch, read, this.#repeats))
    if (pulled.outcome !== 'record') return pulled
    this.#observer?.served(pulled.bytes)
    return { outcome: 'record', text: textOfBody(pulled.body), bytes: pulled.bytes }
  }

  /**
   * One read through the file-system view, durable before it is served; the same purchase again is the same read, three
   * times. Who asks was authenticated as the receiver in the path.
   */
  async readByWeb(read: WebRead): Promise<ReadByWeb> {
    const pulled = await this.commit((batch) => pullByWeb(batch, read, this.#repeats))
    if (pulled.outcome !== 'record') return pulled
    const { body, bytes, paidBy } = pulled
    this.#observer?.served(bytes)
    return { outcome: 'record', text: textOfBody(body), bytes, paidBy }
  }

  delete(request: records.SignedDelete): Promise<records.Deleted> {
    return this.commit((batch) => records.deleteRecord(batch, request))
  }

  /** @throws ERR_NOT_FOUND when the record has no leaf `index`, ERR_PAYMENT_REQUIRED when its purse is empty. */
  async prove(request: SignedRequest & { readonly index: number }): Promise<Proved> {
    const proven = await this.commit((batch) => proveRecord(batch, request))
    if (proven.outcome !== 'held') return proven
    const { index } = request
    const content = contentOfBody(proven.body)
    const data = toBase64(leafAt(content, index))
    const path = merklePath(content, index).map(toHex)
    return { outcome: 'proof', proof: { data, index, size: content.length, path } }
  }

  /** A page of what is durable and has not expired, in the order of places. */
  async inventory(query: InventoryQuery): Promise<Page> {
    const before = Math.min(query.before ?? lastPlace, this.head())
    return readPage(this.#committer.database, { ...query, before, now: this.#now() })
  }

  /** The place between what arrived up to `ts`, that millisecond included, and what arrived after it: either bound of an inventory. */
  placeAfter(ts: number): number {
    return placeAt(ts)
  }

  /** The highest durable place. Whatever arrives after this moment has a higher one and is told to `onArrivals`. */
  head(): number {
    return this.#committer.durablePlace
  }

  cursorOf(place: number): string {
    return cursorOf(this.meta, place)
  }

  /** @throws ERR_EXPIRED with `resumeTs` for a cursor of another epoch. */
  placeOfCursor(cursor: string): number {
    const place = placeOfCursor(this.meta, cursor)
    // Such a cursor was never given out: to go on from it would skip what is still to come.
    if (place > this.head()) throw cursorExpired(timeOf(this.head()))
    return place
  }

  /** Calls `listener` once per batch with what arrived, in the order of places, when it is readable. Returns how to stop. */
  onArrivals(listener: ArrivalsListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  counters(owner: Key): Counters {
    return countersOf(this.#committer.database, owner)
  }

  /** True for the owner of a stored record and for the receiver of one he may still read. */
  async hasRecords(identity: Key): Promise<boolean> {
    if (this.counters(identity).records > 0) return true
    const { entries, more } = await this.inventory({ view: { inbox: identity }, after: 0, limit: 1 })
    return more || entries.length > 0
  }

  /** For the other modules that keep something here, each under its own prefixes of the key table. */
  commit<T>(operation: (batch: records.RecordBatch) => T, bytes?: number): Promise<T> {
    return this.#committer.commit(operation, bytes)
  }

  get(key: Buffer): Buffer | undefined {
    return this.#committer.get(key)
  }

  scan(bounds: Bounds): Scan {
    return this.#committer.database.scan(bounds)
  }

  /** Everything as it is now, while writes go on. To be closed. */
  snapshot(): Snapshot {
    return this.#committer.database.snapshot()
  }

  /** Finishes what was accepted. */
  close(): Promise<void> {
    return this.#committer.close()
  }
}

/** A listener that throws must not stop the others, nor the committer. */
function tell(listeners: Iterable<ArrivalsListener>, arrivals: readonly records.Arrival[], log: Log): void {
  for (const listener of listeners) {
    try {
      listener(arrivals)
    } catch (err) {
      log.error({ err }, 'a listener for arrivals failed')
    }
  }
}

const silent: Log = { info() {}, warn() {}, error() {} }
