/** The story of an account or of a record, in sentences that whoever pays, or is paid, can follow to the satoshi. */
import { MarketError } from '../../market/errors.ts'
import { egressUnits, formatUnits, isFree, proofBytes } from '../../market/price.ts'
import { parsePath, type RecordPath } from '../../market/record.ts'
import { Key } from '../../market/units.ts'
import type { Snapshot } from '../store/database.ts'
import * as keys from '../store/keys.ts'
import { findPurse } from '../store/ledger.ts'
import { countersOf } from '../store/counters.ts'
import { timeOf } from '../store/place.ts'
import { Account, decodeHead, Entry, isEnding, Pull, type StoredHead } from '../store/rows.ts'
import { headOf } from './moment.ts'
import * as words from './sentences.ts'

export interface Explained {
  readonly sentences: string[]
  /** Where the story goes on: `after` of the next page. */
  readonly next?: number
}

export interface ExplainOptions {
  /** A key, or the path of a record. */
  readonly about: string
  /** A place of the ledger, exclusive; 0 at first. */
  readonly after: number
  /** Entries of the ledger to look at. */
  readonly limit: number
}

/** @throws ERR_MALFORMED; ERR_NOT_FOUND when nothing is known of it, or no longer */
export async function explain(snapshot: Snapshot, options: ExplainOptions): Promise<Explained> {
  const { about } = options
  if (about.startsWith('/')) return explainRecord(snapshot, options, parsePath(about))
  const owner = Key.safeParse(about)
  if (!owner.success)
    throw new MarketError(
      'ERR_MALFORMED',
      'neither a key nor the path of a record: /OWNER/outbox/RECEIVER/ID',
    )
  return explainAccount(snapshot, options, owner.data)
}

async function explainAccount(
  snapshot: Snapshot,
  { after, limit }: ExplainOptions,
  owner: Key,
): Promise<Explained> {
  const stored = snapshot.get(keys.accountKey(owner))
  const { records, ingressBytes } = countersOf(snapshot, owner)
  if (stored === undefined) {
    if (records + ingressBytes === 0) throw new MarketError('ERR_NOT_FOUND', `${owner} has no account here`)
    const holds = `${words.count(records, 'live record')}, kept free of charge`
    return { sentences: [`${owner} has no purse and ${holds}`] }
  }
  const account = Account.decode(stored)
  const purses = account.purses.split(' ')
  const sentences = after === 0 ? [`${words.moment(account.openedAt)} the account ${owner} was opened`] : []
  const next = await examine(snapshot, { owner, after, limit }, (place, entry) => {
    sentences.push(words.entryInWords(place, entry))
  })
  if (next !== undefined) return { sentences, next }
  for (const name of purses) sentences.push(words.purseInWords(name, findPurse(snapshot, owner, name)!)) // the account names only purses there are
  return { sentences }
}

async function explainRecord(
  snapshot: Snapshot,
  { after, limit }: ExplainOptions,
  path: RecordPath,
): Promise<Explained> {
  const { owner, receiver, recordId } = path
  const sentences: string[] = []
  const next = await examine(snapshot, { owner, after, limit }, (place, entry) => {
    if (entry.what === 'bought' || entry.recordId !== recordId) return
    if (receiverOf(snapshot, owner, entry) !== receiver) return
    sentences.push(`${words.moment(timeOf(place))} ${recordEvent(snapshot, { owner, place, entry })}`)
  })
  if (next !== undefined) return { sentences, next }
  sentences.push(...present(snapshot, path))
  if (sentences.length === 0 && after === 0)
    throw new MarketError('ERR_NOT_FOUND', 'nothing is known of such a record')
  return { sentences }
}

/** Calls `visit` with the entries after a place; returns where to go on, undefined at the end. */
async function examine(
  snapshot: Snapshot,
  { owner, after, limit }: { owner: Key; after: number; limit: number },
  visit: (place: number, entry: Entry) => void,
): Promise<number | undefined> {
  const prefix = keys.ledgerPrefix(owner)
  const { lt } = keys.rowsOf('l', owner)
  const scan = snapshot.scan({ gt: keys.placeKey(prefix, after), lt })
  try {
    let last = after
    for (let left = limit; ; ) {
      const rows = await scan.next(Math.min(left + 1, chunkRows))
      if (rows.length === 0) return undefined
      for (const [key, value] of rows) {
        if (left === 0) return last
        left--
        last = keys.placeOfKey(key)
        visit(last, Entry.decode(value))
      }
    }
  } finally {
    await scan.close()
  }
}

const chunkRows = 256

/** For whom the record was that an entry is about: its first entry says so. */
function receiverOf(snapshot: Snapshot, owner: Key, entry: Entry): Key | undefined {
  if (entry.what === 'write') return entry.note
  const value = snapshot.get(keys.placeKey(keys.ledgerPrefix(owner), entry.record))
  return value === undefined ? undefined : Entry.decode(value).note
}

function recordEvent(
  snapshot: Snapshot,
  { owner, place, entry }: { owner: Key; place: number; entry: Entry },
): string {
  const { bytes, maxPulls, paidUntil, storageGBDay, egressGB, ingressGB } = entry
  const moved = `(${words.movesOf(entry)})`
  if (isEnding(entry.what))
    return `it ${words.endings[entry.what]} after it cost ${words.costInWords(entry, entry)}, not counting proofs ${moved}`
  switch (entry.what) {
    case 'write': {
      const prices = `storageGBDay ${storageGBDay}, egressGB ${egressGB}, ingressGB ${ingressGB}`
      const kept = `${bytes} bytes, paid for until ${words.moment(paidUntil)}, ${words.count(maxPulls, 'pull')}`
      return `it was written: ${kept}, at the prices ${prices}; ${words.exact(words.mostOf(entry))} satoshi at most ${moved}`
    }
    case 'pull':
      return `it was pulled ${pulledBy(snapshot, owner, place)}, for ${words.exact(egressUnits(bytes, entry))} satoshi ${moved}`
    case 'prove':
      return `it was proven, for ${words.exact(egressUnits(proofBytes, entry))} satoshi ${moved}`
    case 'extended':
      return `its contract was renewed: it is paid for until ${words.moment(paidUntil)} instead of ${words.moment(entry.until)} ${moved}`
    case 'received':
    case 'returned':
    case 'bought':
      return moved // about no record of this owner: never asked for
  }
}

function pulledBy(snapshot: Snapshot, owner: Key, place: number): string {
  const value = snapshot.get(keys.placeKey(keys.pullPrefix(owner), place))
  if (value === undefined) return '(its signed read is kept no longer)'
  return words.pulledBy(Pull.decode(value))
}

/** What there is of a record at the moment of the snapshot. */
function present(snapshot: Snapshot, { owner, receiver, recordId }: RecordPath): string[] {
  const value = snapshot.get(keys.headKey({ owner, recordId }))
  const head = value === undefined ? undefined : decodeHead(value)
  if (head === undefined || head.receiver !== receiver) return []
  if (head.state === 'deleted')
    return [`it is deleted, and its id means nothing else before ${words.moment(head.expires)}`]
  const left = `${head.pullsLeft} of ${words.count(head.maxPulls, 'pull')} left`
  const kept = `it is kept until ${words.moment(head.expires)} at the latest, with ${left}`
  if (isFree(head)) return [`${kept}, free of charge`]
  return [kept, ...(head.state === 'stored' ? costSoFar(snapshot, head) : [])]
}

function costSoFar(snapshot: Snapshot, head: StoredHead): string[] {
  const { bytes, place, paidUntil, maxPulls, pullsLeft, storageGBDay, egressGB, ingressGB } = head
  const facts = { bytes, record: place, paidUntil, maxPulls, storageGBDay, egressGB, ingressGB }
  const until = timeOf(headOf(snapshot))
  const end = { until, pulls: maxPulls - pullsLeft }
  const left = words.mostOf(facts) - words.costOf(facts, end).units
  return [
    `up to ${words.moment(until)} it cost ${words.costInWords(facts, end)}, not counting proofs`,
    `it may still cost ${formatUnits(left)} satoshi in the purse ${head.purse}`,
  ]
}
