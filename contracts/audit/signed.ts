/** Opening signed texts as evidence: whose they are, and what they answer. Nothing is believed that is not signed. */
import type { z } from 'zod'
import { decode, type Sealed, verify } from '../../market/envelope.ts'
import { parseCanonical } from '../../market/canonical.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import { BatchReplyEnvelope, type Read, ReplyEnvelope, RequestEnvelope } from '../api.ts'
import type { UsagePull } from '../usage.ts'
import { receiverOf } from './life.ts'

/** One answer, alone or out of the answers to a batch. */
export interface Answer {
  /** Of the request. */
  readonly re: Hash
  readonly body: Readonly<Record<string, unknown>>
  /** When the relay says it answered. */
  readonly timestamp: number
  /** Whether it is out of the answers to a batch: those are addressed to who signed its first element, whoever sent it. */
  readonly isBatch: boolean
}

/**
 * The answers that `relay` signed for `owner` in one envelope.
 * @throws ERR_MALFORMED, ERR_BAD_SIGNATURE, ERR_WRONG_RELAY when it is somebody else's, or for somebody else
 */
export function answersIn(text: string, { relay, owner }: { relay: Key; owner: Key }): Answer[] {
  const value = parseCanonical(text) as { msg?: { request?: { type?: unknown } } } | null
  const isBatch = value?.msg?.request?.type === 'replies'
  const sealed: Sealed = isBatch ? decode(text, BatchReplyEnvelope) : decode(text, ReplyEnvelope)
  const { from, to, timestamp } = sealed.msg
  if (from !== relay) throw new MarketError('ERR_WRONG_RELAY', 'this is not signed by the relay')
  if (to !== owner) throw new MarketError('ERR_WRONG_RELAY', 'this is for somebody else')
  verify(sealed)
  const request = sealed.msg.request as { re: Hash; replies?: { re?: Hash }[] }
  const bodies = request.replies ?? [request]
  return bodies.flatMap(({ re, ...body }) => (re === undefined ? [] : [{ re, body, timestamp, isBatch }]))
}

/** A request that `owner` signed for `relay`. @throws as `answersIn` */
export function requestIn(text: string, { relay, owner }: { relay: Key; owner: Key }) {
  const sealed = decode(text, RequestEnvelope)
  if (sealed.msg.from !== owner || sealed.msg.to !== relay)
    throw new MarketError('ERR_WRONG_RELAY', 'this is not a request of this owner to this relay')
  return verify(sealed)
}

/** Why a text is not the receiver's signed read that this pull is billed for; undefined when it is. */
export function readFault(
  text: string,
  pull: Pick<UsagePull, 'path' | 're'>,
  relay: Key,
): string | undefined {
  try {
    const sealed = decode(text, RequestEnvelope)
    const { from, to, request } = sealed.msg
    if (request.type !== 'read') return 'what stands for the read is no read'
    if (from !== receiverOf(pull.path)) return 'the read is not by the receiver of the record'
    if ((request as z.infer<typeof Read>).path !== pull.path) return 'the read is of another record'
    if (to !== relay) return 'the read was for another relay'
    if (sealed.hash !== pull.re) return 'the read is not the one that was billed'
    verify(sealed)
    return undefined
  } catch (error) {
    if (!(error instanceof MarketError)) throw error
    return error.code === 'ERR_BAD_SIGNATURE'
      ? 'the receiver never signed the read'
      : `what stands for the read is none: ${error.message}`
  }
}
