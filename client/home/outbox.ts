/** The outbox on disk: facts about our records as files whose names say it all (see home.ts), so a listing is a state. */
import { z } from 'zod'
import { Receipt } from '../../contracts/receipt.ts'
import { isCode } from '../../market/errors.ts'
import { decodeRecord, type RecordId, type SealedRecord } from '../../market/record.ts'
import { type Hash, Key } from '../../market/units.ts'
import { namesIn, readJson, readText, readWhole, remove, syncDirectory, writeDurably } from './durable.ts'
import type { Home } from './home.ts'
import { Proof } from './journal.ts'

/** What is known about one record of ours, relay by relay. */
export interface Entry {
  readonly id: RecordId
  readonly expires: number
  readonly to: Key
  readonly queued: ReadonlySet<Key>
  readonly accepted: ReadonlySet<Key>
  readonly refused: ReadonlySet<Key>
  /** Relays from which the receiver says to have pulled it. */
  readonly pulledFrom: ReadonlySet<Key>
  /** How many relays must have signed for it, where that was said of it. */
  readonly quorum: number | undefined
  readonly deleted: boolean
  readonly gone: ReadonlySet<Key>
  /** The names of all files that say something of it, its own excepted. */
  readonly marks: readonly string[]
}

/** What the name of a record's file says. */
export type Named = Pick<Entry, 'id' | 'expires' | 'to'>

/** To be signed over in any contract so that a record goes up, in satoshi. */
const maxSpend = z.int().min(0)
/** The most that may be spent on a record, or on the whole it is part of, relay by relay (see money/bound.ts). */
export const CostBound = z.strictObject({
  maxCost: z.int().min(0),
  whole: z.strictObject({ bytes: z.int().min(0), ttl: z.int().min(1), maxPulls: z.int().min(1) }),
  parts: z.record(Key, z.int().min(0)),
  maxSpend: maxSpend.optional(),
})
export type CostBound = z.infer<typeof CostBound>
export const Bound = z.union([CostBound, z.strictObject({ maxSpend })])
export type Bound = z.infer<typeof Bound>

export const Refusal = z.strictObject({ code: z.string().refine(isCode), message: z.string() })
export type Refusal = z.infer<typeof Refusal>

/** Every record of the outbox, oldest expiry first. */
export async function entries(home: Home): Promise<Map<RecordId, Entry>> {
  const names = await namesIn(home.path('outbox'))
  const marks = new Map<RecordId, string[][]>()
  const found: Named[] = []
  for (const name of names) {
    const [id = '', ...rest] = name.split('.')
    const [expires, to, kind] = rest
    if (kind === 'record')
      found.push({ id, expires: Number(expires), to: to! }) // three parts
    else if (marks.has(id)) marks.get(id)!.push(rest)
    else marks.set(id, [rest])
  }
  found.sort((a, b) => a.expires - b.expires)
  return new Map(found.map((named) => [named.id, entryOf(named, marks.get(named.id) ?? [])]))
}

function entryOf(named: Named, marks: readonly string[][]): Entry {
  const relays = (kind: string) =>
    new Set(marks.filter((mark) => mark.at(-1) === kind && mark.length > 1).map(([relay]) => relay!))
  const accepted = relays('receipt')
  const refused = relays('refused')
  // The mark of the queue goes last: where there is an answer, it is spent.
  const queued = new Set([...relays('queued')].filter((relay) => !accepted.has(relay) && !refused.has(relay)))
  const [quorum] = relays('quorum')
  const deleted = marks.some((mark) => mark.length === 1 && mark[0] === 'deleted')
  return {
    ...named,
    queued,
    accepted,
    refused,
    pulledFrom: relays('ack'),
    quorum: quorum === undefined ? undefined : Number(quorum),
    deleted,
    gone: relays('gone'),
    marks: marks.map((mark) => [named.id, ...mark].join('.')),
  }
}

export interface Keeping {
  readonly relays: readonly Key[]
  readonly bound?: Bound | undefined
  readonly quorum?: number | undefined
}

/** Keeps a sealed record for these relays; once this resolves it survives whatever happens. */
export async function keep(
  home: Home,
  record: SealedRecord,
  { relays, bound, quorum }: Keeping,
): Promise<void> {
  const { recordId } = record.msg.request
  // Before the record: no crash may leave it without its bound.
  if (bound !== undefined) await writeDurably(fileOf(home, recordId, 'bound'), JSON.stringify(bound))
  const marks = relays.map((relay) => [recordId, relay, 'queued'])
  if (quorum !== undefined) marks.push([recordId, String(quorum), 'quorum'])
  await Promise.all(marks.map((parts) => mark(home, parts, { sync: false })))
  // Its directory sync makes the marks durable too: they are empty, their names are all.
  await writeDurably(recordFile(home, nameOf(record)), record.text)
}

export const nameOf = ({ msg, expires }: SealedRecord): Named => ({
  id: msg.request.recordId,
  expires,
  to: msg.to,
})

export async function recordOf(home: Home, named: Named): Promise<SealedRecord | undefined> {
  const path = recordFile(home, named)
  const text = await readText(path)
  return text === undefined ? undefined : readWhole(path, () => decodeRecord(text))
}

export const boundOf = (home: Home, { id }: Pick<Named, 'id'>): Promise<Bound | undefined> =>
  readJson(fileOf(home, id, 'bound'), Bound)

/** What may be spent on it at one relay may be spent at another, where nothing was allowed there yet. */
export async function widenBound(
  home: Home,
  id: RecordId,
  { from, to }: { from: Key; to: Key },
): Promise<void> {
  const bound = await boundOf(home, { id })
  if (bound === undefined || !('parts' in bound) || bound.parts[to] !== undefined) return
  const parts = { ...bound.parts, [to]: bound.parts[from] ?? 0 }
  await writeDurably(fileOf(home, id, 'bound'), JSON.stringify({ ...bound, parts }))
}

/** One record on one relay. */
export interface Place {
  readonly id: RecordId
  readonly relay: Key
}

/** The relay answered for good: `evidence` is its signed receipt. */
export async function keepReceipt(home: Home, { id, relay }: Place, evidence: string): Promise<void> {
  await writeDurably(fileOf(home, id, relay, 'receipt'), evidence)
  await remove(fileOf(home, id, relay, 'queued'))
}

export const SignedReceipt = z.looseObject({
  msg: z.looseObject({ request: z.looseObject({ receipt: Receipt }) }),
})

export const receiptOf = async (home: Home, { id, relay }: Place): Promise<Receipt | undefined> =>
  (await readJson(fileOf(home, id, relay, 'receipt'), SignedReceipt))?.msg.request.receipt

/** A signed quote that the receipt beside it breaks. */
export const keepBrokenQuote = (home: Home, { id, relay }: Place, evidence: string): Promise<void> =>
  writeDurably(fileOf(home, id, relay, 'quote'), evidence)

/** A relay took too much for a record of the sending `id`: it is to get nothing further of it. */
export const markBroken = (home: Home, { id, relay }: Place): Promise<void> =>
  mark(home, [id, relay, 'broken'])
export const isBroken = async (home: Home, { id, relay }: Place): Promise<boolean> =>
  (await readText(fileOf(home, id, relay, 'broken'))) !== undefined

/** For a sending that ends before its last record, which would take the marks with it, was made. */
export async function forgetBroken(home: Home, id: RecordId): Promise<void> {
  const names = await namesIn(home.path('outbox'))
  const its = names.filter((name) => name.startsWith(`${id}.`) && name.endsWith('.broken'))
  await Promise.all(its.map((name) => remove(home.path('outbox', name))))
}

export async function keepRefusal(home: Home, { id, relay }: Place, refusal: Refusal): Promise<void> {
  await writeDurably(fileOf(home, id, relay, 'refused'), JSON.stringify(refusal))
  await remove(fileOf(home, id, relay, 'queued'))
}

export const refusalOf = (home: Home, id: RecordId, relay: Key): Promise<Refusal | undefined> =>
  readJson(fileOf(home, id, relay, 'refused'), Refusal)

/** Puts a record back into the queue of relays, e.g. of one that refused it. */
export async function requeue(home: Home, id: RecordId, relays: Iterable<Key>): Promise<void> {
  for (const relay of relays) {
    await mark(home, [id, relay, 'queued'])
    await remove(fileOf(home, id, relay, 'refused'))
  }
}

export const unqueue = (home: Home, id: RecordId, relay: Key): Promise<void> =>
  remove(fileOf(home, id, relay, 'queued'))

/** Its receivers pulled records of ours from `relay`, each by the read `re`. */
export async function keepAcks(
  home: Home,
  relay: Key,
  pulls: readonly { readonly id: RecordId; readonly re: Hash }[],
): Promise<void> {
  await Promise.all(pulls.map(({ id, re }) => mark(home, [id, relay, re, 'ack'], { sync: false })))
  await syncDirectory(home.path('outbox'))
}

/** The reads by which it was pulled, or the requests by which it was to be proven, as far as `relay` is concerned. */
export const hashesOf = ({ id, marks }: Entry, relay: Key, kind: 'ack' | 'proof'): Hash[] =>
  marks
    .map((name) => name.slice(id.length + 1).split('.'))
    .filter((parts) => parts.length === 3 && parts[0] === relay && parts[2] === kind)
    .map((parts) => parts[1]!) // of three

/** A proof is noted before it is asked for, since it may be billed though its answer is lost; and with its answer. */
export const keepProof = (home: Home, { id, relay }: Place, proof: Proof): Promise<void> =>
  writeDurably(fileOf(home, id, relay, proof.re, 'proof'), JSON.stringify(proof))

export function proofsOf(home: Home, entry: Entry, relay: Key): Promise<Proof[]> {
  const kept = hashesOf(entry, relay, 'proof').map(async (re) => {
    const file = fileOf(home, entry.id, relay, re, 'proof')
    return (await readJson(file, Proof).catch(() => undefined)) ?? { re } // damaged: it was asked for
  })
  return Promise.all(kept)
}

export const markDeleted = (home: Home, id: RecordId): Promise<void> => mark(home, [id, 'deleted'])
/** `evidence`: the relay's signed reply to the deletion. */
export const keepGone = (home: Home, { id, relay }: Place, evidence: string): Promise<void> =>
  writeDurably(fileOf(home, id, relay, 'gone'), evidence)

/** The relays that have a record, or may have it whatever they said. */
export const mayHold = ({ accepted, queued, refused }: Entry): Set<Key> =>
  new Set([...accepted, ...queued, ...refused])

/** For kept.ts. */
export const fileOf = (home: Home, ...parts: string[]): string => home.path('outbox', parts.join('.'))
export const recordFile = (home: Home, { id, expires, to }: Named): string =>
  fileOf(home, id, String(expires), to, 'record')
const mark = (home: Home, parts: string[], options?: { sync: boolean }): Promise<void> =>
  writeDurably(fileOf(home, ...parts), '', options)
