/** The writes of many operations on their way to one fsync. */
import type { Change, Database } from './database.ts'
import { type HotRows, idOf } from './hot-rows.ts'
import { nextPlace, timeOf } from './place.ts'

/** What an operation sees and writes. Any module of the relay may use it: all writes of one operation are durable together. */
export interface Batch<Event = unknown> {
  /** One time for the whole batch. */
  readonly now: number
  /** The value as of now: what is durable, overlaid by this batch. Not to be written to. */
  get(key: Buffer): Buffer | undefined
  put(key: Buffer, value: Buffer): void
  del(key: Buffer): void
  /** A new place, above every other. */
  nextPlace(): number
  /** The time that the next place will have at least. */
  readonly nextTime: number
  /** Tells the listeners of the committer, once this is durable. */
  announce(event: Event): void
}

export class OpenBatch<Event> implements Batch<Event> {
  readonly now: number
  readonly events: Event[] = []
  readonly #database: Database
  readonly #hot: HotRows
  readonly #changes = new Map<string, Change>()
  /** What to put back, newest last, when the running operation throws. */
  #undo: { readonly id: string; readonly before: Change | undefined }[] = []
  #lastPlace: number
  #bytes = 0

  constructor(from: { database: Database; hot: HotRows }, now: number, lastPlace: number) {
    this.#database = from.database
    this.#hot = from.hot
    this.now = now
    this.#lastPlace = lastPlace
  }

  get lastPlace(): number {
    return this.#lastPlace
  }

  /** About what this batch holds in memory: everything it wrote and read. */
  get bytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#changes.size === 0
  }

  /** By the texts of their keys. */
  get changes(): Iterable<readonly [id: string, change: Change]> {
    return this.#changes
  }

  get(key: Buffer): Buffer | undefined {
    const id = idOf(key)
    const change = this.#changes.get(id)
    if (change !== undefined) return change.value
    const value = this.#hot.get(this.#database, key, id)
    this.#bytes += value?.length ?? 0
    return value
  }

  put(key: Buffer, value: Buffer): void {
    this.#change({ key, value })
  }

  del(key: Buffer): void {
    this.#change({ key, value: undefined })
  }

  nextPlace(): number {
    this.#lastPlace = nextPlace(this.#lastPlace, this.now)
    return this.#lastPlace
  }

  get nextTime(): number {
    return timeOf(nextPlace(this.#lastPlace, this.now))
  }

  announce(event: Event): void {
    this.events.push(event)
  }

  /** Runs one operation; when it throws, the batch is as it was before (but for gaps between places). */
  run<T>(operation: (batch: Batch<Event>) => T): T {
    const announced = this.events.length
    this.#undo = []
    try {
      return operation(this)
    } catch (error) {
      for (const { id, before } of this.#undo.reverse()) {
        if (before === undefined) this.#changes.delete(id)
        else this.#changes.set(id, before)
      }
      this.events.length = announced
      throw error
    }
  }

  #change(change: Change): void {
    const id = idOf(change.key)
    this.#undo.push({ id, before: this.#changes.get(id) })
    this.#changes.set(id, change)
    this.#bytes += change.key.length + (change.value?.length ?? 0)
  }
}
