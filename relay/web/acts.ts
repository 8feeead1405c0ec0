/** What the file-system view does with records (docs/protocol.md §7.6), for senders who have proved who they are. */
import { randomBytes } from 'node:crypto'
import { Inventory, type Entry } from '../../contracts/api.ts'
import { canonicalize } from '../../market/canonical.ts'
import { fromUtf8 } from '../../market/bytes.ts'
import { firstIssue } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256Hex } from '../../market/hash.ts'
import { freePrices } from '../../market/price.ts'
import { formatPath, type RecordPath, type SealedRecord } from '../../market/record.ts'
import { type Key, type Prices, protocolLimits } from '../../market/units.ts'
import { inOrder } from '../answers.ts'
import type { Pricing } from '../pricing.ts'
import { answerOverhead, entryBytes, type HandlerDeps, type Session } from '../requests/handlers.ts'
import { pageSize, placeOf } from '../requests/listings.ts'
import { write } from '../requests/records.ts'
import type { Service } from '../service.ts'
import { headKey } from '../store/keys.ts'
import { priceOf } from '../store/ledger.ts'
import { headOf, liveHead } from '../store/records.ts'
import { decodeHead } from '../store/rows.ts'
import type { Taken, Till } from '../till/till.ts'

export interface ActDeps {
  /** Without one nothing can be paid for here. */
  readonly till: Till | undefined
  readonly service: Pick<Service, 'gate' | 'seal'>
  /** What native requests are carried out with. */
  readonly means: HandlerDeps
  readonly pricing: Pick<Pricing, 'at'>
}

/** One authenticated request, its answer's room included. */
export type Visit = Required<Pick<Session, 'address' | 'makeRoom'>> & { readonly from: Key }

/** How long the same payment gets the same record again. */
const purchaseMs = 600_000
/** A read that nobody can repeat need not be remembered. */
const unrepeatedMs = 1000

/**
 * A record that its owner hands over, however old.
 * @throws ERR_FORBIDDEN, ERR_MALFORMED, ERR_BAD_SIGNATURE, ERR_LIMIT
 */
export function admitRecord(
  { service, means }: ActDeps,
  { path, body, visit }: { path: RecordPath; body: Uint8Array; visit: Visit },
): SealedRecord {
  if (path.owner !== visit.from) throw new MarketError('ERR_FORBIDDEN', 'only its owner may store a record')
  const now = means.now()
  return service.gate.admitRecord(() => fromUtf8(body), formatPath(path), { address: visit.address, now })
}

/** What is asked for a record, satoshi: the whole quote, so that it fits whatever is there, and what its owner owes. */
export function priceOfWrite(deps: ActDeps, { msg, content, expires, maxPulls }: SealedRecord): number {
  const { accounts, now, store } = deps.means
  // No payment is taken for what there is no room for; what is stored has its room.
  const head = headOf(store, { owner: msg.from, recordId: msg.request.recordId })
  if (head === undefined || head.expires <= now()) accounts.checkRoom(content.length)
  const ttl = Math.ceil(Math.max(0, expires - now()) / 1000)
  const quote = accounts.quoteFor(msg.from, { bytes: content.length, ttl, maxPulls }, now())
  return Number(quote.satoshis) + debtOf(deps, msg.from)
}

/** Stores a record; the relay's signed reply to it. @throws as `store`, and ERR_PAYMENT_REQUIRED with `satoshisRequired` */
export async function put(deps: ActDeps, record: SealedRecord, visit: Visit): Promise<string> {
  const { service, means } = deps
  visit.makeRoom(answerOverhead)
  try {
    // Nobody is asked to pay for what there is no room for.
    means.admitWrite(record.content.length)
    const answer = await write(means, record, visit)
    const { body } = answer as { body: Record<string, unknown> } // a write is answered by no record
    const reply = canonicalize(inOrder({ type: 'reply', re: record.hash, ...body }))
    return await service.seal(visit.from, reply)
  } catch (error) {
    throw priced(error, debtOf(deps, visit.from))
  }
}

/** The price of a read that its reader pays, satoshi; 0 where there is none to pay. */
export function priceOfRead(deps: ActDeps, path: RecordPath, { from }: Visit): number {
  checkReader(path, from)
  const { store, now } = deps.means
  const prices = pricesFor(deps, path.receiver)
  const head = liveHead(store, path, now())
  if (head === undefined || prices.egressGB === 0) return 0
  return priceOf(store, path.receiver, { bytes: head.bytes, prices })
}

/**
 * One read; the text of the record.
 * @throws ERR_FORBIDDEN, ERR_NOT_FOUND, ERR_PAYMENT_REPLAYED, ERR_BUSY; ERR_PAYMENT_REQUIRED with `satoshisRequired`
 */
export async function get(
  deps: ActDeps,
  path: RecordPath,
  { visit, taken }: { visit: Visit; taken: Taken | undefined },
): Promise<string> {
  checkReader(path, visit.from)
  const { store, now, admitRead, contracts } = deps.means
  visit.makeRoom(answerOverhead)
  admitRead()
  const found = await store.readByWeb({
    path,
    prices: pricesFor(deps, path.receiver),
    admit: (bytes) => visit.makeRoom(Math.ceil(bytes / 3) * 4),
    isCovered: (from, pull) => contracts()?.isCovered(from, pull) ?? true,
    ...purchase(formatPath(path), taken, now()),
  })
  switch (found.outcome) {
    case 'record':
      return found.text
    case 'absent':
      throw new MarketError('ERR_NOT_FOUND', 'there is no such record')
    case 'unpaid':
      throw new MarketError('ERR_PAYMENT_REQUIRED', `this read costs ${found.satoshis} satoshi`, {
        extras: { satoshisRequired: found.satoshis },
      })
    case 'replayed':
      throw new MarketError('ERR_PAYMENT_REPLAYED', 'this payment was answered as often as it may be')
  }
}

/** The same payment is the same purchase for a while; whatever comes after that is one more read. */
function purchase(path: string, taken: Taken | undefined, now: number): { hash: string; until: number } {
  if (taken === undefined || taken.at + purchaseMs <= now)
    return { hash: randomBytes(32).toString('hex'), until: now + unrepeatedMs }
  return { hash: sha256Hex(`${taken.txid} ${path}`), until: taken.at + purchaseMs }
}

/** The receipt of a deletion; null where there is nothing. @throws ERR_BUSY */
export async function remove({ means }: ActDeps, path: RecordPath): Promise<unknown> {
  const { store, now, admitEnd } = means
  admitEnd()
  const { owner, recordId, receiver } = path
  // An id is unique for its owner: under another receiver's path it is not this record.
  const stored = store.get(headKey(path))
  if (stored === undefined || decodeHead(stored).receiver !== receiver) return null
  const hash = randomBytes(32).toString('hex')
  const deleted = await store.delete({ owner, recordId, hash, until: now() + protocolLimits.freshPastMs })
  return deleted.outcome === 'deleted' ? deleted.receipt : null
}

const Listed = Inventory.omit({ type: true, detail: true })
const numbers: ReadonlySet<string> = new Set(['afterTs', 'beforeTs', 'limit'])
const digits = /^(?:0|[1-9][0-9]{0,15})$/

/**
 * A page of what was sent by `of.owner` to `of.receiver`; without `of` of all that the sender may read.
 * @throws ERR_FORBIDDEN, ERR_MALFORMED, ERR_EXPIRED
 */
export async function list(
  { means: { store, limits } }: ActDeps,
  query: Record<string, string | string[]>,
  { of, visit }: { of?: Omit<RecordPath, 'recordId'>; visit: Visit },
): Promise<{ records: Entry[]; cursor: string; more: boolean }> {
  const { from, makeRoom } = visit
  const request = parseQuery(query)
  if (of !== undefined && request.owner !== undefined)
    throw new MarketError('ERR_MALFORMED', 'the owner is in the path')
  if (of !== undefined && of.owner !== from && of.receiver !== from)
    throw new MarketError('ERR_FORBIDDEN', 'only its owner and its receiver may see an outbox')
  const owners = of?.owner ?? request.owner
  const limit = pageSize(limits, request.limit)
  makeRoom(answerOverhead + limit * entryBytes)
  const page = await store.inventory({
    ...(of?.owner === from
      ? { view: { outbox: from }, receiver: of.receiver }
      : { view: { inbox: from, owners: typeof owners === 'string' ? [owners] : owners } }),
    after: placeOf(store, request),
    before: request.beforeTs === undefined ? undefined : store.placeAfter(request.beforeTs),
    tag: request.tag,
    limit,
  })
  const records = page.entries.map(({ place, ...entry }) => entry)
  return { records, cursor: store.cursorOf(page.place), more: page.more }
}

function parseQuery(query: Record<string, string | string[]>) {
  const given = Object.entries(query).map(([name, value]) =>
    numbers.has(name) && typeof value === 'string' && digits.test(value)
      ? [name, Number(value)]
      : [name, value],
  )
  const parsed = Listed.safeParse(Object.fromEntries(given))
  if (parsed.success) return parsed.data
  throw new MarketError('ERR_MALFORMED', `the query: ${firstIssue(parsed.error)}`)
}

/** Whoever writes free of charge reads so too. */
const pricesFor = ({ means, pricing }: ActDeps, reader: Key): Prices =>
  means.accounts.isAllowed(reader) ? freePrices : pricing.at(means.now())

function checkReader({ receiver }: RecordPath, from: Key): void {
  if (receiver !== from) throw new MarketError('ERR_FORBIDDEN', 'only its receiver may read a record')
}

/** Since a payment of his was taken back. */
const debtOf = ({ till }: ActDeps, owner: Key): number => Math.max(0, -(till?.creditOf(owner).available ?? 0))

/** A refusal that names a quote says in a number too what is to be paid. */
function priced(error: unknown, debt: number): unknown {
  if (!(error instanceof MarketError) || error.code !== 'ERR_PAYMENT_REQUIRED') return error
  const { quote } = error.extras as { quote?: { satoshis: string } } // as accounts.ts makes it
  if (quote === undefined) return error
  const extras = { ...error.extras, satoshisRequired: Number(quote.satoshis) + debt }
  return new MarketError(error.code, error.message, { extras, cause: error })
}
