/**
 * The key table. Every key is a prefix byte and fixed-width parts: identities of 33 bytes, hashes of 32, numbers of
 * 8 bytes big-endian, so that the order of keys is the order of their parts. Only a record id, at the end, varies.
 *
 *     prefix  table           key                        value (rows.ts, body.ts)
 *     b       body            place                      the record: its text without the content, and the content
 *     c       counters        owner                      what an owner holds and has moved
 *     h       head            owner recordId             the facts of a record, or the tombstone of a deleted one
 *     i       inbox           receiver place             one entry of an inventory, decoded without its head or body
 *     j       inbox by owner  receiver owner place       the same
 *     m       meta            name                       this store, its last place, its last sweep
 *     o       outbox          owner place                one entry of an inventory
 *     p       pull log        owner place                a receiver's signed read, as the owner may audit it
 *     q       answered        until hash                 a signed request that was answered and must not act twice
 *     x       expiry          expires place              whose head ends then
 *
 * Bodies, pulls, answers and expiries are written in (almost) rising order, which makes their compaction cheap.
 */
import type { RecordPath } from '../../market/record.ts'
import type { Hash, Key } from '../../market/units.ts'
import { bytesOfKey } from './codec.ts'

const identityBytes = 33
const numberBytes = 8

export const bodyKey = (place: number): Buffer => numberKey('b', place)
export const countersKey = (owner: Key): Buffer => identityKey('c', owner)
export const metaKey = (name: 'store' | 'place' | 'sweep'): Buffer => Buffer.from(`m${name}`)

export function headKey({ owner, recordId }: Pick<RecordPath, 'owner' | 'recordId'>): Buffer {
  const key = Buffer.allocUnsafe(1 + identityBytes + recordId.length)
  key[0] = 'h'.charCodeAt(0)
  key.set(bytesOfKey(owner), 1)
  key.write(recordId, 1 + identityBytes, 'latin1') // record ids are ASCII
  return key
}

/** The keys of the tables ordered by place, less the place: also the bounds of an inventory. */
export const inboxPrefix = (receiver: Key): Buffer => identityKey('i', receiver)
export const inboxByOwnerPrefix = (receiver: Key, owner: Key): Buffer => identityKey('j', receiver, owner)
export const outboxPrefix = (owner: Key): Buffer => identityKey('o', owner)
export const pullPrefix = (owner: Key): Buffer => identityKey('p', owner)

export function placeKey(prefix: Buffer, place: number): Buffer {
  const key = Buffer.allocUnsafe(prefix.length + numberBytes)
  key.set(prefix)
  writeNumber(key, place, prefix.length)
  return key
}

export const placeOfKey = (key: Buffer): number => readNumber(key, key.length - numberBytes)

export function answeredKey(until: number, hash: Hash): Buffer {
  const key = Buffer.allocUnsafe(1 + numberBytes + 32)
  key[0] = 'q'.charCodeAt(0)
  writeNumber(key, until, 1)
  key.write(hash, 1 + numberBytes, 'hex')
  return key
}

export const expiryKey = (expires: number, place: number): Buffer => placeKey(numberKey('x', expires), place)

/** Bounds of a scan that meets every row there is. */
export const everything = { gte: Buffer.of(0), lt: Buffer.of(255) }

/** What a number-keyed table holds below `number`, as bounds of a scan. */
export const below = (table: 'q' | 'x', number: number): { gte: Buffer; lt: Buffer } => ({
  gte: Buffer.from(table, 'latin1'),
  lt: numberKey(table, number),
})

/** The owners that have counters after `owner`, or all. */
export const ownersAfter = (owner: Key | undefined): { gt: Buffer; lt: Buffer } => ({
  gt: owner === undefined ? Buffer.from('c', 'latin1') : countersKey(owner),
  lt: Buffer.from('d', 'latin1'),
})

export const ownerOfKey = (key: Buffer): Key => key.toString('hex', 1, 1 + identityBytes)

function identityKey(prefix: string, ...identities: Key[]): Buffer {
  const key = Buffer.allocUnsafe(1 + identities.length * identityBytes)
  key[0] = prefix.charCodeAt(0)
  identities.forEach((identity, index) => {
    key.set(bytesOfKey(identity), 1 + index * identityBytes)
  })
  return key
}

function numberKey(prefix: string, number: number): Buffer {
  const key = Buffer.allocUnsafe(1 + numberBytes)
  key[0] = prefix.charCodeAt(0)
  writeNumber(key, number, 1)
  return key
}

function writeNumber(to: Buffer, number: number, offset: number): void {
  to.writeUInt32BE(Math.floor(number / 2 ** 32), offset)
  to.writeUInt32BE(number % 2 ** 32, offset + 4)
}

const readNumber = (from: Buffer, offset: number): number =>
  from.readUInt32BE(offset) * 2 ** 32 + from.readUInt32BE(offset + 4)
