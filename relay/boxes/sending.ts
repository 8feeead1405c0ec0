/** What `POST /sendMessage` asks for, checked in the order in which clients expect to be refused (docs/protocol.md §13.2). */
import { utf8Length } from '../../market/bytes.ts'
import type { Key } from '../../market/units.ts'
import { BoxError } from './codes.ts'
import { boxField, type Fields, idField, isObject, keyField, parseFields } from './fields.ts'

export interface SendRequest {
  readonly box: string
  readonly recipients: readonly Key[]
  /** As many; undefined where the sender left the naming to us. */
  readonly ids: readonly (string | undefined)[]
  /** A text, or an object, as JSON. */
  readonly body: string
  readonly payment: Fields | undefined
}

export interface SendLimits {
  readonly boxBodyBytes: number
  readonly boxRecipients: number
}

/** @throws a code of `boxCodes`; ERR_MALFORMED */
export function parseSend(bytes: Buffer, limits: SendLimits): SendRequest {
  const { message, payment } = parseFields(bytes, 'ERR_MESSAGE_REQUIRED')
  if (!isObject(message)) throw new BoxError('ERR_MESSAGE_REQUIRED', 'there is no message')
  const box = boxField(message.messageBox, 'ERR_INVALID_MESSAGEBOX')
  const body = bodyOf(message.body, limits)
  const given = recipientsOf(message)
  if (given.length > limits.boxRecipients)
    throw new BoxError(
      'ERR_TOO_MANY_RECIPIENTS',
      `a message has at most ${limits.boxRecipients} recipients here`,
      {
        limit: limits.boxRecipients,
      },
    )
  const ids = idsOf(message, given.length)
  const recipients = given.map((key) => keyField(key, 'ERR_INVALID_RECIPIENT_KEY'))
  if (new Set(recipients).size < recipients.length)
    throw new BoxError('ERR_DUPLICATE_RECIPIENT', 'a recipient is named twice')
  return { box, recipients, ids, body, payment: isObject(payment) ? payment : undefined }
}

function bodyOf(given: unknown, { boxBodyBytes }: SendLimits): string {
  const isText = typeof given === 'string' && given.trim() !== ''
  if (!isText && (typeof given !== 'object' || given === null))
    throw new BoxError('ERR_INVALID_MESSAGE_BODY', 'a message has a body: a text or an object')
  const body = JSON.stringify(given)
  const bytes = typeof given === 'string' ? utf8Length(given) : utf8Length(body)
  if (bytes <= boxBodyBytes) return body
  throw new BoxError('ERR_MESSAGE_BODY_TOO_LARGE', `a body has at most ${boxBodyBytes} bytes here`, {
    limit: boxBodyBytes,
  })
}

function recipientsOf({ recipient, recipients }: Fields): unknown[] {
  const given = recipients ?? recipient
  if (Array.isArray(given) && given.length > 0) return given
  if (given === undefined || given === null || given === '' || Array.isArray(given))
    throw new BoxError('ERR_RECIPIENT_REQUIRED', 'a message has a recipient')
  return [given]
}

function idsOf({ messageId }: Fields, count: number): (string | undefined)[] {
  if (messageId === undefined) return Array.from({ length: count }, () => undefined)
  if (messageId === null || messageId === '' || (Array.isArray(messageId) && messageId.length === 0))
    throw new BoxError('ERR_MESSAGEID_REQUIRED', 'the message id is empty')
  const ids: unknown[] = Array.isArray(messageId) ? messageId : [messageId]
  if (ids.length !== count)
    throw new BoxError('ERR_MESSAGEID_COUNT_MISMATCH', `${count} recipients need as many message ids`)
  return ids.map((id) => idField(id, 'ERR_INVALID_MESSAGEID'))
}
