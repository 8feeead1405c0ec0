/**
 * The key table. Every key is a prefix byte and fixed-width parts: identities of 33 bytes, hashes of 32, numbers of
 * 8 bytes big-endian, so that the order of keys is the order of their parts. Only what is last may vary in length: a record
 * id, or the name of a purse or of a meta row.
 *
 *     prefix  table           key                        value (rows.ts, body.ts)
 *     a       account         owner                      which purses an owner has
 *     b       body            place                      the record: its text without the content, and the content
 *     c       counters        owner                      what an owner holds and has moved
 *     d       deposit         owner txid                 a payment with coins, and what became of it (payments.ts)
 *     e       escrow          owner                      which contract an owner has, and which he opens (contracts.ts)
 *     f       followed        a key of d or w            what a block may still change; empty
 *     g       grant           hash                       the place of the entry that a grant with this id became
 *     h       head            owner recordId             the facts of a record, or the tombstone of a deleted one
 *     i       inbox           receiver place             one entry of an inventory, decoded without its head or body
 *     j       inbox by owner  receiver owner place       the same
 *     k       contract        id                         a contract: its state, and what it needs to go on
 *     l       ledger          owner place                an entry: what happened to a purse
 *     m       meta            name                       this store, its last place and sweep, its prices, totals and stock
 *     n       not over        id                         what a block or the time may still change of a contract; empty
 *     o       outbox          owner place                one entry of an inventory
 *     p       pull log        owner place                a pull: the receiver's signed read, as the owner may audit it
 *     q       answered        until hash                 a request that was answered and must not act twice
 *     r       relay advert    relay                      an advert that stands on the board, and its place (adverts.ts)
 *     s       stake           txid vout                  an output that is in a contract, or was to be
 *     t       lapse           time owner purse           whose purse lapses then
 *     u       purse           owner purse                the state of a purse: the sum of its entries
 *     v       unmined         owner                      what of his credit rests on payments that are in no block
 *     w       withdrawal      owner hash                 credit that was paid back, by the id of its order
 *     x       expiry          time place                 whose head ends, or ends being paid for, then
 *     y       hosts           part …                     messages that leave for other hosts, or came from them; who lives here (departures.ts)
 *     z       message boxes   identity part …            what lies in boxes, and how they are set (box-rows.ts)
 *
 * Bodies, pulls, answers and expiries are written in (almost) rising order, which makes their compaction cheap.
 */
import type { RecordPath } from '../../market/record.ts'
import type { Hash, Key } from '../../market/units.ts'
import { bytesOfKey } from './codec.ts'

const identityBytes = 33
const numberBytes = 8
/** Keys that are an owner and no more, or an owner and a place. */
export const ownerKeyBytes = 1 + identityBytes
export const ownerPlaceKeyBytes = ownerKeyBytes + numberBytes
export const ownerHashKeyBytes = ownerKeyBytes + 32

export const bodyKey = (place: number): Buffer => numberKey('b', place)
export const countersKey = (owner: Key): Buffer => identityKey('c', owner)
export const accountKey = (owner: Key): Buffer => identityKey('a', owner)
export const grantKey = (hash: Hash): Buffer => Buffer.concat([Buffer.from('g'), Buffer.from(hash, 'hex')])
export const metaKey = (
  name:
    | 'store'
    | 'place'
    | 'sweep'
    | 'prices'
    | 'totals'
    | 'stock'
    | 'rule'
    | 'newcomers'
    | 'unmined'
    | 'confirmed'
    | 'trail'
    | 'draining'
    | 'advert'
    | 'box fees',
): Buffer => Buffer.from(`m${name}`)
export const purseKey = (owner: Key, purse: string): Buffer =>
  Buffer.concat([identityKey('u', owner), Buffer.from(purse, 'latin1')])
export const lapseKey = (time: number, owner: Key, purse: string): Buffer =>
  Buffer.concat([numberKey('t', time), bytesOfKey(owner), Buffer.from(purse, 'latin1')])

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
export const ledgerPrefix = (owner: Key): Buffer => identityKey('l', owner)
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

/** Of a payment by its transaction, or of a withdrawal by its id. */
export const moneyKey = (table: 'd' | 'w', owner: Key, hash: Hash): Buffer =>
  Buffer.concat([identityKey(table, owner), Buffer.from(hash, 'hex')])
export const unminedKey = (owner: Key): Buffer => identityKey('v', owner)
export const followedKey = (key: Buffer): Buffer => Buffer.concat([Buffer.from('f'), key])

/** Of the board; `relay` is whose advert it is. */
export const advertKey = (relay: Key): Buffer => identityKey('r', relay)
export const allAdverts = { gte: Buffer.from('r'), lt: Buffer.from('s') }

/** Everything that is followed, and what a key of it is about. */
export const allFollowed = { gte: Buffer.from('f'), lt: Buffer.from('g') }
export const ofFollowedKey = (key: Buffer): { table: 'd' | 'w'; owner: Key; hash: Hash } => ({
  table: key[1] === 'd'.charCodeAt(0) ? 'd' : 'w',
  owner: key.toString('hex', 2, 2 + identityBytes),
  hash: key.toString('hex', 2 + identityBytes),
})

/** A row of the message boxes of an identity; `part` says which of their tables. */
export const boxKey = (identity: Key, part: BoxPart, ...rest: Uint8Array[]): Buffer =>
  Buffer.concat([identityKey('z', identity), Buffer.from(part), ...rest])
/**
 * `l`: what lies in a box, `i`: the same by message id, `q`: how much that is; `p`: permissions, `d`: devices, `n`: how many
 * of these; `u`: payments that were used; `c`: which host pays for a message that it brought.
 */
export type BoxPart = 'l' | 'i' | 'q' | 'p' | 'd' | 'n' | 'u' | 'c'

/**
 * `a`: who lets this relay take messages for him; `d`: a message that leaves, by its place; `b`: one that was brought, by its hash;
 * `u`: until when that is remembered.
 */
const hostsKey = (part: 'a' | 'd' | 'b' | 'u', ...rest: Uint8Array[]): Buffer =>
  Buffer.concat([Buffer.from(`y${part}`), ...rest])
export const authorizationKey = (user: Key): Buffer => hostsKey('a', bytesOfKey(user))
export const allAuthorizations = { gte: Buffer.from('ya'), lt: Buffer.from('yb') }
export const userOfAuthorization = (key: Buffer): Key => key.toString('hex', 2)
export const departureKey = (place: number): Buffer => placeKey(hostsKey('d'), place)
export const allDepartures = { gte: Buffer.from('yd'), lt: Buffer.from('ye') }
export const broughtKey = (hash: Hash): Buffer => hostsKey('b', Buffer.from(hash, 'hex'))
export const broughtUntilKey = (until: number, hash: Hash): Buffer =>
  Buffer.concat([placeKey(hostsKey('u'), until), Buffer.from(hash, 'hex')])
export const broughtBefore = (time: number): { gte: Buffer; lt: Buffer } => ({
  gte: hostsKey('u'),
  lt: placeKey(hostsKey('u'), time),
})
export const hashOfBroughtUntil = (key: Buffer): Hash => key.toString('hex', 2 + numberBytes)

export const escrowKey = (owner: Key): Buffer => identityKey('e', owner)
export const contractKey = (table: 'k' | 'n', id: Hash): Buffer =>
  Buffer.concat([Buffer.from(table), Buffer.from(id, 'hex')])
export const stakeKey = ({ txid, vout }: { readonly txid: Hash; readonly vout: number }): Buffer =>
  placeKey(Buffer.concat([Buffer.from('s'), Buffer.from(txid, 'hex')]), vout)
/** All contracts, or those that are not over. */
export const allContracts = (table: 'k' | 'n'): { gte: Buffer; lt: Buffer } => ({
  gte: Buffer.from(table),
  lt: Buffer.of(table.charCodeAt(0) + 1),
})
export const contractOfKey = (key: Buffer): Hash => key.toString('hex', 1)

/** Bounds of a scan that meets every row there is. */
export const everything = { gte: Buffer.of(0), lt: Buffer.of(255) }

/** What a number-keyed table holds below `number`, as bounds of a scan. */
export const below = (table: 'q' | 't' | 'x', number: number): { gte: Buffer; lt: Buffer } => ({
  gte: Buffer.from(table, 'latin1'),
  lt: numberKey(table, number),
})

/** A table that begins with an identity: its rows of owners after `owner`, or all. */
export function ownersAfter(
  table: 'a' | 'c' | 'd' | 'h' | 'l' | 'p' | 'u' | 'v' | 'w',
  owner?: Key,
): { gt: Buffer; lt: Buffer } {
  const lt = Buffer.of(table.charCodeAt(0) + 1)
  if (owner === undefined) return { gt: Buffer.from(table, 'latin1'), lt }
  // No key of the table begins with more than this and still belongs to `owner`.
  return { gt: Buffer.concat([identityKey(table, owner), Buffer.alloc(160, 255)]), lt }
}

/** The rows of one owner in such a table. */
export function rowsOf(table: 'h' | 'l' | 'p' | 'u', owner: Key): { gte: Buffer; lt: Buffer } {
  const prefix = identityKey(table, owner)
  return { gte: prefix, lt: Buffer.concat([prefix, Buffer.alloc(160, 255)]) }
}

/** The part of a key that says whose row it is, in the tables that begin with an identity. */
export const ownerPart = (key: Buffer): Buffer => key.subarray(1, 1 + identityBytes)
export const ownerOfKey = (key: Buffer): Key => key.toString('hex', 1, 1 + identityBytes)
export const hashOfKey = (key: Buffer): Hash => key.toString('hex', 1 + identityBytes)
/** What follows the owner in a key of `h` (a record id) or `u` (a purse). */
export const nameOfKey = (key: Buffer): string => key.toString('latin1', 1 + identityBytes)

/** Whose purse a key of the lapses is about. */
export const lapseOfKey = (key: Buffer): { owner: Key; purse: string } => ({
  owner: key.toString('hex', 1 + numberBytes, 1 + numberBytes + identityBytes),
  purse: key.toString('latin1', 1 + numberBytes + identityBytes),
})

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
