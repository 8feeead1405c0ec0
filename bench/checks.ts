/** No figure counts unless what was answered is what was asked for: every answer is looked at, and samples of the signatures. */
import { BatchReplyEnvelope, ReplyEnvelope, replies } from '../contracts/api.ts'
import { checkReceipt } from '../contracts/receipt.ts'
import { decode, type Sealed, verify } from '../market/envelope.ts'
import { decodeRecord } from '../market/record.ts'
import type { Key } from '../market/units.ts'
import type { Answer } from './http.ts'
import type { BatchMessage, Message, RecordMessage } from './messages.ts'

/** One signed answer in this many has its signature and form checked. */
const sampled = 50

interface ReplyFields {
  readonly re?: string | undefined
  readonly [field: string]: unknown
}

/** Every write was accepted, by a reply to it; sampled receipts hold against their records. */
export function checkWrites(
  messages: readonly Message[],
  answers: readonly Answer[],
  relay: Key,
): { readonly at: number }[] {
  return messages.map((message, index) => {
    const reply = replyTo(message, answers[index], index % sampled === 0 ? relay : undefined)
    return checkWritten(message, reply, index % sampled === 0)
  })
}

export function checkWriteBatches(
  messages: readonly BatchMessage<Message>[],
  answers: readonly Answer[],
  relay: Key,
): void {
  messages.forEach((message, index) => {
    repliesTo(message, answers[index], relay).forEach((reply, place) => {
      checkWritten(message.parts[place]!, reply, place % sampled === 0)
    })
  })
}

/** Every read was answered by the record that was written, byte for byte. */
export function checkReads(records: readonly RecordMessage[], answers: readonly Answer[]): void {
  records.forEach(({ text }, index) => {
    const body = bodyOf(answers[index])
    expect(body === text, 'a read was not answered by its record', body)
  })
}

export function checkReadBatches(
  messages: readonly BatchMessage<Message>[],
  records: readonly RecordMessage[],
  { answers, relay }: { answers: readonly Answer[]; relay: Key },
): void {
  let place = 0
  messages.forEach((message, index) => {
    for (const reply of repliesTo(message, answers[index], relay)) {
      const text = JSON.stringify(reply.record)
      expect(text === records[place++]?.text, 'a read was not answered by its record', text)
    }
  })
}

/** Every page has `size` paths, no two the same. */
export function checkPages(
  messages: readonly Message[],
  answers: readonly Answer[],
  { size, relay }: { size: number; relay: Key },
): void {
  messages.forEach((message, index) => {
    const reply = replyTo(message, answers[index], relay)
    const { result } = replies.inventory.parse(reply)
    expect(
      new Set<unknown>(result).size === size,
      `a page has not ${size} entries but`,
      String(result.length),
    )
  })
}

function checkWritten(message: Message, reply: ReplyFields, thoroughly: boolean): { readonly at: number } {
  expect(reply.re === message.hash, 'a reply to another request', reply)
  expect(reply.result === true, 'a write was refused', reply)
  const given = reply.receipt as { at: number } // looked at in the samples
  if (!thoroughly) return given
  const { receipt } = replies.write.parse(reply)
  const record = decodeRecord(message.text)
  checkReceipt(receipt, record, { firstSent: record.msg.timestamp, now: Date.now() })
  return receipt
}

/** The reply's fields; with `signedBy`, also its form and signature are checked. */
function replyTo(message: Message, answer: Answer | undefined, signedBy: Key | undefined): ReplyFields {
  const body = bodyOf(answer)
  const reply =
    signedBy === undefined
      ? (JSON.parse(body) as Sealed<ReplyFields>).msg?.request // looked at field by field
      : signed(decode<ReplyFields>(body, ReplyEnvelope), signedBy)
  expect(reply?.re === message.hash, 'a reply to another request', body)
  return reply
}

function repliesTo(message: BatchMessage<Message>, answer: Answer | undefined, relay: Key): ReplyFields[] {
  const body = bodyOf(answer)
  const request = signed(decode<{ re: string; replies: ReplyFields[] }>(body, BatchReplyEnvelope), relay)
  expect(request.re === message.hash, 'a reply to another batch', body)
  expect(request.replies.length === message.parts.length, 'a batch reply of another length', body)
  return request.replies
}

function signed<R>(sealed: Sealed<R>, by: Key): R {
  const { msg } = verify(sealed)
  expect(msg.from === by, 'a reply signed by another relay', msg.from)
  return msg.request
}

function bodyOf(answer: Answer | undefined): string {
  const body = answer?.body.toString() ?? 'no answer'
  expect(answer?.status === 200, `status ${answer?.status}`, body)
  return body
}

function expect(holds: boolean, sentence: string, found: unknown): asserts holds {
  if (holds) return
  const text = typeof found === 'string' ? found : JSON.stringify(found)
  throw new Error(`${sentence}: ${text?.slice(0, 300)}`)
}
