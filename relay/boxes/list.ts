/** Listing a box, and acknowledging what was listed. */
import { setImmediate } from 'node:timers/promises'
import { putBounded } from '../../market/lru.ts'
import { MarketError } from '../../market/errors.ts'
import { dayMs, type Key } from '../../market/units.ts'
import type { HandlerDeps } from '../requests/handlers.ts'
import { contentOfBody } from '../store/body.ts'
import { allPlaces, BoxRow, idsPrefix, IdRow, listPrefix } from '../store/box-rows.ts'
import { acknowledgeBoxed, type Found, pullBoxed } from '../store/boxes.ts'
import { bodyKey, placeOfKey } from '../store/keys.ts'
import { timeOf } from '../store/place.ts'
import type { Covered } from '../store/pulls.ts'
import { decodeContent, listedBody } from './content.ts'

export const listLimits = {
  page: 1000,
  /** Of one answer: the page ends where it would be more. */
  answerBytes: 8 << 20,
  /** Messages that are booked, or put together, before others have their turn. */
  turn: 64,
  /** Rows that are passed over for an `offset`. */
  offset: 1_000_000,
  /** Messages of one id that one acknowledgement ends. */
  sameId: 1000,
} as const

/** A listed message, in every dialect. */
export interface Listed {
  readonly messageId: string
  readonly body: string
  readonly sender: Key
  readonly createdAt: string
  readonly updatedAt: string
  readonly created_at: string
  readonly updated_at: string
}

export interface BoxPage {
  /** Each as JSON of a `Listed`: a page is put into text once. */
  readonly messages: string[]
  readonly nextOffset: number | null
  readonly hasMore: boolean
}

interface Entry extends Pick<BoxRow, 'sender' | 'bytes' | 'pulls'> {
  readonly place: number
}

export interface ListQuery {
  readonly recipient: Key
  readonly box: string
  readonly limit: number
  readonly offset: number
}

/** What recipients have listed free of charge today. In memory: after a restart the count starts over. */
export class FreeListings {
  readonly #bytesPerDay: number
  #day = 0
  #bytes = new Map<Key, number>()

  constructor(bytesPerDay: number) {
    this.#bytesPerDay = bytesPerDay
  }

  /** @throws ERR_LIMIT with `retryAfterMs` */
  take(recipient: Key, bytes: number, now: number): void {
    const day = Math.floor(now / dayMs)
    if (day !== this.#day) {
      this.#day = day
      this.#bytes = new Map()
    }
    const listed = (this.#bytes.get(recipient) ?? 0) + bytes
    if (listed > this.#bytesPerDay)
      throw new MarketError('ERR_LIMIT', 'too much of what is in boxes was listed again and again', {
        extras: { limit: this.#bytesPerDay, retryAfterMs: (day + 1) * dayMs - now },
      })
    putBounded(this.#bytes, recipient, listed, trackedRecipients)
  }
}

const trackedRecipients = 100_000

/** A page of a box, oldest first; what of it is paid for is booked before it is served. */
export async function listBox(
  means: HandlerDeps,
  query: ListQuery,
  { makeRoom, free }: { makeRoom: (bytes: number) => void; free: FreeListings },
): Promise<BoxPage> {
  const { store, now, admitRead } = means
  const { entries, hasMore } = await entriesOf(store, query, now())
  if (entries.length === 0) return { messages: [], nextOffset: null, hasMore: false }
  admitRead()
  const messages: string[] = []
  let served = 0
  let bytes = 0
  for (const entry of entries) {
    if (served > 0 && served % listLimits.turn === 0) await setImmediate()
    const body = store.get(bodyKey(entry.place))
    if (body !== undefined) {
      const message = JSON.stringify(listedOf(contentOfBody(body), entry))
      const more = Buffer.byteLength(message) + 1
      if (served > 0 && bytes + more > listLimits.answerBytes) break
      makeRoom(more)
      bytes += more
      messages.push(message)
    } // else acknowledged meanwhile
    served++
  }
  await book(means, query, { entries: entries.slice(0, served), free })
  const isMore = hasMore || served < entries.length
  return { messages, nextOffset: isMore ? query.offset + served : null, hasMore: isMore }
}

async function book(
  { store, now, contracts }: HandlerDeps,
  { recipient, box }: ListQuery,
  { entries, free }: { entries: readonly Entry[]; free: FreeListings },
): Promise<void> {
  const bytes = entries.reduce((sum, entry) => sum + (entry.pulls === 0 ? entry.bytes : 0), 0)
  if (bytes > 0) free.take(recipient, bytes, now())
  const paid = entries.filter(({ pulls }) => pulls > 0).map(({ place }) => place)
  const isCovered: Covered = (from, pull) => contracts()?.isCovered(from, pull) ?? true
  for (let at = 0; at < paid.length; at += listLimits.turn) {
    const places = paid.slice(at, at + listLimits.turn)
    await store.commit((batch) => pullBoxed(batch, { recipient, box, places, isCovered }))
  }
}

function listedOf(content: Buffer, { sender, place }: Entry): Listed {
  const said = decodeContent(content)
  const time = new Date(timeOf(place)).toISOString()
  const times = { createdAt: time, updatedAt: time, created_at: time, updated_at: time }
  return { messageId: said.messageId, body: listedBody(said), sender, ...times }
}

async function entriesOf(
  store: HandlerDeps['store'],
  { recipient, box, limit, offset }: ListQuery,
  now: number,
): Promise<{ entries: Entry[]; hasMore: boolean }> {
  const scan = store.scan(allPlaces(listPrefix(recipient, box)))
  const entries: Entry[] = []
  let left = offset
  try {
    for (;;) {
      const rows = await scan.next(left + limit + 1 - entries.length)
      if (rows.length === 0) return { entries, hasMore: false }
      for (const [key, value] of rows) {
        const { sender, bytes, pulls, expires } = BoxRow.decode(value)
        if (expires <= now || left-- > 0) continue
        left = 0
        if (entries.length === limit) return { entries, hasMore: true }
        entries.push({ sender, bytes, pulls, place: placeOfKey(key) })
      }
    }
  } finally {
    await scan.close()
  }
}

/** Ends the messages of these ids in all boxes of their recipient; how many those were. */
export async function acknowledge(
  { store, admitEnd }: HandlerDeps,
  recipient: Key,
  ids: readonly string[],
): Promise<number> {
  admitEnd()
  let count = 0
  for (let at = 0; at < ids.length; at += listLimits.turn) {
    const turn = await Promise.all(
      ids.slice(at, at + listLimits.turn).map((id) => foundBy(store, recipient, id)),
    )
    const found = turn.flat()
    if (found.length > 0) count += await store.commit((batch) => acknowledgeBoxed(batch, found))
  }
  return count
}

async function foundBy(store: HandlerDeps['store'], recipient: Key, id: string): Promise<Found[]> {
  const scan = store.scan(allPlaces(idsPrefix(recipient, id)))
  try {
    const rows = await scan.next(listLimits.sameId)
    return rows.map(([key, value]) => ({ ...IdRow.decode(value), place: placeOfKey(key) }))
  } finally {
    await scan.close()
  }
}
