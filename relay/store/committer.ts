/**
 * One committer, many writers. Operations run one after another in the order of submission; each sees what is durable
 * and what the operations before it wrote; many share one fsync. Nobody learns anything before it is durable.
 */
import { setImmediate, setTimeout } from 'node:timers/promises'
import { MarketError } from '../../market/errors.ts'
import { type Batch, OpenBatch } from './batch.ts'
import type { Change, Database } from './database.ts'
import { HotRows } from './hot-rows.ts'
import { metaKey } from './keys.ts'
import { NumberRow } from './rows.ts'

export const committerLimits = {
  batchOperations: 256,
  batchBytes: 8 << 20,
  queuedOperations: 8192,
  queuedBytes: 64 << 20,
} as const

/** Waits before each attempt to reopen a database that failed: about two minutes, then an operator is needed. */
const reopenDelaysMs = [50, 250, 1000, 3000, 10_000, 30_000, 60_000]

/** `failed` is final for this process. */
export type StoreState = 'ready' | 'recovering' | 'failed'

export interface Log {
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
}

/** Told how batches fare. Must not throw. */
export interface CommitObserver {
  /** @param seconds that the database took to make the batch durable */
  commit(operations: number, seconds: number): void
  commitFailed(): void
}

export interface CommitterOptions<Event> {
  database: Database
  /** Opens the database anew after it failed and was closed. */
  reopen(): Promise<Database>
  now(): number
  log: Log
  /** Told once per durable batch, before its operations resolve, what they announced, in their order. Must not throw. */
  announce(events: Event[]): void
  onState?: ((state: StoreState) => void) | undefined
  reopenDelaysMs?: readonly number[] | undefined
  readonly observer?: CommitObserver | undefined
}

interface Waiting<Event> {
  readonly bytes: number
  /** Runs the operation and returns how to tell its submitter what became of it, once that is durable. */
  run(batch: OpenBatch<Event>): () => void
  reject(error: MarketError): void
}

export class Committer<Event> {
  readonly #options: CommitterOptions<Event>
  readonly #stop = new AbortController()
  readonly #hot = new HotRows()
  #database: Database
  #state: StoreState = 'ready'
  #queue: Waiting<Event>[] = []
  #queuedBytes = 0
  #running: Promise<void> | undefined
  #lastPlace = 0
  #durablePlace = 0

  /** @throws ERR_INTERNAL when the last place does not decode; the caller still owns `database` then. */
  constructor(options: CommitterOptions<Event>) {
    this.#options = options
    this.#database = options.database
    this.#readPlace()
  }

  get state(): StoreState {
    return this.#state
  }

  /** The highest place that is durable. Nothing will ever become visible at or below it that is not visible now. */
  get durablePlace(): number {
    return this.#durablePlace
  }

  /** What waits for the next batch. */
  get waiting(): { operations: number; bytes: number } {
    return { operations: this.#queue.length, bytes: this.#queuedBytes }
  }

  /** What is durable, for readers. @throws ERR_BUSY while it is not open. */
  get database(): Database {
    if (this.#state !== 'ready') throw notReady(this.#state)
    return this.#database
  }

  /** What is durable under `key`, from memory where it is one of the hot rows. Not to be written to. @throws as `database` */
  get(key: Buffer): Buffer | undefined {
    return this.#hot.get(this.database, key)
  }

  /**
   * Runs `operation` in its turn and resolves with what it returned once that, and all it has seen, is durable. An operation
   * that throws rejects and leaves nothing. ERR_INTERNAL without more: the batch could not be written, the outcome is unknown.
   * @param bytes about what the operation holds in memory while it waits
   * @throws ERR_BUSY when the queue is full or the database is not open; the operation did not run.
   */
  commit<T>(operation: (batch: Batch<Event>) => T, bytes = 0): Promise<T> {
    const full =
      this.#queue.length >= committerLimits.queuedOperations ||
      this.#queuedBytes + bytes > committerLimits.queuedBytes
    if (this.#stop.signal.aborted) return Promise.reject(new MarketError('ERR_BUSY', 'the store is closing'))
    if (this.#state !== 'ready') return Promise.reject(notReady(this.#state))
    if (full) return Promise.reject(new MarketError('ERR_BUSY', 'too many operations are waiting'))
    return new Promise<T>((resolve, reject) => {
      const run = (batch: OpenBatch<Event>): (() => void) => {
        try {
          const value = batch.run(operation)
          return () => resolve(value)
        } catch (error) {
          // Even a refusal may rest on what is not durable yet, so it waits too.
          return () => reject(error)
        }
      }
      this.#queue.push({ bytes, run, reject })
      this.#queuedBytes += bytes
      this.#running ??= this.#run()
    })
  }

  /** Finishes what was accepted, then closes the database. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#running
    await this.#database.close()
  }

  /** Never rejects: what goes wrong is told to the operations and the log. */
  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      // What arrives in this turn of the event loop shares the batch, and a stream of reads does not starve everything else.
      await setImmediate()
      await this.#commitBatch()
    }
    this.#running = undefined
  }

  async #commitBatch(): Promise<void> {
    const from = { database: this.#database, hot: this.#hot }
    const batch = new OpenBatch<Event>(from, this.#options.now(), this.#lastPlace)
    const { taken, settles } = this.#runQueued(batch)
    this.#lastPlace = batch.lastPlace
    const { observer } = this.#options
    const began = performance.now()
    try {
      if (!batch.isEmpty) await this.#database.write(withPlace(batch))
    } catch (cause) {
      observer?.commitFailed()
      const error = new MarketError('ERR_INTERNAL', 'the store could not write, the outcome is unknown', {
        cause,
      })
      for (const waiting of taken) waiting.reject(error)
      await this.#recover(batch, cause)
      return
    }
    if (!batch.isEmpty) observer?.commit(settles.length, (performance.now() - began) / 1000)
    this.#hot.apply(batch.changes)
    this.#durable(batch)
    for (const settle of settles) settle()
  }

  /** Runs what is queued, in order, until the batch is full. */
  #runQueued(batch: OpenBatch<Event>) {
    const settles: (() => void)[] = []
    for (const waiting of this.#queue) {
      const full =
        settles.length >= committerLimits.batchOperations ||
        batch.bytes + waiting.bytes > committerLimits.batchBytes
      if (full && settles.length > 0) break
      settles.push(waiting.run(batch))
      this.#queuedBytes -= waiting.bytes
    }
    return { taken: this.#queue.splice(0, settles.length), settles }
  }

  #durable(batch: OpenBatch<Event>): void {
    if (batch.isEmpty) return
    this.#durablePlace = batch.lastPlace
    if (batch.events.length > 0) this.#options.announce(batch.events)
  }

  /**
   * A log that was written in part would hide what is appended after it, so nothing more goes to this handle: reopening
   * reads the log up to the damage and writes it anew.
   */
  async #recover(batch: OpenBatch<Event>, cause: unknown): Promise<void> {
    const { log } = this.#options
    log.error({ err: cause }, 'the store could not write and is reopened')
    this.#enter('recovering')
    this.#rejectQueued()
    for (const delayMs of this.#options.reopenDelaysMs ?? reopenDelaysMs) {
      await this.#database.close().catch((err: unknown) => log.warn({ err }, 'the store could not be closed'))
      const stopped = await setTimeout(delayMs, false, { signal: this.#stop.signal }).catch(() => true)
      if (stopped) return this.#enter('failed')
      try {
        this.#database = await this.#options.reopen()
        this.#hot.clear()
        const durable = this.#readPlace()
        // A batch is one entry of the log: its place is there only with the rest of it, and then its listeners must hear of it.
        if (durable === batch.lastPlace) this.#durable(batch)
        log.info({ place: durable }, 'the store was reopened')
        return this.#enter('ready')
      } catch (err) {
        log.warn({ err }, 'the store could not be reopened')
      }
    }
    log.error({}, 'the store stays closed: free or repair the disk and restart')
    this.#enter('failed')
  }

  /** Places handed out before a failure are never handed out again. */
  #readPlace(): number {
    const stored = this.#database.get(placeRow)
    this.#durablePlace = stored === undefined ? 0 : NumberRow.decode(stored).value
    this.#lastPlace = Math.max(this.#lastPlace, this.#durablePlace)
    return this.#durablePlace
  }

  #enter(state: StoreState): void {
    this.#state = state
    this.#options.onState?.(state)
  }

  #rejectQueued(): void {
    for (const waiting of this.#queue.splice(0)) waiting.reject(notReady(this.#state))
    this.#queuedBytes = 0
  }
}

const placeRow = metaKey('place')

/** The highest place handed out is written with every batch, so that no place is handed out twice. */
function* withPlace(batch: OpenBatch<unknown>): Iterable<Change> {
  for (const [, change] of batch.changes) yield change
  yield { key: placeRow, value: NumberRow.encode({ value: batch.lastPlace }) }
}

const notReady = (state: StoreState): MarketError =>
  new MarketError('ERR_BUSY', state === 'failed' ? 'the store has failed' : 'the store is being reopened')
