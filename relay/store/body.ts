/**
 * A record as it is kept: the bytes of its content instead of their base64, which saves a quarter of the disk.
 * Layout: where the content stood (4 bytes) ‖ length of the rest of the text (4) ‖ that rest ‖ content.
 */
import type { SealedRecord } from '../../market/record.ts'
import { damaged } from './codec.ts'

const headerBytes = 8
const field = '"content":"'

export function encodeBody({ text, content }: Pick<SealedRecord, 'text' | 'content'>): Buffer {
  // In canonical order only `from` and `bilateralPulls` come before the content: hex and digits, in which the field's name cannot hide.
  const contentAt = text.indexOf(field) + field.length
  const after = text.slice(contentAt + Math.ceil(content.length / 3) * 4)
  const textBytes = contentAt + Buffer.byteLength(after)
  const body = Buffer.allocUnsafe(headerBytes + textBytes + content.length)
  body.writeUInt32BE(contentAt, 0)
  body.writeUInt32BE(textBytes, 4)
  body.write(text.slice(0, contentAt), headerBytes, 'latin1')
  body.write(after, headerBytes + contentAt)
  body.set(content, headerBytes + textBytes)
  return body
}

/** The record's own text, every byte as it was signed. */
export function textOfBody(body: Buffer): string {
  const { contentAt, contentStart } = layout(body)
  const before = body.toString('latin1', headerBytes, headerBytes + contentAt)
  const after = body.toString('utf8', headerBytes + contentAt, contentStart)
  return `${before}${body.toString('base64', contentStart)}${after}`
}

/** A view of the stored bytes. */
export const contentOfBody = (body: Buffer): Buffer => body.subarray(layout(body).contentStart)

function layout(body: Buffer): { contentAt: number; contentStart: number } {
  if (body.length < headerBytes) throw damaged('a body ends too early')
  const contentAt = body.readUInt32BE(0)
  const textBytes = body.readUInt32BE(4)
  const contentStart = headerBytes + textBytes
  if (contentAt > textBytes || contentStart >= body.length) throw damaged('a body has the wrong length')
  return { contentAt, contentStart }
}
