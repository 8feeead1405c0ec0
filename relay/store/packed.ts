/** Facts and bytes in one value: the length of the facts (4 bytes) ‖ the facts, as JSON ‖ the bytes. */
import { fromUtf8 } from '../../market/bytes.ts'
import { damaged } from './codec.ts'

const lengthBytes = 4

export function pack(json: unknown, bytes: Uint8Array): Buffer {
  const text = JSON.stringify(json)
  const length = Buffer.byteLength(text)
  const packed = Buffer.allocUnsafe(lengthBytes + length + bytes.length)
  packed.writeUInt32BE(length, 0)
  packed.write(text, lengthBytes)
  packed.set(bytes, lengthBytes + length)
  return packed
}

/** The bytes are a view. @throws ERR_INTERNAL for what was not packed */
export function unpack(packed: Buffer): { readonly json: unknown; readonly bytes: Buffer } {
  const end = packed.length < lengthBytes ? Number.POSITIVE_INFINITY : lengthBytes + packed.readUInt32BE(0)
  if (end > packed.length) throw damaged('a value ends too early')
  return { json: JSON.parse(fromUtf8(packed.subarray(lengthBytes, end))), bytes: packed.subarray(end) }
}
