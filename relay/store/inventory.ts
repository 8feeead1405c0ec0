/** Pages of an inventory (docs/protocol.md §4.4): index entries in the order of their places, merged over owners. */
import type { Entry } from '../../contracts/api.ts'
import { formatPath, isBoxId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Database, KeyValue, Scan } from './database.ts'
import * as keys from './keys.ts'
import { timeOf } from './place.ts'
import { IndexRow } from './rows.ts'

/** Index entries one request examines at most; an empty page with `more` is legal. */
export const examinedEntries = 4000

export type View =
  | { readonly inbox: Key; readonly owners?: readonly Key[] | undefined }
  | { readonly outbox: Key }

export interface Query {
  readonly view: View
  /** Entries above this place … */
  readonly after: number
  /** … up to this one, itself included. */
  readonly before: number
  readonly tag?: string | undefined
  /** Of an outbox: only what is for him. */
  readonly receiver?: Key | undefined
  readonly limit: number
  /** Fewer entries to examine than `examinedEntries`. */
  readonly examine?: number | undefined
  readonly now: number
}

export interface Page {
  readonly entries: (Entry & { readonly place: number })[]
  /** Where to go on: nothing between `after` and here was left out, nothing at or below it is still to come. */
  readonly place: number
  readonly more: boolean
  /** How many entries were looked at for this. */
  readonly examined: number
}

/** `before` must be durable: the page may say of everything below that it has seen it. */
export async function readPage(database: Database, query: Query): Promise<Page> {
  const { view, after, before, limit } = query
  if (after >= before) return { entries: [], place: before, more: false, examined: 0 }
  const prefixes = prefixesOf(view)
  const chunk = Math.max(16, Math.ceil((limit + 1) / prefixes.length))
  const streams = prefixes.map((prefix) => {
    const bounds = { gt: keys.placeKey(prefix, after), lte: keys.placeKey(prefix, before) }
    return new Stream(database.scan(bounds), chunk)
  })
  try {
    return await mergePage(streams, query)
  } finally {
    await Promise.all(streams.map((stream) => stream.close()))
  }
}

async function mergePage(streams: readonly Stream[], query: Query): Promise<Page> {
  const entries: Page['entries'] = []
  const { view } = query
  const most = Math.min(query.examine ?? examinedEntries, examinedEntries)
  let place = query.after
  for (let examined = 0; ; examined++) {
    const dry = streams.filter((stream) => stream.isDry)
    if (dry.length > 0) await Promise.all(dry.map((stream) => stream.fill()))
    const next = lowest(streams)
    if (next === undefined) return { entries, place: query.before, more: false, examined }
    if (entries.length === query.limit || examined === most) return { entries, place, more: true, examined }
    place = next.place
    const row = IndexRow.decode(next.take())
    if (isWanted(row, query)) entries.push(entryOf(view, place, row))
  }
}

/** Rows of one prefix, fetched ahead in growing chunks. */
class Stream {
  readonly #scan: Scan
  #rows: KeyValue[] = []
  #at = 0
  #chunk: number
  #ended = false
  /** Of the first row not taken; infinite at the end. */
  place = Number.POSITIVE_INFINITY

  constructor(scan: Scan, chunk: number) {
    this.#scan = scan
    this.#chunk = chunk
  }

  get isDry(): boolean {
    return !this.#ended && this.#at === this.#rows.length
  }

  async fill(): Promise<void> {
    this.#rows = await this.#scan.next(this.#chunk)
    this.#chunk = Math.min(this.#chunk * 2, 1024)
    this.#ended = this.#rows.length === 0
    this.#aim(0)
  }

  take(): Buffer {
    const [, value] = this.#rows[this.#at]! // the caller saw a finite place
    this.#aim(this.#at + 1)
    return value
  }

  close(): Promise<void> {
    return this.#scan.close()
  }

  #aim(at: number): void {
    this.#at = at
    const row = this.#rows[at]
    this.place = row === undefined ? Number.POSITIVE_INFINITY : keys.placeOfKey(row[0])
  }
}

function lowest(streams: readonly Stream[]): Stream | undefined {
  let found: Stream | undefined
  for (const stream of streams) {
    if (stream.place < (found?.place ?? Number.POSITIVE_INFINITY)) found = stream
  }
  return found
}

function prefixesOf(view: View): Buffer[] {
  if ('outbox' in view) return [keys.outboxPrefix(view.outbox)]
  const { inbox, owners } = view
  return owners === undefined
    ? [keys.inboxPrefix(inbox)]
    : owners.map((owner) => keys.inboxByOwnerPrefix(inbox, owner))
}

/** In an outbox `other` is the receiver. */
const isWanted = ({ expires, tag, other }: IndexRow, query: Query): boolean =>
  expires > query.now &&
  (query.tag === undefined || tag === query.tag) &&
  (query.receiver === undefined || other === query.receiver)

function entryOf(
  view: View,
  place: number,
  { other, recordId, bytes, tag, expires }: IndexRow,
): Page['entries'][number] {
  const path =
    'outbox' in view
      ? formatPath({ owner: view.outbox, receiver: other, recordId })
      : formatPath({ owner: other, receiver: view.inbox, recordId })
  const kind = isBoxId(recordId) && { kind: 'box' as const }
  return { at: timeOf(place), bytes, expires, ...kind, path, place, tag }
}
