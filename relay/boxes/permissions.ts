/** What recipients let senders do, what that costs, and on which devices they want to hear of it. */
import type { Key } from '../../market/units.ts'
import { mostSatoshi } from '../../market/units.ts'
import type { HandlerDeps } from '../requests/handlers.ts'
import {
  allPermissions,
  decodePermission,
  devicesOf,
  findPermission,
  type Permission,
  putDevice,
  putPermission,
  settingsLimits,
} from '../store/box-settings.ts'
import { BoxError } from './codes.ts'
import { blocked, deliveryFee, type FeeRules, recipientFee } from './fees.ts'
import { boxField, type Fields, keyField, numberField } from './fields.ts'

export type Query = Readonly<Record<string, string | string[] | undefined>>

const statusOf = (fee: number): 'blocked' | 'always_allow' | 'payment_required' =>
  fee === blocked ? 'blocked' : fee === 0 ? 'always_allow' : 'payment_required'

/** @param isStranger he has no account here */
export async function setPermission(
  { store, admitWrite }: HandlerDeps,
  recipient: Key,
  { given, isStranger }: { given: Fields; isStranger: boolean },
): Promise<string> {
  const { messageBox, recipientFee: fee, sender } = given
  if (messageBox === undefined || fee === undefined)
    throw new BoxError('ERR_INVALID_REQUEST', 'messageBox and recipientFee are needed')
  const isFor = sender === undefined || sender === null ? '' : keyField(sender, 'ERR_INVALID_PUBLIC_KEY')
  if (typeof fee !== 'number' || !Number.isInteger(fee) || fee < blocked || fee > mostSatoshi)
    throw new BoxError(
      'ERR_INVALID_FEE_VALUE',
      'recipientFee is -1 (blocked), 0 (always) or a number of satoshi',
    )
  const box = boxField(messageBox, 'ERR_INVALID_MESSAGE_BOX')
  admitWrite(0)
  await store.commit((batch) => putPermission(batch, recipient, { box, sender: isFor, fee, isStranger }))
  const whom = isFor === '' ? 'everybody' : isFor
  const can = fee === blocked ? 'is blocked' : fee === 0 ? 'may send' : `may send for ${fee} satoshi`
  return `${whom} ${can}`
}

/** Whoever asks learns what is said of him, the recipient of everybody. */
export function getPermission(
  { store }: HandlerDeps,
  from: Key,
  { recipient, messageBox, message_box, sender }: Query,
) {
  if (typeof recipient !== 'string' || typeof (messageBox ?? message_box) !== 'string')
    throw new BoxError('ERR_MISSING_PARAMETERS', 'recipient and messageBox are needed')
  const whose = keyField(recipient, 'ERR_INVALID_PUBLIC_KEY')
  const isFor = sender === undefined ? '' : keyField(sender, 'ERR_INVALID_PUBLIC_KEY')
  const name = boxField(messageBox ?? message_box, 'ERR_INVALID_MESSAGE_BOX')
  if (isFor !== '' && from !== whose && from !== isFor)
    throw new BoxError('ERR_UNAUTHORIZED', 'what is said of others is told to the recipient only')
  const found = findPermission(store, whose, { box: name, sender: isFor })
  return found === undefined ? null : shown(found)
}

/** In both spellings of the names: clients differ. */
function shown({ box, sender, fee, createdAt, updatedAt }: Permission) {
  const [created, updated] = [new Date(createdAt).toISOString(), new Date(updatedAt).toISOString()]
  return {
    ...{ sender: sender === '' ? null : sender, status: statusOf(fee) },
    ...{ messageBox: box, recipientFee: fee, createdAt: created, updatedAt: updated },
    ...{ message_box: box, recipient_fee: fee, created_at: created, updated_at: updated },
  }
}

const page = { least: 1, most: 1000, fallback: 100 } as const

/** All that a recipient has said, or of one box. */
export async function listPermissions({ store }: HandlerDeps, recipient: Key, query: Query) {
  const box = query.messageBox ?? query.message_box
  const name = box === undefined ? undefined : boxField(box, 'ERR_INVALID_MESSAGE_BOX')
  const limit = numberField(query.limit, { code: 'ERR_INVALID_LIMIT', ...page })
  const bounds = { least: 0, most: 1_000_000, fallback: 0 }
  const offset = numberField(query.offset, { code: 'ERR_INVALID_OFFSET', ...bounds })
  const scan = store.scan(allPermissions(recipient))
  try {
    const rows = await scan.next(settingsLimits.permissions)
    const said = rows.map(([, value]) => decodePermission(value))
    const wanted = said.filter((each) => name === undefined || each.box === name)
    return { permissions: wanted.slice(offset, offset + limit).map(shown), totalCount: wanted.length }
  } finally {
    await scan.close()
  }
}

/** Whose messages into which box a quote is about. @throws ERR_MISSING_PARAMETERS, ERR_TOO_MANY_RECIPIENTS and the like */
export function quoteFields({ limits }: HandlerDeps, { recipient, messageBox }: Query) {
  if (recipient === undefined || recipient.length === 0 || typeof messageBox !== 'string')
    throw new BoxError('ERR_MISSING_PARAMETERS', 'recipient and messageBox are needed')
  const given = typeof recipient === 'string' ? [recipient] : recipient
  if (given.length > limits.boxRecipients)
    throw new BoxError('ERR_TOO_MANY_RECIPIENTS', `at most ${limits.boxRecipients} recipients at once`, {
      limit: limits.boxRecipients,
    })
  const box = boxField(messageBox, 'ERR_INVALID_MESSAGE_BOX')
  const recipients = given.map((key) => keyField(key, 'ERR_INVALID_PUBLIC_KEY'))
  if (new Set(recipients).size < recipients.length)
    throw new BoxError('ERR_DUPLICATE_RECIPIENT', 'a recipient is named twice')
  return { box, recipients, isOne: typeof recipient === 'string' }
}

/** What a message costs its sender: the delivery is paid for once, however many recipients there are. */
export function quote(
  { store }: HandlerDeps,
  rules: FeeRules,
  {
    sender,
    box,
    recipients,
    isOne,
  }: { sender: Key; box: string; recipients: readonly Key[]; isOne: boolean },
) {
  const fee = deliveryFee(store, rules, box)
  const quotes = recipients.map((recipient) => {
    const { fee: asked } = recipientFee(store, rules, { sender, box, recipient })
    return { recipient, messageBox: box, deliveryFee: fee, recipientFee: asked, status: statusOf(asked) }
  })
  const blockedRecipients = quotes
    .filter(({ status }) => status === 'blocked')
    .map(({ recipient }) => recipient)
  const payable = quotes.filter(({ status }) => status !== 'blocked')
  const deliveryFees = payable.length > 0 ? fee : 0
  const recipientFees = payable.reduce((sum, each) => sum + each.recipientFee, 0)
  const totalForPayableRecipients = deliveryFees + recipientFees
  const totals = { deliveryFees, recipientFees, totalForPayableRecipients }
  const allowed = payable.map(({ recipient }) => recipient)
  const [only] = quotes
  if (isOne && only !== undefined) {
    const { recipientFee: asked, status } = only
    return { answer: { quote: { deliveryFee: fee, recipientFee: asked, status } }, allowed, totals }
  }
  return { answer: { quotesByRecipient: quotes, totals, blockedRecipients }, allowed, totals }
}

const platforms: ReadonlySet<unknown> = new Set(['ios', 'android', 'web'])
const deviceBytes = { token: 4096, deviceId: 256 } as const

/** The number of the device. */
export function registerDevice(
  { store, admitWrite }: HandlerDeps,
  identity: Key,
  { given, isStranger }: { given: Fields; isStranger: boolean },
): Promise<number> {
  const { fcmToken, deviceId = '', platform = '' } = given
  const token = typeof fcmToken === 'string' ? fcmToken.trim() : ''
  if (token === '' || Buffer.byteLength(token) > deviceBytes.token)
    throw new BoxError('ERR_INVALID_FCM_TOKEN', `a token has 1 to ${deviceBytes.token} bytes`)
  if (platform !== '' && !platforms.has(platform))
    throw new BoxError('ERR_INVALID_PLATFORM', 'platform is ios, android or web')
  if (typeof deviceId !== 'string' || Buffer.byteLength(deviceId) > deviceBytes.deviceId)
    throw new BoxError('ERR_INVALID_REQUEST', `a deviceId has at most ${deviceBytes.deviceId} bytes`)
  admitWrite(0)
  const device = { token, deviceId, platform: String(platform), isStranger }
  return store.commit((batch) => putDevice(batch, identity, device))
}

/** Of a token only its end: whoever has all of it can write to the device. */
export const listDevices = ({ store }: HandlerDeps, identity: Key) =>
  devicesOf(store, identity).map(({ number, token, deviceId, platform, createdAt, updatedAt }) => {
    const [created, updated] = [new Date(createdAt).toISOString(), new Date(updatedAt).toISOString()]
    return {
      ...{ id: number, deviceId: deviceId || null, platform: platform || null },
      ...{ fcmToken: `...${token.slice(-10)}`, active: true, lastUsed: updated },
      ...{ createdAt: created, updatedAt: updated, created_at: created, updated_at: updated },
    }
  })
