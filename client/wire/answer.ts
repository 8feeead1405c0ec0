/** What a relay's answer must be before anybody looks at its content (docs/protocol.md §2, §6). */
import type { z } from 'zod'
import {
  type BatchReply,
  BatchReplyEnvelope,
  PlainError,
  Refusal,
  type Reply,
  type ReplyOf,
  ReplyEnvelope,
  type Request,
  type RequestOf,
  type RequestType,
  replies,
  type Write,
} from '../../contracts/api.ts'
import { toHex } from '../../market/bytes.ts'
import { canonicalize, parseCanonical } from '../../market/canonical.ts'
import { decode, type Sealed, verify } from '../../market/envelope.ts'
import { sha256 } from '../../market/hash.ts'
import { decodeRecordValue, type SealedRecord } from '../../market/record.ts'
import type { Hash, Key } from '../../market/units.ts'
import { ClientError, messageOf, Refused, told } from '../errors.ts'

/** Who must have signed, for whom, and how the user knows the relay. */
export interface Parties {
  readonly relay: Key
  readonly self: Key
  readonly url: string
}

/** A request's good answer. `evidence` is the text the relay signed; the relay can be held to it. */
export type Answer<T extends RequestType = RequestType> = {
  readonly re: Hash
  readonly evidence: string
} & (T extends 'read' ? { readonly record: SealedRecord | undefined } : { readonly reply: ReplyOf<T> })

/** One element of a batch: its answer, or why it has none. */
export type Outcome<T extends RequestType = RequestType> = { answer: Answer<T> } | { error: Error }

type Sent<T extends RequestType> = Sealed<RequestOf<T>>
type AnyRequest = Request | Write

/**
 * The answer to `sent`, proven to come from the relay and to belong to it.
 * @throws Refused when the relay says no, ERR_UNTRUSTED when this is not its answer
 */
export function openAnswer<T extends RequestType>(text: string, sent: Sent<T>, parties: Parties): Answer<T> {
  const plain = plainErrorIn(text)
  if (plain !== undefined) throw refused(parties, plain, false)
  return trusting(parties, () => {
    const value = parseCanonical(text) as { msg?: { request?: { type?: unknown } } } | null
    if (value?.msg?.request?.type === 'write') return recordAnswer(decodeRecordValue(value, text), text, sent)
    const { msg } = fromRelay(decode<z.infer<typeof Reply>>(text, ReplyEnvelope), parties)
    if (msg.request.re !== sent.hash) throw untrusted('answers another request')
    const { type: _, re: __, ...body } = msg.request
    return bodyAnswer(body, { re: sent.hash, evidence: text }, { sent, parties })
  })
}

/** The answers to a batch, each in its place. @throws as `openAnswer` when the batch as a whole has none. */
export function openBatch(
  text: string,
  batch: { text: string; sent: readonly Sealed<AnyRequest>[] },
  parties: Parties,
): Outcome[] {
  const plain = plainErrorIn(text)
  if (plain !== undefined) throw refused(parties, plain, false)
  const elements = trusting(parties, () => {
    const { msg } = fromRelay(decode<z.infer<typeof BatchReply>>(text, BatchReplyEnvelope), parties)
    if (msg.request.re !== toHex(sha256(batch.text))) throw untrusted('answers another batch')
    if (msg.request.replies.length !== batch.sent.length)
      throw untrusted('answers another number of requests')
    return msg.request.replies
  })
  return elements.map((element, index) => {
    const sent = batch.sent[index]! // as many as replies
    try {
      return { answer: trusting(parties, () => elementAnswer(element, { sent, parties, evidence: text })) }
    } catch (error) {
      return { error: error as Error } // `trusting` throws nothing else
    }
  })
}

interface Context {
  readonly sent: Sealed<AnyRequest>
  readonly parties: Parties
}

function elementAnswer(
  element: z.infer<typeof BatchReply>['replies'][number],
  context: Context & { evidence: string },
): Answer {
  const { re, record, ...body } = element
  const { sent, evidence } = context
  if (re === undefined ? !('code' in body) : re !== sent.hash) throw untrusted('answers another request')
  if (record === undefined) return bodyAnswer(body, { re: sent.hash, evidence }, context)
  const text = canonicalize(record)
  return recordAnswer(decodeRecordValue(record, text), text, sent)
}

/** A record answers a read by its own signature: it must be the record asked for, and whole. */
function recordAnswer<T extends RequestType>(
  record: SealedRecord,
  evidence: string,
  sent: Sent<T>,
): Answer<T> {
  const request = sent.msg.request as AnyRequest
  if (request.type !== 'read') throw untrusted('answers with a record that was not asked for')
  if (record.path !== request.path) throw untrusted('answers with another record than the one asked for')
  return { re: sent.hash, evidence, record: verify(record) } as unknown as Answer<T> // T is 'read'
}

function bodyAnswer<T extends RequestType>(
  body: unknown,
  proof: { re: Hash; evidence: string },
  { sent, parties }: { sent: Sent<T>; parties: Parties },
): Answer<T> {
  const refusal = Refusal.safeParse(body)
  if (refusal.success) throw refused(parties, refusal.data, true)
  const { type } = sent.msg.request as AnyRequest
  const schema: z.ZodType = replies[type]
  const reply = schema.parse(body)
  return (type === 'read' ? { ...proof, record: undefined } : { ...proof, reply }) as unknown as Answer<T> // by its schema
}

function fromRelay<S extends Sealed>(sealed: S, { relay, self }: Parties): S {
  if (sealed.msg.from !== relay) throw untrusted('is signed by another key than the pinned one')
  if (sealed.msg.to !== self) throw untrusted('is addressed to somebody else')
  return verify(sealed)
}

const untrusted = (what: string): ClientError => new ClientError('ERR_UNTRUSTED', what)

/** Whatever does not fit means the same to the caller: this is not the relay's answer. */
function trusting<T>({ url }: Parties, open: () => T): T {
  try {
    return open()
  } catch (cause) {
    if (cause instanceof Refused) throw cause
    throw new ClientError(
      'ERR_UNTRUSTED',
      `the answer of ${url} cannot be trusted: ${told(messageOf(cause))}`,
      cause,
    )
  }
}

/** Plain errors need not be canonical; nothing but their code is believed. */
function plainErrorIn(text: string): Refusal | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined // `parseCanonical` says the same with a reason
  }
  const plain = PlainError.safeParse(value)
  if (!plain.success) return undefined
  const { status: _, description, ...rest } = plain.data
  return { ...rest, error: description }
}

function refused({ url }: Parties, refusal: Refusal, signed: boolean): Refused {
  const { code, error, ...extras } = refusal
  // Whoever is on the path can say no in the relay's place: it changes nothing here, and is asked again.
  const no = signed ? 'refuses' : 'refuses, but did not sign it, so this is tried again later'
  // The sentence begins with its code (docs/protocol.md §6), which is told beside it.
  const sentence = error.startsWith(`${code}: `) ? error.slice(code.length + 2) : error
  return new Refused(url, { code, error: `${url} ${no}: ${told(sentence)}`, signed, extras })
}
