/**
 * The board: adverts of others, kept for everybody (docs/protocol.md §12.5). It is trusted with nothing and believes nothing
 * but work and signatures. What it says it has taken is on disk.
 */
import { type Advert, decodeAdvert, forgottenAt, type SealedAdvert } from '../../market/advert.ts'
import { AdvertBook, type Offered } from '../../market/advert-book.ts'
import { type Code, MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import { putStanding, removeStanding, standings } from '../store/adverts.ts'
import type { Log } from '../store/committer.ts'
import type { Store } from '../store/store.ts'

export const boardPolicy = {
  /** Between an advert and the one that replaces it, a revocation excepted. */
  paceMs: 600_000,
  sweepEveryMs: 60_000,
} as const

export interface BoardOptions {
  readonly store: Store
  readonly now: () => number
  readonly log: Log
  /** Least work of an advert, in leading zero bits. */
  readonly bits: number
  /** Most adverts that are held. */
  readonly most: number
  /** The relay whose board it is: its own advert makes room for none. */
  readonly own: Key
  /** Whether adverts may be forgotten now: not while the clock is wrong. */
  readonly isTimeTrusted: () => boolean
}

/** An advert that is held, durably. */
interface Standing {
  readonly place: number
  readonly text: string
  readonly hash: Hash
  readonly network: Advert['network']
  readonly until: number
}

export interface PageQuery {
  readonly cursor?: string | undefined
  readonly limit: number
  readonly network?: string | undefined
}

type Listener = (text: string, network: Advert['network']) => void

export class Board {
  readonly #options: BoardOptions
  readonly #book: AdvertBook
  /** In the order in which they came. */
  readonly #standing = new Map<Key, Standing>()
  /** Whose rows are on disk and should not be. */
  readonly #gone = new Set<Key>()
  readonly #listeners = new Set<Listener>()
  readonly #refused = new Map<Code, number>()

  private constructor(options: BoardOptions) {
    this.#options = options
    const { most, own: pinned } = options
    const dropped = (relay: Key) => {
      if (this.#standing.delete(relay)) this.#gone.add(relay)
    }
    this.#book = new AdvertBook({ most, paceMs: boardPolicy.paceMs, pinned, dropped })
  }

  static async open(options: BoardOptions): Promise<Board> {
    const board = new Board(options)
    for (const { relay, place, text } of await standings(options.store)) board.#restore(relay, place, text)
    return board
  }

  /** Adverts held, and how many were refused with which code. */
  get counts(): { held: number; refused: ReadonlyMap<Code, number> } {
    return { held: this.#standing.size, refused: this.#refused }
  }

  /** Durable when it resolves. @throws as `AdvertBook.offer` */
  async offer(text: string): Promise<Offered> {
    try {
      return await this.#take(text)
    } catch (error) {
      const code = error instanceof MarketError ? error.code : 'ERR_INTERNAL'
      this.#refused.set(code, (this.#refused.get(code) ?? 0) + 1)
      throw error
    }
  }

  /** A page as the text of its JSON. @throws ERR_EXPIRED for a cursor of another epoch */
  page({ cursor, limit, network }: PageQuery): string {
    const { store, now } = this.#options
    const [time, after] = [now(), cursor === undefined ? 0 : store.placeOfCursor(cursor)]
    const texts: string[] = []
    let [last, more] = [after, false]
    for (const { place, text, network: of, until } of this.#standing.values()) {
      if (place <= after || until <= time) continue
      if (texts.length === limit) {
        more = true
        break
      }
      if (isWanted(of, network)) texts.push(text)
      last = place
    }
    return `{"adverts":[${texts.join(',')}],"cursor":"${store.cursorOf(last)}","more":${more}}`
  }

  /** Calls `listener` with each advert that is taken from now on, once it is durable. Returns how to stop. */
  onTaken(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Forgets what has expired. */
  async sweep(): Promise<void> {
    const { store, now, isTimeTrusted } = this.#options
    if (!isTimeTrusted()) return
    this.#book.forget(now())
    if (this.#gone.size === 0 || store.state !== 'ready') return
    await this.#write(() => {})
  }

  async #take(text: string): Promise<Offered> {
    const { now, bits } = this.#options
    const sealed = decodeAdvert(text)
    const { serverPubKey: relay } = sealed.advert
    const outcome = this.#book.take(sealed, { now: now(), bits })
    // What is known may be known from a moment ago, and not be durable: then it is written once more.
    if (outcome === 'older' || (outcome === 'known' && this.#standing.get(relay)?.hash === sealed.hash))
      return outcome
    this.#gone.delete(relay)
    const place = await this.#write((batch) => {
      const place = batch.nextPlace()
      putStanding(batch, { relay, place, text })
      return place
    })
    // Meanwhile others may have taken its place.
    if (!this.#book.holds(sealed)) {
      if (!this.#book.has(relay)) this.#gone.add(relay)
      return outcome
    }
    this.#stand(place, sealed)
    for (const listener of this.#listeners) listener(text, sealed.advert.network)
    return outcome
  }

  /** With the removal of those that are gone, which is tried again when it fails. */
  async #write<T>(operation: (batch: Batch) => T): Promise<T> {
    const removed: Key[] = []
    try {
      return await this.#options.store.commit((batch) => {
        for (const relay of this.#gone) {
          removeStanding(batch, relay)
          removed.push(relay)
        }
        this.#gone.clear()
        return operation(batch)
      })
    } catch (error) {
      for (const relay of removed) if (!this.#standing.has(relay)) this.#gone.add(relay)
      throw error
    }
  }

  #stand(place: number, { advert, text, hash }: SealedAdvert): void {
    const { serverPubKey, network } = advert
    this.#standing.delete(serverPubKey)
    this.#standing.set(serverPubKey, { place, text, hash, network, until: forgottenAt(advert) })
  }

  #restore(relay: Key, place: number, text: string): void {
    const { now, log } = this.#options
    try {
      const sealed = decodeAdvert(text)
      this.#stand(place, sealed)
      this.#book.restore(sealed, now())
      if (this.#book.has(relay)) return
      this.#standing.delete(relay)
    } catch (err) {
      log.warn({ err, relay }, 'an advert on disk cannot be read, and is forgotten')
    }
    this.#gone.add(relay)
  }
}

/** Relays that take no coins are for all. */
export const isWanted = (of: Advert['network'], network: string | undefined): boolean =>
  network === undefined || of === null || of === network
