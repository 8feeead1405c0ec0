/** One handler per request of the protocol (docs/protocol.md §4.2). Signatures, freshness and replay were checked before. */
import type { Quote } from '../contracts/account.ts'
import type { Request, RequestOf, RequestType } from '../contracts/api.ts'
import type { Charge } from '../contracts/receipt.ts'
import type { Sealed } from '../market/envelope.ts'
import { MarketError } from '../market/errors.ts'
import { ANYONE_KEY } from '../market/identity.ts'
import { parsePath, type SealedRecord, type Write } from '../market/record.ts'
import { type Key, protocolLimits } from '../market/units.ts'
import type { Admitted } from './admission.ts'
import type { Limits } from './limits.ts'
import type { Subscriber } from './live.ts'
import type { Store } from './store/store.ts'
import type { Turns } from './turns.ts'

/** One connection, or one HTTP request, in whose order acts take effect. */
export interface Session {
  /** Network address that limits count by. */
  readonly address: string
  /** Where pushes go; a `listen` needs one. */
  readonly subscriber?: Subscriber
  /** Told who speaks, before anything is done; rejects with ERR_BUSY where only known identities are served. */
  readonly welcome?: (identity: Key) => Promise<void> | undefined
  /** The order in which what it asks takes effect; a lone request needs none. */
  readonly turns?: Turns
  /** Makes room in the answer for so many bytes of content before they are pulled; throws ERR_LIMIT where there is none. */
  readonly makeRoom?: (bytes: number) => void
  /** How many index entries its listings may still examine together. */
  readonly examine?: { left: number }
}

/** A found record is answered by its own envelope; everything else by fields of a reply. */
export type Answer =
  | { readonly record: string }
  | { readonly body: Record<string, unknown>; readonly sent?: () => void }

export interface HandlerDeps {
  readonly store: Store
  readonly limits: Limits
  readonly now: () => number
  /** Whether an identity may write here (§7.4: `--allow`, `--open`). */
  readonly mayWrite: (owner: Key) => boolean
  /** Refuses, with ERR_BUSY, what the disk has no room for, or the clock no time. */
  readonly admitWrite: (bytes: number) => void
  readonly admitRead: () => void
}

interface Message<T extends RequestType> {
  readonly request: RequestOf<T>
  readonly from: Key
  readonly sealed: Sealed<Request | Write>
  readonly record: SealedRecord | undefined
}
type Handler<T extends RequestType> = (message: Message<T>, session: Session) => Promise<Answer>
type Table = { readonly [T in RequestType]: Handler<T> }

const acts: ReadonlySet<RequestType> = new Set<RequestType>(['write', 'store', 'read', 'delete', 'prove'])

/** This relay charges nothing yet: every price is zero, and says so in receipts and quotes. */
// Names in canonical order here and in the store's receipts and entries: replies are serialised fastest so.
const freePrices = { egressGB: 0, ingressGB: 0, storageGBDay: 0 }
const freeCharge: Charge = { prices: freePrices, purse: 'credit', reserved: '0' }
const quoteLifeMs = 600_000

export class Handlers {
  readonly #deps: HandlerDeps
  readonly #table: Table

  constructor(deps: HandlerDeps) {
    this.#deps = deps
    this.#table = {
      write: (message) => this.#write(message.record!), // admission made it
      store: (message) => this.#store(message),
      read: (message, session) => this.#read(message, session),
      inventory: (message, session) => this.#inventory(message, session),
      listen: (message, session) => this.#listen(message, session),
      delete: (message) => this.#delete(message),
      prove: (message) => this.#prove(message),
      quote: (message) => this.#quote(message),
    }
  }

  /** Whether this identity has records of its own here. */
  hasStored(identity: Key): boolean {
    return this.#deps.store.counters(identity).records > 0
  }

  /** Carries a message out, in the session's order. */
  perform({ sealed, record }: Admitted, session: Session): Promise<Answer> {
    const { request, from } = sealed.msg
    const handler = this.#table[request.type] as Handler<RequestType> // the table has the handler of each type
    const begin = () => handler({ request, from, sealed, record }, session)
    const { turns } = session
    if (turns === undefined) return begin()
    return acts.has(request.type) ? turns.act(begin) : turns.list(begin)
  }

  /** An upper bound on the bytes of the answer without a record's content, known before anything is done for it (§3.5). */
  answerBytes({ sealed }: Admitted): number {
    const { request } = sealed.msg
    if (request.type === 'inventory') return answerOverhead + this.#pageSize(request.limit) * entryBytes
    return answerOverhead
  }

  async #write(record: SealedRecord): Promise<Answer> {
    const { store, limits, now, mayWrite, admitWrite } = this.#deps
    if (record.expires <= now()) throw new MarketError('ERR_EXPIRED', 'the record has expired')
    if (record.content.length > limits.recordBytes) {
      throw new MarketError('ERR_TOO_LARGE', `a record has at most ${limits.recordBytes} bytes here`)
    }
    if (record.msg.request.ttl > limits.ttl) {
      throw new MarketError('ERR_LIMIT', `a record lives at most ${limits.ttl} seconds here`)
    }
    if (!mayWrite(record.msg.from)) throw new MarketError('ERR_NO_ACCOUNT', 'the sender has no account here')
    admitWrite(record.content.length)
    const written = await store.write(record, { charge: freeCharge, paidUntil: record.expires })
    switch (written.outcome) {
      case 'stored':
      case 'duplicate':
        return { body: { result: true, receipt: written.receipt } }
      case 'conflict':
        throw new MarketError('ERR_CONFLICT', 'another record has, or lately had, this id')
      case 'expired':
        throw new MarketError('ERR_EXPIRED', 'the record has expired')
    }
  }

  async #store({ from, record }: Message<'store'>): Promise<Answer> {
    const inner = record! // admission made it
    if (inner.msg.from !== from) throw new MarketError('ERR_FORBIDDEN', 'only its owner may store a record')
    if (inner.msg.timestamp > this.#deps.now() + protocolLimits.freshFutureMs) {
      throw new MarketError('ERR_MALFORMED', 'the record is from the future')
    }
    return this.#write(inner)
  }

  async #read({ request, from, sealed }: Message<'read'>, { makeRoom }: Session): Promise<Answer> {
    const path = parsePath(request.path)
    if (path.receiver !== from) throw new MarketError('ERR_FORBIDDEN', 'only its receiver may read a record')
    const until = freshUntil(sealed)
    this.#deps.admitRead()
    const found = await this.#deps.store.read({
      path,
      hash: sealed.hash,
      text: sealed.text,
      until,
      admit: makeRoom && ((bytes) => makeRoom(Math.ceil(bytes / 3) * 4)),
    })
    switch (found.outcome) {
      case 'record':
        return { record: found.text }
      case 'absent':
        return { body: { result: null } }
      case 'replayed':
        throw new MarketError('ERR_REPLAYED', 'this read was answered as often as it may be')
    }
  }

  async #inventory({ request, from }: Message<'inventory'>, { examine }: Session): Promise<Answer> {
    const { store } = this.#deps
    const { owner, beforeTs, tag, detail } = request
    if (examine !== undefined && examine.left <= 0) {
      const extras = { retryAfterMs: 0 }
      throw new MarketError('ERR_LIMIT', 'the listings of this batch examine too much', { extras })
    }
    const outbox = owner === from && from !== ANYONE_KEY
    const view = outbox ? { outbox: from } : this.#inbox(from, owner)
    const page = await store.inventory({
      view,
      after: this.#after(request),
      before: beforeTs === undefined ? undefined : store.placeAfter(beforeTs),
      tag,
      limit: this.#pageSize(request.limit),
      examine: examine?.left,
    })
    if (examine !== undefined) examine.left -= page.examined
    const result = detail
      ? page.entries.map(({ place, ...entry }) => entry)
      : page.entries.map(({ path }) => path)
    return { body: { result, cursor: store.cursorOf(page.place), more: page.more } }
  }

  async #listen({ request, from, sealed }: Message<'listen'>, session: Session): Promise<Answer> {
    if (session.subscriber === undefined) throw new MarketError('ERR_MALFORMED', 'listen needs a WebSocket')
    const { inbox, owners } = this.#inbox(from, request.owner)
    const start = session.subscriber.subscribe({
      listen: sealed.hash,
      receiver: inbox,
      after: this.#after(request),
      ...(owners !== undefined && { owners }),
      ...(request.tag !== undefined && { tag: request.tag }),
    })
    return { body: { result: true }, sent: start }
  }

  async #delete({ request, from, sealed }: Message<'delete'>): Promise<Answer> {
    const { recordId } = request
    const { store } = this.#deps
    const deleted = await store.delete({
      owner: from,
      recordId,
      hash: sealed.hash,
      until: freshUntil(sealed),
    })
    return { body: { result: true, receipt: deleted.outcome === 'deleted' ? deleted.receipt : null } }
  }

  async #prove({ request, from, sealed }: Message<'prove'>): Promise<Answer> {
    const path = parsePath(request.path)
    if (path.owner !== from) throw new MarketError('ERR_FORBIDDEN', 'only its owner may have a record proven')
    const until = freshUntil(sealed)
    const proven = await this.#deps.store.prove({ path, index: request.index, hash: sealed.hash, until })
    switch (proven.outcome) {
      case 'proof':
        return { body: { result: proven.proof } }
      case 'absent':
        throw new MarketError('ERR_NOT_FOUND', 'no such record is held')
      case 'replayed':
        throw new MarketError('ERR_REPLAYED', 'this message was accepted before')
    }
  }

  async #quote(_message: Message<'quote'>): Promise<Answer> {
    const quote: Quote = { expires: this.#deps.now() + quoteLifeMs, prices: freePrices, satoshis: '0' }
    return { body: { result: quote } }
  }

  /** Key 1 reads public channels, which are told apart by their owner: without one it would list everybody's. */
  #inbox(receiver: Key, owner: Key | Key[] | undefined): { inbox: Key; owners?: Key[] } {
    if (owner !== undefined) return { inbox: receiver, owners: typeof owner === 'string' ? [owner] : owner }
    if (receiver === ANYONE_KEY) throw new MarketError('ERR_MALFORMED', 'for key 1 an owner is needed')
    return { inbox: receiver }
  }

  /** The place after which a listing begins; a cursor stands above `afterTs`. */
  #after({ cursor, afterTs }: { cursor?: string | undefined; afterTs?: number | undefined }): number {
    if (cursor !== undefined) return this.#deps.store.placeOfCursor(cursor)
    return afterTs === undefined ? 0 : this.#deps.store.placeAfter(afterTs)
  }

  #pageSize(limit: number | undefined): number {
    return Math.min(limit ?? this.#deps.limits.page, this.#deps.limits.page)
  }
}

/** When a message stops being fresh, by what it says itself. */
const freshUntil = ({ msg }: Sealed): number => msg.timestamp + protocolLimits.freshPastMs

/** An envelope or a refusal without its record or entries, and one entry of a page, at their longest: a tag of 128 quotes is 256. */
const answerOverhead = 4096
const entryBytes = 704
