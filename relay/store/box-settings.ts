/** What people set about their message boxes, and payments that were used for messages; as operations on a batch. */
import { fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { boxPart } from './box-rows.ts'
import { bytesOfKey, hash, key, oneOf, type RowOf, row, text, uint } from './codec.ts'
import * as keys from './keys.ts'
import type { Reader } from './postings.ts'

export const settingsLimits = {
  /** Of one identity. */
  permissions: 1000,
  devices: 32,
  /** The same of an identity without account here, and of all of these together. */
  strangerRows: 16,
  strangersRows: 1_000_000,
} as const

const PermissionRow = row('box permission', 1, {
  box: text,
  /** Empty: of everybody who has none of his own. */
  sender: text,
  /** Satoshi and one more; 0: blocked. */
  fee: uint,
  createdAt: uint,
  updatedAt: uint,
})
/** `fee`: -1 blocked, 0 always, else satoshi for the recipient. */
export type Permission = RowOf<typeof PermissionRow>

const DeviceRow = row('device', 1, {
  number: uint,
  token: text,
  deviceId: text,
  platform: text,
  createdAt: uint,
  updatedAt: uint,
})
export type Device = RowOf<typeof DeviceRow>

const CountRow = row('settings count', 1, { permissions: uint, devices: uint })

const states = ['taken', 'used'] as const
const UsedRow = row('box payment', 1, {
  /** What it was first presented for. */
  what: hash,
  sender: key,
  state: oneOf(states, 'a payment is in an unknown state'),
  /** For delivery, to this relay. */
  satoshis: uint,
  at: uint,
})
/** `taken`: on disk, and perhaps sent; `used`: its messages lie in their boxes, or lay. */
export type UsedPayment = RowOf<typeof UsedRow>

const nobody = Buffer.alloc(33)
const permissionKey = (recipient: Key, box: string, sender: string): Buffer =>
  keys.boxKey(recipient, 'p', boxPart(box), sender === '' ? nobody : bytesOfKey(sender))

export function findPermission(
  from: Reader,
  recipient: Key,
  { box, sender }: Pick<Permission, 'box' | 'sender'>,
): Permission | undefined {
  const value = from.get(permissionKey(recipient, box, sender))
  return value === undefined ? undefined : decodePermission(value)
}

export function decodePermission(value: Buffer): Permission {
  const stored = PermissionRow.decode(value)
  return { ...stored, fee: stored.fee - 1 }
}

export const allPermissions = (recipient: Key): { gte: Buffer; lt: Buffer } => ({
  gte: keys.boxKey(recipient, 'p'),
  lt: keys.boxKey(recipient, 'p', Buffer.alloc(66, 255)),
})

/** @throws ERR_LIMIT, ERR_BUSY where there are too many already */
export function putPermission(
  batch: Batch,
  recipient: Key,
  { box, sender, fee, isStranger }: Pick<Permission, 'box' | 'sender' | 'fee'> & { isStranger: boolean },
): void {
  const before = findPermission(batch, recipient, { box, sender })
  if (before === undefined) countSetting(batch, recipient, 'permissions', isStranger)
  const createdAt = before?.createdAt ?? batch.now
  const updated = { box, sender, fee: fee + 1, createdAt, updatedAt: batch.now }
  batch.put(permissionKey(recipient, box, sender), PermissionRow.encode(updated))
}

const deviceKey = (identity: Key, number: number): Buffer => keys.placeKey(keys.boxKey(identity, 'd'), number)

/** In the order in which they came. */
export function devicesOf(from: Reader, identity: Key): Device[] {
  const { devices } = countOf(from, identity)
  return Array.from({ length: devices }, (_, at) => from.get(deviceKey(identity, at + 1))).flatMap((value) =>
    value === undefined ? [] : [DeviceRow.decode(value)],
  )
}

/** The same token, or the same device, again is the one that is known. @throws as `putPermission` */
export function putDevice(
  batch: Batch,
  identity: Key,
  { isStranger, ...device }: Pick<Device, 'token' | 'deviceId' | 'platform'> & { isStranger: boolean },
): number {
  const known = devicesOf(batch, identity)
  const before =
    known.find(({ token }) => token === device.token) ??
    known.find(({ deviceId }) => deviceId !== '' && deviceId === device.deviceId)
  const number = before?.number ?? countSetting(batch, identity, 'devices', isStranger)
  const createdAt = before?.createdAt ?? batch.now
  const updated = { ...device, number, createdAt, updatedAt: batch.now }
  batch.put(deviceKey(identity, number), DeviceRow.encode(updated))
  return number
}

function countOf(from: Reader, identity: Key): RowOf<typeof CountRow> {
  const value = from.get(keys.boxKey(identity, 'n'))
  return value === undefined ? { permissions: 0, devices: 0 } : CountRow.decode(value)
}

/** Makes room for one more; its number, from 1. What strangers set is counted under key 1, which sets nothing itself. */
function countSetting(
  batch: Batch,
  identity: Key,
  what: 'permissions' | 'devices',
  isStranger: boolean,
): number {
  const counted = countOf(batch, identity)
  counted[what]++
  const most = isStranger ? settingsLimits.strangerRows : settingsLimits[what]
  if (counted[what] > Math.min(most, settingsLimits[what]))
    throw new MarketError('ERR_LIMIT', `an identity has at most ${most} ${what} here`, {
      extras: { limit: most },
    })
  batch.put(keys.boxKey(identity, 'n'), CountRow.encode(counted))
  if (isStranger) {
    const all = countOf(batch, ANYONE_KEY)
    all[what]++
    if (all.permissions + all.devices > settingsLimits.strangersRows)
      throw new MarketError('ERR_BUSY', 'too many strangers have settings here')
    batch.put(keys.boxKey(ANYONE_KEY, 'n'), CountRow.encode(all))
  }
  return counted[what]
}

/** A payment means one thing, whoever brings it. */
const usedKey = (txid: Hash): Buffer => keys.boxKey(ANYONE_KEY, 'u', fromHex(txid))

export function findUsed(from: Reader, txid: Hash): UsedPayment | undefined {
  const value = from.get(usedKey(txid))
  return value === undefined ? undefined : UsedRow.decode(value)
}

/** The payment as it was taken before, or is from now on. */
export function takeForBox(
  batch: Batch,
  txid: Hash,
  { what, sender, satoshis }: Pick<UsedPayment, 'what' | 'sender' | 'satoshis'>,
): UsedPayment {
  const before = findUsed(batch, txid)
  if (before !== undefined) return before
  const taken = { what, sender, state: 'taken' as const, satoshis, at: batch.now }
  batch.put(usedKey(txid), UsedRow.encode(taken))
  return taken
}

export function markUsed(batch: Batch, txid: Hash): void {
  const before = findUsed(batch, txid)
  if (before !== undefined) batch.put(usedKey(txid), UsedRow.encode({ ...before, state: 'used' }))
}

/** What it was used for came to nothing: it may come with the same message again. */
export function markUnused(batch: Batch, txid: Hash): void {
  const before = findUsed(batch, txid)
  if (before !== undefined) batch.put(usedKey(txid), UsedRow.encode({ ...before, state: 'taken' }))
}

/** The network refused it, and nothing came of it. */
export function forgetForBox(batch: Batch, txid: Hash): void {
  if (findUsed(batch, txid)?.state === 'taken') batch.del(usedKey(txid))
}
