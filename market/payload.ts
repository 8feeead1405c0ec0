/**
 * What people say to each other inside a record's encrypted content (docs/protocol.md §5): a JSON head, then
 * optionally one byte 00 and raw bytes, padded so that a length tells little, all base64-encoded once.
 */
import { z } from 'zod'
import { fromBase64, fromUtf8, toBase64, toUtf8, utf8Length } from './bytes.ts'
import { MarketError } from './errors.ts'
import { RecordId } from './record.ts'
import { Hash, Key, Milliseconds, protocolLimits } from './units.ts'

export const payloadLimits = {
  chunksPerPart: 1000,
  parts: 1000,
  ackPulls: 500,
  nameLength: 255,
  safeNameBytes: 200,
  members: 1000,
  /** Keys of one channel, the one of now included. */
  epochs: 100,
  networkLength: 32,
  /** Files named by one message. */
  attachments: 32,
  /** Pieces of the list of a folder: the record that names them fits where a chunk fits. */
  indexPieces: 1600,
} as const

const text = z.string().refine((value) => value.isWellFormed(), { error: 'not well-formed Unicode' })
const name = text.min(1).max(payloadLimits.nameLength)

export const Text = z.object({
  type: z.literal('text'),
  text,
  subject: text.optional(),
  /** The first message of the conversation it belongs to, by either of the two. */
  thread: RecordId.optional(),
  /** `file` records of the same writer to the same reader. */
  files: z.array(RecordId).max(payloadLimits.attachments).optional(),
})
export const Post = z.object({
  type: z.literal('post'),
  text,
  subject: text.optional(),
  thread: RecordId.optional(),
  /** The owner's post before it in the same channel. */
  previous: RecordId.optional(),
})
export const Chunk = z.object({ type: z.literal('chunk'), size: z.int().min(0) })
export const FileHead = z
  .object({
    type: z.literal('file'),
    name,
    mime: text.max(255).optional(),
    size: z.int().min(0),
    sha256: Hash,
    chunkBytes: z.int().min(1),
    chunks: z.array(RecordId).max(payloadLimits.chunksPerPart).optional(),
    /** For more than 1000 chunks: records of type `chunk` whose bytes are JSON arrays of at most 1000 chunk ids each. */
    parts: z.array(RecordId).min(1).max(payloadLimits.parts).optional(),
  })
  .refine(({ chunks, parts }) => (chunks === undefined) !== (parts === undefined), {
    error: 'a file names either its chunks or its parts',
  })
export const Ack = z.object({
  type: z.literal('ack'),
  relay: Key,
  pulls: z
    .array(z.object({ recordId: RecordId, re: Hash, bytes: z.int().min(0) }))
    .min(1)
    .max(payloadLimits.ackPulls),
})
/** Tags of records that nobody acks, or two clients would thank each other for ever (docs/protocol.md §5). */
export const unackedTags: readonly string[] = ['ack', 'identity', 'contract', 'notice']
export const IdentityPayload = z.object({ type: z.literal('identity'), identity: z.unknown() })
export const Channel = z.object({
  type: z.literal('channel'),
  name,
  key: Hash,
  members: z.array(Key).max(payloadLimits.members),
  epoch: z.int().min(0),
  /** Keys of epochs before, for a member who may read what was written then. */
  history: z
    .array(z.object({ epoch: z.int().min(0), key: Hash }))
    .max(payloadLimits.epochs - 1)
    .optional(),
})
export type Channel = z.infer<typeof Channel>
/** From its owner: who gets it is no member from this epoch on. */
export const ChannelRemoved = z.object({ type: z.literal('channel-removed'), name, epoch: z.int().min(1) })
export type ChannelRemoved = z.infer<typeof ChannelRemoved>
/** The backup of a wallet, from its owner to himself: what follows 00 is the backup as a file has it. */
export const WalletBackup = z.object({
  type: z.literal('wallet-backup'),
  size: z.int().min(1),
  /** Whose money it is, in the words of the wallet. */
  network: text.max(payloadLimits.networkLength),
  /** When it was made, by its maker's clock: of two, the later one counts. */
  taken: Milliseconds,
})
/** A run of bytes, and where it lies in a `chunk` record of the same owner to the same reader; not said to who has it. */
export const Piece = z
  .object({
    sha256: Hash,
    length: z.int().min(1),
    at: RecordId.optional(),
    offset: z.int().min(0).optional(),
  })
  .refine(({ at, offset }) => (at === undefined) === (offset === undefined), {
    error: 'a piece has a record and a place in it, or neither',
  })
export type Piece = z.infer<typeof Piece>
/** One version of a shared folder: the pieces together are its list (market/folder.ts), of so many bytes and this hash. */
export const Folder = z.object({
  type: z.literal('folder'),
  name,
  /** Which copy of the folder it describes: eight random bytes. */
  device: z.string().regex(/^[0-9a-f]{16}$/),
  /** Rises with each version of this copy. */
  sequence: z.int().min(1),
  /** The version of this copy before it. */
  previous: RecordId.optional(),
  size: z.int().min(0),
  sha256: Hash,
  pieces: z.array(Piece).max(payloadLimits.indexPieces),
})
export type Folder = z.infer<typeof Folder>
/** A message a relay signed for a user, carried in the relay's own outbox. */
export const EnvelopePayload = z.object({ type: z.literal('envelope'), msg: z.unknown() })

/** The payloads every client knows. Unknown types are kept and shown as such; unknown fields of known types are ignored. */
export const Payload = z.discriminatedUnion('type', [
  Text,
  Post,
  Chunk,
  FileHead,
  Ack,
  IdentityPayload,
  Channel,
  ChannelRemoved,
  EnvelopePayload,
  WalletBackup,
  Folder,
])
export type Payload = z.infer<typeof Payload>
export type FileHead = z.infer<typeof FileHead>
export type Ack = z.infer<typeof Ack>

/** A payload as its reader sees it. */
export type ReadPayload = { payload: Payload | { type: 'unknown'; head: unknown }; bytes: Uint8Array }

/** Bytes to be encrypted: base64 of head, 00, `bytes`, padding. `size` of a `chunk` or `wallet-backup` says where its bytes end. */
export function encodePayload(payload: Payload, bytes: Uint8Array = new Uint8Array(0)): Uint8Array {
  const head = toUtf8(JSON.stringify(payload))
  const length = head.length + 1 + bytes.length
  const padded = new Uint8Array(paddedLength(length))
  padded.set(head)
  padded.set(bytes, head.length + 1)
  return toUtf8(toBase64(padded))
}

/** @throws ERR_MALFORMED when the plaintext is no payload at all. */
export function decodePayload(plaintext: Uint8Array): ReadPayload {
  const whole = fromBase64(fromUtf8(plaintext))
  const end = whole.indexOf(0)
  const json = fromUtf8(end === -1 ? whole : whole.subarray(0, end))
  // Before it is parsed: whatever walks through the value later may recurse.
  if (isTooDeep(json)) throw new MarketError('ERR_MALFORMED', 'the payload is nested too deeply')
  let head: unknown
  try {
    head = JSON.parse(json)
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'the payload does not begin with JSON', { cause })
  }
  const rest = end === -1 ? new Uint8Array(0) : whole.subarray(end + 1)
  const parsed = Payload.safeParse(head)
  if (!parsed.success) return { payload: { type: 'unknown', head }, bytes: rest }
  const payload = parsed.data
  if (payload.type !== 'chunk' && payload.type !== 'wallet-backup')
    return { payload, bytes: new Uint8Array(0) }
  if (payload.size > rest.length)
    throw new MarketError('ERR_MALFORMED', `the ${payload.type} is shorter than it says`)
  return { payload, bytes: rest.subarray(0, payload.size) }
}

/** Counts brackets outside of strings; of what is no JSON it may say anything. */
function isTooDeep(json: string): boolean {
  let depth = 0
  let isText = false
  for (let place = 0; place < json.length; place++) {
    const character = json[place]
    if (isText) {
      if (character === '\\') place += 1
      else if (character === '"') isText = false
    } else if (character === '"') isText = true
    else if (character === '[' || character === '{') {
      depth += 1
      if (depth > protocolLimits.jsonDepth) return true
    } else if (character === ']' || character === '}') depth -= 1
  }
  return false
}

const steps = [256, 1024, 4096]

/** 256 B, 1 KiB, 4 KiB, then steps of 5 %: an observer learns the size class of a message, not its length. */
export function paddedLength(length: number): number {
  const small = steps.find((step) => length <= step)
  if (small !== undefined) return small
  let size = 4096
  while (size < length) size += Math.ceil(size / 20)
  return size
}

/** What some file systems take for a device, with or without an extension. */
const deviceName = /^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\s*(?:\.|$))/i

/**
 * A name a stranger chose, made safe to show and to use as a file name: no separators, controls, invisible or
 * direction-changing characters, leading or trailing dots, device names; at most 200 bytes.
 */
export function safeName(given: string): string {
  const cleaned = given
    .normalize('NFC')
    .replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}/\\:*?"<>|]/gu, '_')
    .replace(/^[.\s]+/, '_')
    .replace(deviceName, '_$&')
  const cut = shorten(cleaned, payloadLimits.safeNameBytes).replace(/[.\s]+$/, '')
  return cut === '' ? '_' : cut
}

/** The longest beginning of `name` of at most `bytes` UTF-8 bytes that ends between two characters. */
function shorten(name: string, bytes: number): string {
  let length = 0
  let kept = ''
  for (const character of name) {
    length += utf8Length(character)
    if (length > bytes) break
    kept += character
  }
  return kept
}
