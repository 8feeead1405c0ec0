/** The thing traded: a signed, encrypted record at `/owner/outbox/receiver/recordId` (docs/protocol.md §4). */
import { z } from 'zod'
import { fromBase64 } from './bytes.ts'
import { decodeValue, documentSchema, type Sealed } from './envelope.ts'
import { parseCanonical } from './canonical.ts'
import { MarketError } from './errors.ts'
import { Key, protocolLimits, Tag } from './units.ts'

/** Unique per owner. Clients use 128 random bits. */
export const RecordId = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._~-]{0,127}$/, 'not a record id')
export type RecordId = z.infer<typeof RecordId>

export const boxIdPrefix = 'mb_'
/** Whether it is the id of a message in a box (docs/protocol.md §13.3): no other record may have such a one. */
export const isBoxId = (recordId: string): boolean =>
  recordId.startsWith(boxIdPrefix) && /^mb_[0-9a-f]{64}$/.test(recordId)

const distinct = (keys: readonly string[]): boolean => new Set(keys).size === keys.length

/** The request inside a record's envelope. `content` is standard padded base64, checked where it is decoded. */
export const Write = z.strictObject({
  type: z.literal('write'),
  recordId: RecordId,
  ttl: z.int().min(1),
  tag: Tag,
  content: z.string().min(4),
  relays: z
    .array(Key)
    .min(1)
    .max(protocolLimits.relaysPerRecord)
    .refine(distinct, { error: 'names a relay twice' }),
  maxPulls: z.int().min(1).optional(),
  bilateralPulls: z.int().min(0).optional(),
})
export type Write = z.infer<typeof Write>

export const RecordEnvelope = documentSchema(Write)

/** A record whose form was checked; its signature is checked by `verify`. */
export interface SealedRecord extends Sealed<Write> {
  readonly path: string
  /** The stored bytes: the ciphertext, which is what is metered and proven. */
  readonly content: Uint8Array
  /** Milliseconds since 1970 after which the record is absent. */
  readonly expires: number
  readonly maxPulls: number
}

/** @throws ERR_MALFORMED when `text` is not the canonical text of a record. */
export const decodeRecord = (text: string): SealedRecord => decodeRecordValue(parseCanonical(text), text)

/** `decodeRecord` for a value whose canonical text is known already. */
export function decodeRecordValue(value: unknown, text: string): SealedRecord {
  const sealed = decodeValue<Write>(value, text, RecordEnvelope)
  const { from, to, timestamp, request } = sealed.msg
  const expires = timestamp + request.ttl * 1000
  if (!Number.isSafeInteger(expires)) throw new MarketError('ERR_MALFORMED', 'expires beyond the end of time')
  return {
    ...sealed,
    path: formatPath({ owner: from, receiver: to, recordId: request.recordId }),
    content: fromBase64(request.content),
    expires,
    maxPulls: request.maxPulls ?? protocolLimits.defaultMaxPulls,
  }
}

export interface RecordPath {
  readonly owner: Key
  readonly receiver: Key
  readonly recordId: RecordId
}

export const formatPath = ({ owner, receiver, recordId }: RecordPath): string =>
  `/${owner}/outbox/${receiver}/${recordId}`

const pathPattern =
  /^\/(0[23][0-9a-f]{64})\/outbox\/(0[23][0-9a-f]{64})\/([A-Za-z0-9_][A-Za-z0-9._~-]{0,127})$/

/** @throws ERR_MALFORMED */
export function parsePath(path: string): RecordPath {
  const match = pathPattern.exec(path)
  if (match === null) throw new MarketError('ERR_MALFORMED', 'not a record path')
  const [, owner, receiver, recordId] = match as unknown as [string, string, string, string] // three groups, all required
  return { owner, receiver, recordId }
}

export const Path = z.string().regex(pathPattern, 'not a record path')
