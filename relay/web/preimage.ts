/**
 * What the two sides of an HTTP exchange sign (BRC-104 §6.8, §6.9). Lengths are Bitcoin varints; what is absent has
 * the length -1, nine bytes `ff`.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { concat } from '../../market/bytes.ts'
import { sha256 } from '../../market/hash.ts'
import type { AnswerHeaders } from './exchange.ts'

export const requestIdBytes = 32

export type Field = readonly [name: string, value: string]

export interface SignedRequest {
  readonly requestId: Uint8Array
  readonly method: string
  /** The path and query that the client asked for, before any proxy. */
  readonly url: string
  readonly fields: readonly Field[]
}

/** The digest of a request. */
export const requestDigest = (request: SignedRequest, body: Uint8Array): Uint8Array =>
  digestOf(requestHead(request, body), body)

/** What is hashed for it. */
export const requestPreimage = (request: SignedRequest, body: Uint8Array): Uint8Array =>
  concat(requestHead(request, body), body)

/** The same before the body. */
export function requestHead({ requestId, method, url, fields }: SignedRequest, body: Uint8Array): Uint8Array {
  const mark = url.indexOf('?')
  const path = mark === -1 ? url : url.slice(0, mark)
  const search = mark === -1 ? '' : url.slice(mark)
  const head = new Preimage(requestId.length + mostBytes(method) + 2 * mostBytes(url) + fieldsBytes(fields))
  head.bytes(requestId)
  head.text(method)
  head.text(path === '' ? '/' : path)
  // A lone `?` is no query (URL Standard): clients sign it as none.
  if (search.length > 1) head.text(search)
  else head.absent()
  head.fields(fields)
  if (body.length === 0) head.absent()
  else head.varint(body.length)
  return head.written
}

/** The digest of an answer. An empty body has the length 0 here: so clients compute it, from the bytes that came. */
export function responseDigest(
  response: { requestId: Uint8Array; status: number; fields: readonly Field[] },
  body: Uint8Array,
): Uint8Array {
  const { requestId, status, fields } = response
  const head = new Preimage(requestId.length + varintBytes + fieldsBytes(fields))
  head.bytes(requestId)
  head.varint(status)
  head.fields(fields)
  head.varint(body.length)
  return digestOf(head.written, body)
}

/** The fields of a request that are signed (BRC-104 §6.3), in the order in which they are. */
export function requestFields(headers: IncomingHttpHeaders): Field[] {
  const fields: Field[] = []
  for (const name in headers) {
    const value = headers[name]
    if (value === undefined) continue
    if (isSigned(name)) fields.push([name, fieldText(value)])
    else if (name === 'content-type') fields.push([name, fieldText(value).split(';', 1)[0]!.trim()])
  }
  return inOrder(fields)
}

/** The same of an answer, whose content type is not signed. Names are lower-case in both. */
export function responseFields(headers: AnswerHeaders): Field[] {
  const fields: Field[] = []
  for (const name in headers) {
    const value = headers[name]
    // Not all who read an answer strip the spaces around a field: what is signed here is also what is to be sent.
    if (value !== undefined && isSigned(name)) fields.push([name, fieldText(value).trim()])
  }
  return inOrder(fields)
}

const isSigned = (name: string): boolean =>
  name.startsWith('x-bsv-') ? !name.startsWith('x-bsv-auth') : name === 'authorization'

/** A field that was sent more than once reads as one, joined by commas (RFC 9110 §5.3). */
const fieldText = (value: string | number | readonly string[]): string =>
  typeof value === 'string' ? value : typeof value === 'number' ? String(value) : value.join(', ')

// Clients sort by `localeCompare`, which for the few characters beside letters, digits and `-` is not byte order.
const { compare } = new Intl.Collator('en')
const inOrder = (fields: Field[]): Field[] =>
  fields.length < 2 ? fields : fields.sort(([left], [right]) => compare(left, right))

export const digestOf = (head: Uint8Array, body: Uint8Array): Uint8Array =>
  body.length === 0 ? sha256(head) : sha256(head, body)

const varintBytes = 9
/** One UTF-16 unit has at most three bytes of UTF-8. */
const mostBytes = (text: string): number => varintBytes + 3 * text.length
const fieldsBytes = (fields: readonly Field[]): number =>
  fields.reduce((sum, [name, value]) => sum + mostBytes(name) + mostBytes(value), 2 * varintBytes)

/** Bytes written one after another into a buffer that is large enough. */
class Preimage {
  readonly #buffer: Buffer
  #length = 0

  constructor(capacity: number) {
    this.#buffer = Buffer.allocUnsafe(capacity)
  }

  get written(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  bytes(bytes: Uint8Array): void {
    this.#buffer.set(bytes, this.#length)
    this.#length += bytes.length
  }

  varint(value: number): void {
    const buffer = this.#buffer
    if (value < 0xfd) this.#length = buffer.writeUInt8(value, this.#length)
    else if (value <= 0xffff) {
      this.#length = buffer.writeUInt16LE(value, buffer.writeUInt8(0xfd, this.#length))
    } else if (value <= 0xffffffff) {
      this.#length = buffer.writeUInt32LE(value, buffer.writeUInt8(0xfe, this.#length))
    } else this.#length = buffer.writeBigUInt64LE(BigInt(value), buffer.writeUInt8(0xff, this.#length))
  }

  absent(): void {
    this.#buffer.fill(0xff, this.#length, this.#length + varintBytes)
    this.#length += varintBytes
  }

  text(text: string): void {
    this.varint(Buffer.byteLength(text))
    this.#length += this.#buffer.write(text, this.#length)
  }

  fields(fields: readonly Field[]): void {
    this.varint(fields.length)
    for (const [name, value] of fields) {
      this.text(name)
      this.text(value)
    }
  }
}
