/** Every request, reply, push and document of the wire, once (docs/protocol.md §4, §6, §7). Both programs are checked against it. */
import { z } from 'zod'
import { messageSchema } from '../market/envelope.ts'
import { type Code, isCode } from '../market/errors.ts'
import { Path, RecordEnvelope, RecordId, Write } from '../market/record.ts'
import { Hash, Key, Milliseconds, protocolLimits, Satoshis, Tag } from '../market/units.ts'
import { Account, PurseName, Quote } from './account.ts'
import { contractReplies, contractRequests } from './escrow/wire.ts'
import { Withdrawal } from './payment.ts'
import { DeleteReceipt, Extension, extensionLimits, Receipt } from './receipt.ts'
import { UsageReport } from './usage.ts'
import type { Feature } from './info.ts'

export { type Feature, features, Info, protocolVersion } from './info.ts'

/** `<store epoch>.<place>`: opaque to clients, a place valid in any inventory or listen with any filter (§4.4). */
export const Cursor = z.string().regex(/^[0-9a-f]{16}\.(?:0|[1-9][0-9]{0,15})$/, 'not a cursor')
export type Cursor = z.infer<typeof Cursor>

const Owners = z.union([
  Key,
  z
    .array(Key)
    .min(1)
    .max(protocolLimits.ownersPerInventory)
    .refine((keys) => new Set(keys).size === keys.length, { error: 'names an owner twice' }),
])

export const Store = z.strictObject({ type: z.literal('store'), record: RecordEnvelope })
export const Read = z.strictObject({ type: z.literal('read'), path: Path })
export const Inventory = z.strictObject({
  type: z.literal('inventory'),
  afterTs: Milliseconds.optional(),
  beforeTs: Milliseconds.optional(),
  owner: Owners.optional(),
  tag: Tag.optional(),
  cursor: Cursor.optional(),
  limit: z.int().min(1).optional(),
  detail: z.boolean().optional(),
})
export const Listen = z
  .strictObject({
    type: z.literal('listen'),
    afterTs: Milliseconds.optional(),
    cursor: Cursor.optional(),
    owner: Owners.optional(),
    tag: Tag.optional(),
  })
  .refine((request) => (request.afterTs === undefined) !== (request.cursor === undefined), {
    error: 'listen takes exactly one of afterTs and cursor',
  })
export const Delete = z.strictObject({ type: z.literal('delete'), recordId: RecordId })
export const Prove = z.strictObject({ type: z.literal('prove'), path: Path, index: z.int().min(0) })
export const QuoteRequest = z.strictObject({
  type: z.literal('quote'),
  bytes: z.int().min(1),
  ttl: z.int().min(1),
  maxPulls: z.int().min(1),
})

/** What the sender has here, and its entries, newest first; `cursor` goes on to older ones. */
export const AccountRequest = z.strictObject({
  type: z.literal('account'),
  cursor: Cursor.optional(),
  limit: z.int().min(1).optional(),
})

/** The pulls of one purse, oldest first; `cursor` goes on to later ones (§4.10). With `evidence`, the signed reads too. */
export const RequestUsage = z.strictObject({
  type: z.literal('RequestUsage'),
  account: PurseName,
  afterTs: Milliseconds.optional(),
  beforeTs: Milliseconds.optional(),
  cursor: Cursor.optional(),
  limit: z.int().min(1).optional(),
  evidence: z.boolean().optional(),
})

/** What renewals have extended, of all purses, oldest first; `cursor` goes on to later ones (§4.9). */
export const ExtensionsRequest = z.strictObject({
  type: z.literal('extensions'),
  cursor: Cursor.optional(),
  limit: z.int().min(1).optional(),
})

/** Pays prepaid credit back: so much of it, or all there is (§4.9). */
export const WithdrawRequest = z.strictObject({ type: z.literal('withdraw'), satoshis: Satoshis.optional() })

/** A request to a relay other than a bare record. */
export const Request = z.discriminatedUnion('type', [
  Store,
  Read,
  Inventory,
  Listen,
  Delete,
  Prove,
  QuoteRequest,
  AccountRequest,
  RequestUsage,
  ExtensionsRequest,
  WithdrawRequest,
  ...contractRequests,
])
export type Request = z.infer<typeof Request>
export const RequestEnvelope = messageSchema(Request)
export { RecordEnvelope, Write }

export type RequestType = Request['type'] | Write['type']
export type RequestOf<T extends RequestType> = Extract<Request | Write, { type: T }>

/** One entry of a detailed inventory. */
export const Entry = z.object({
  path: Path,
  at: Milliseconds,
  bytes: z.int().min(1),
  tag: Tag,
  expires: Milliseconds,
  /** A message in a box (docs/protocol.md §13): there is no record to be read. */
  kind: z.literal('box').optional(),
})
export type Entry = z.infer<typeof Entry>

/** A leaf of the stored bytes and its way to the receipt's root. `size` is the length of the whole record. */
export const Proof = z.object({
  data: z.string(),
  index: z.int().min(0),
  size: z.int().min(1),
  path: z.array(Hash).max(64),
})
export type Proof = z.infer<typeof Proof>

const page = { cursor: Cursor, more: z.boolean() }

/** What stands beside `type` and `re` in the reply to each request that succeeded. A `read` that finds is answered by the record. */
export const replies = {
  write: z.object({ result: z.literal(true), receipt: Receipt }),
  store: z.object({ result: z.literal(true), receipt: Receipt }),
  read: z.object({ result: z.null() }),
  inventory: z.object({ result: z.union([z.array(Path), z.array(Entry)]), ...page }),
  listen: z.object({ result: z.literal(true) }),
  delete: z.object({ result: z.literal(true), receipt: DeleteReceipt.nullable() }),
  prove: z.object({ result: Proof }),
  quote: z.object({ result: Quote }),
  account: z.object({ result: Account, ...page }),
  RequestUsage: z.object({ result: UsageReport, ...page }),
  extensions: z.object({ result: z.array(Extension).max(extensionLimits.page), ...page }),
  withdraw: z.object({ result: Withdrawal }),
  ...contractReplies,
} as const satisfies Record<RequestType, z.ZodType>
export type ReplyOf<T extends RequestType> = z.infer<(typeof replies)[T]>

/** A code of a later version means no more to this one than that the relay failed. */
const code = z.string().transform((given): Code => (isCode(given) ? given : 'ERR_INTERNAL'))

/** A refusal: `code` for programs, `error` for people, extras (`retryAfterMs`, `time`, `quote`, `resumeTs`) beside them. */
export const Refusal = z.looseObject({ error: z.string(), code })
export type Refusal = z.infer<typeof Refusal>

export const Reply = z.looseObject({ type: z.literal('reply'), re: Hash })
export const ReplyEnvelope = messageSchema(Reply)
/** One signature over the answers to a batch, each in its place; an element that cannot be attributed has no `re`. */
export const BatchReply = z.looseObject({
  type: z.literal('replies'),
  re: Hash,
  replies: z.array(z.looseObject({ re: Hash.optional() })),
})
export const BatchReplyEnvelope = messageSchema(BatchReply)

/** The plain, unsigned answer to what cannot be attributed to a sender. */
export const PlainError = z.looseObject({ status: z.literal('error'), code, description: z.string() })

/** A hint between replies on a WebSocket; not signed, not evidence (§7.2). */
export const Push = z.object({
  push: z.union([
    z.object({ listen: Hash, records: z.array(Path).min(1), cursor: Cursor }),
    z.object({ listen: Hash, live: z.literal(true), cursor: Cursor }),
    z.object({ listen: Hash, code, error: z.string(), cursor: Cursor }),
  ]),
})
export type Push = z.infer<typeof Push>

/** What a relay's `features` must list before it may be sent this (§4.2). */
export function featuresOf(request: Request | Write): Feature[] {
  switch (request.type) {
    case 'write': {
      const { maxPulls, bilateralPulls } = request
      return [...used('maxPulls', maxPulls), ...used('bilateralPulls', bilateralPulls)]
    }
    case 'store':
      return ['store', ...featuresOf(request.record.msg.request)]
    case 'inventory':
      return [...used('owner', request.owner), ...used('detail', request.detail)]
    case 'listen':
      return ['listen', ...used('owner', request.owner)]
    case 'prove':
    case 'quote':
    case 'account':
    case 'RequestUsage':
    case 'withdraw':
      return [request.type]
    case 'read':
    case 'delete':
      return []
    default:
      return ['contracts'] // what is left of them is about those
  }
}

const used = (feature: Feature, field: unknown): Feature[] => (field === undefined ? [] : [feature])
