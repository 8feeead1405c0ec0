/** Facts and bytes in one value: the length of the facts (4 bytes) ‖ the facts, as JSON ‖ the bytes. */
import { fromUtf8 } from '../../market/bytes.ts'
import { damaged } from './codec.ts'

const lengthBytes = 4

export function pack(json: unknown, bytes: Uint8Array): Buffer {
  const head = Buffer.from(JSON.stringify(json))
  const packed = Buffer.allocUnsafe(lengthBytes + head.length + bytes.length)
  packed.writeUInt32BE(head.length, 0)
  head.copy(packed, lengthBytes)
  packed.set(bytes, lengthBytes + head.length)
  return packed
}

/** The bytes are a view. @throws ERR_INTERNAL for what was not packed */
export function unpack(packed: Buffer): { readonly json: unknown; readonly bytes: Buffer } {
  const end = packed.length < lengthBytes ? Number.POSITIVE_INFINITY : lengthBytes + packed.readUInt32BE(0)
  if (end > packed.length) throw damaged('a value ends too early')
  return { json: JSON.parse(fromUtf8(packed.subarray(lengthBytes, end))), bytes: packed.subarray(end) }
}
