/** What requests about message boxes say and are told (docs/protocol.md §13), as schemas for other people's tools. */
import { z } from 'zod'
import { Key, mostSatoshi, Tag } from '../../market/units.ts'
import { fieldLimits } from '../boxes/fields.ts'
import { listLimits } from '../boxes/list.ts'

const Box = Tag.min(1).describe(`at most ${fieldLimits.boxBytes} bytes of UTF-8`)
const MessageId = z.union([z.string().min(1).max(fieldLimits.messageIdBytes), z.int()])
const Recipient = z.string().regex(/^0[23][0-9a-fA-F]{64}$/)
const Satoshi = z.int().min(0).max(mostSatoshi)
const Time = z.iso.datetime()
const success = { status: z.literal('success') }

export const SendMessage = z.object({
  message: z
    .object({
      recipient: z.union([Recipient, z.array(Recipient).min(1)]).optional(),
      recipients: z.array(Recipient).min(1).optional(),
      messageBox: Box,
      messageId: z.union([MessageId, z.array(MessageId).min(1)]).optional(),
      body: z.union([z.string().min(1), z.looseObject({}), z.array(z.unknown())]),
    })
    .describe('recipient or recipients; as many ids as recipients, or none'),
  payment: z
    .object({
      tx: z.union([z.array(z.int().min(0).max(255)), z.string()]).describe('Atomic BEEF; a text is base64'),
      outputs: z.array(z.looseObject({ outputIndex: z.int().min(0) })),
      description: z.string().optional(),
    })
    .optional(),
})
export const MessageSent = z.object({
  ...success,
  messageId: z.string(),
  message: z.string(),
  results: z.array(
    z.object({
      recipient: Key,
      messageId: z.string(),
      delivery: z.enum(['delivered', 'waiting', 'refused']).optional(),
      hosts: z.array(z.looseObject({ host: z.string(), status: z.string() })).optional(),
    }),
  ),
})

export const ListMessages = z.object({
  messageBox: Box,
  limit: z.int().min(1).max(listLimits.page).optional(),
  offset: z.int().min(0).max(listLimits.offset).optional(),
})
const times = { createdAt: Time, updatedAt: Time, created_at: Time, updated_at: Time }
export const MessagesListed = z.object({
  ...success,
  messages: z.array(z.object({ messageId: z.string(), body: z.string(), sender: Key, ...times })),
  limit: z.int(),
  offset: z.int(),
  nextOffset: z.int().nullable(),
  hasMore: z.boolean(),
})

export const AcknowledgeMessage = z.object({
  messageIds: z.array(MessageId).min(1).max(fieldLimits.acknowledged),
})
export const MessagesAcknowledged = z.object({ ...success, acknowledged: z.int().min(0) })

export const SetPermission = z.object({
  messageBox: Box,
  recipientFee: z
    .int()
    .min(-1)
    .max(mostSatoshi)
    .describe('-1 blocked, 0 always, else satoshi for the recipient'),
  sender: Recipient.nullish(),
})
export const PermissionSet = z.object({ ...success, description: z.string() })
const Status = z.enum(['blocked', 'always_allow', 'payment_required'])
const Permission = z.object({
  ...{ sender: Key.nullable(), messageBox: z.string(), recipientFee: z.int(), status: Status },
  ...{ message_box: z.string(), recipient_fee: z.int(), ...times },
})
export const PermissionGot = z.object({ ...success, permission: Permission.nullable() })
export const PermissionsListed = z.object({
  ...success,
  permissions: z.array(Permission),
  totalCount: z.int().min(0),
})
const Quoted = { deliveryFee: Satoshi, recipientFee: z.int().min(-1), status: Status }
export const Quote = z.object({
  ...success,
  description: z.string(),
  quote: z.object(Quoted).optional(),
  quotesByRecipient: z.array(z.object({ recipient: Key, messageBox: z.string(), ...Quoted })).optional(),
  totals: z
    .object({ deliveryFees: Satoshi, recipientFees: Satoshi, totalForPayableRecipients: Satoshi })
    .optional(),
  blockedRecipients: z.array(Key).optional(),
  limits: z.object({ bodyBytes: z.int(), requestBytes: z.int(), recipients: z.int(), ttl: z.int() }),
})

export const RegisterDevice = z.object({
  fcmToken: z.string().min(1),
  deviceId: z.string().optional(),
  platform: z.enum(['ios', 'android', 'web']).optional(),
})
export const DeviceRegistered = z.object({ ...success, message: z.string(), deviceId: z.int().min(1) })
export const Devices = z.object({
  ...success,
  devices: z.array(z.looseObject({ id: z.int(), fcmToken: z.string() })),
})

const Bytes = z
  .union([z.string(), z.array(z.int().min(0).max(255))])
  .describe('hex, base64 or an array of bytes')
export const PropagateMessage = z.object({
  originalSender: Recipient,
  keyLinkage: Bytes,
  signedMessage: Bytes,
  senderSignature: Bytes,
  ...z
    .object({
      protocol: z.enum(['brc104', 'brc31']),
      nonce: z.string(),
      yourNonce: z.string(),
      sharedSecret: Bytes,
      linkageProof: Bytes,
    })
    .partial().shape,
  recipient: Recipient.optional(),
  messageId: z.string().optional(),
})
export const AuthorizeRouting = z.object({
  message: z
    .string()
    .max(1024)
    .describe(
      '`KEY DOMAIN PATTERN`: identity key and domain of this relay, and ALL or a regular expression for boxes',
    ),
  signature: Bytes.describe('DER, by [1, "PHIP authorization"], key ID "1", counterparty anyone (BRC-3)'),
})
export const Done = z.object(success)
