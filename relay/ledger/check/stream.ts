/** A table that begins with an identity, read from one end to the other: the rows of one owner after those of another. */
import type { KeyValue, Scan } from '../../store/database.ts'
import { ownerPart } from '../../store/keys.ts'

/** Rows of one chunk: a millisecond or two of work, after which a serving relay has its turn. */
const chunkRows = 256

export class Stream {
  readonly #scan: Scan
  readonly #signal: AbortSignal
  #rows: KeyValue[] = []
  #at = 0
  #ended = false

  /** `signal` ends the stream with an exception between two chunks. */
  constructor(scan: Scan, signal: AbortSignal) {
    this.#scan = scan
    this.#signal = signal
  }

  /** The next row, which stays the next; undefined at the end. */
  async peek(): Promise<KeyValue | undefined> {
    if (this.#at === this.#rows.length && !this.#ended) {
      this.#signal.throwIfAborted()
      this.#rows = await this.#scan.next(chunkRows)
      this.#at = 0
      this.#ended = this.#rows.length === 0
    }
    return this.#rows[this.#at]
  }

  /** The next row, which is passed. */
  async next(): Promise<KeyValue | undefined> {
    const row = await this.peek()
    if (row !== undefined) this.#at++
    return row
  }

  /** The next row, if it is this owner's. */
  async take(owner: Buffer): Promise<KeyValue | undefined> {
    const row = await this.peek()
    return row !== undefined && ownerPart(row[0]).equals(owner) ? this.next() : undefined
  }

  /** The rows of an owner to whom the next row belongs, in chunks. */
  async *of(owner: Buffer): AsyncGenerator<KeyValue[]> {
    while ((await this.peek()) !== undefined) {
      const rest = this.#rows.length - this.#at
      const last = this.#rows.at(-1)! // there is one: peek returned it, or one before it
      const isAllHis = ownerPart(last[0]).equals(owner)
      const others = isAllHis
        ? -1
        : this.#rows.findIndex(([key], at) => at >= this.#at && !ownerPart(key).equals(owner))
      const taken = others === -1 ? rest : others - this.#at
      if (taken === 0) return
      const rows = this.#rows.slice(this.#at, this.#at + taken)
      this.#at += taken
      yield rows
    }
  }

  close(): Promise<void> {
    return this.#scan.close()
  }
}
