/** How rows become bytes: a kind byte, then fields in a fixed order. One definition gives the type, the encoder and the decoder. */
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'

export interface Field<T> {
  write(to: Cursor, value: T): void
  read(from: Cursor): T
}

export interface Row<T> {
  encode(value: T): Buffer
  /** @throws ERR_INTERNAL when `bytes` are anything but one encoding of such a row: the store is damaged. */
  decode(bytes: Buffer): T
}

export type RowOf<R> = R extends Row<infer T> ? T : never

interface Cursor {
  bytes: Buffer
  at: number
}
// Methods compare bivariantly, so this holds a field of any type.
type Fields = Record<string, Field<unknown>>
type Values<F extends Fields> = { [K in keyof F]: F[K] extends Field<infer T> ? T : never }

/** Rows of different `kind` may share a table: `kindOf` tells them apart. */
export function row<F extends Fields>(name: string, kind: number, fields: F): Row<Values<F>> {
  const columns = Object.entries(fields)
  const read = readerOf(name, kind, fields)
  return {
    encode(value) {
      scratch.at = 0
      reserve(scratch, 1)
      scratch.bytes[scratch.at++] = kind
      for (const [column, field] of columns) field.write(scratch, value[column])
      const bytes = Buffer.allocUnsafe(scratch.at)
      scratch.bytes.copy(bytes, 0, 0, scratch.at)
      return bytes
    },
    decode(bytes) {
      const from = { bytes, at: 0 }
      const value = read(from)
      if (from.at !== bytes.length) throw damaged(`a ${name} has the wrong length`)
      return value
    },
  }
}

/** The same of a row whose first fields these are: what comes after them is not looked at. */
export function rowBeginning<F extends Fields>(
  name: string,
  kind: number,
  fields: F,
): Pick<Row<Values<F>>, 'decode'> {
  const read = readerOf(name, kind, fields)
  return { decode: (bytes) => read({ bytes, at: 0 }) }
}

function readerOf<F extends Fields>(name: string, kind: number, fields: F): (from: Cursor) => Values<F> {
  const columns = Object.entries(fields)
  return (from) => {
    if (from.bytes[0] !== kind) throw damaged(`a ${name} has an unknown form`)
    from.at = 1
    const value: Record<string, unknown> = {}
    for (const [column, field] of columns) value[column] = field.read(from)
    return value as Values<F> // every column was just read by the field that names its type
  }
}

export const kindOf = (bytes: Buffer): number | undefined => bytes[0]

/** What every reader of this folder throws when bytes it wrote do not come back as it wrote them. */
export const damaged = (what: string, cause?: unknown): MarketError =>
  new MarketError('ERR_INTERNAL', `the store is damaged: ${what}`, { extras: { reason: 'damaged' }, cause })

/** An integer from 0 to 2^53 − 1, seven bits to a byte, lowest first. */
export const uint: Field<number> = {
  write(to, value) {
    if (!Number.isSafeInteger(value) || value < 0) throw damaged(`${value} is not a number it can hold`)
    reserve(to, 8)
    let rest = value
    for (; rest >= 128; rest = Math.floor(rest / 128)) to.bytes[to.at++] = (rest % 128) + 128
    to.bytes[to.at++] = rest
  },
  read(from) {
    let value = 0
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = from.bytes[skip(from, 1)]!
      value += (byte & 127) * scale
      if (byte < 128 && Number.isSafeInteger(value)) return value
    }
    throw damaged('a number is too large')
  },
}

/** An integer from 0 to 2^128 − 1: money and time in the units of market/price.ts. */
export const big: Field<bigint> = {
  write(to, value) {
    if (value < 0n || value >= 1n << 128n) throw damaged(`${value} is not a number it can hold`)
    reserve(to, 16)
    to.bytes.writeBigUInt64BE(value >> 64n, to.at)
    to.bytes.writeBigUInt64BE(value & lowBits, to.at + 8)
    to.at += 16
  },
  read(from) {
    const start = skip(from, 16)
    return (from.bytes.readBigUInt64BE(start) << 64n) | from.bytes.readBigUInt64BE(start + 8)
  },
}
const lowBits = (1n << 64n) - 1n

/** One of these words; what is stored is its number. `unknown` says what is wrong with a number that none has. */
export const oneOf = <T extends string>(words: readonly T[], unknown: string): Field<T> => ({
  write: (to, value) => uint.write(to, words.indexOf(value)),
  read(from) {
    const found = words[uint.read(from)]
    if (found === undefined) throw damaged(unknown)
    return found
  },
})

/** `bytes` bytes, as lower-case hex outside. */
export const hex = (bytes: number): Field<string> => ({
  write(to, value) {
    reserve(to, bytes)
    if (to.bytes.write(value, to.at, bytes, 'hex') !== bytes)
      throw damaged(`a value is not ${bytes} bytes of hex`)
    to.at += bytes
  },
  read: (from) => from.bytes.toString('hex', skip(from, bytes), from.at),
})

export const hash = hex(32)

export const key: Field<Key> = {
  write(to, value) {
    reserve(to, 33)
    to.bytes.set(bytesOfKey(value), to.at)
    to.at += 33
  },
  read: hex(33).read,
}

export const text: Field<string> = {
  write(to, value) {
    const length = Buffer.byteLength(value)
    uint.write(to, length)
    reserve(to, length)
    to.at += to.bytes.write(value, to.at)
  },
  read: (from) => from.bytes.toString('utf8', skip(from, uint.read(from)), from.at),
}

/** The 33 bytes of a key; not to be written to. One operation asks for the same two or three a dozen times. */
export function bytesOfKey(key: Key): Buffer {
  const known = keysSeen.get(key)
  if (known !== undefined) return known
  const bytes = Buffer.from(key, 'hex')
  if (keysSeen.size === rememberedKeys) keysSeen.clear()
  keysSeen.set(key, bytes)
  return bytes
}

/** About 1 MB when full. */
const rememberedKeys = 4096
const keysSeen = new Map<Key, Buffer>()

// Encoding never waits and never nests, so all rows are built in one place and copied out.
const scratch: Cursor = { bytes: Buffer.allocUnsafeSlow(4096), at: 0 }

function reserve(to: Cursor, length: number): void {
  if (to.at + length <= to.bytes.length) return
  const larger = Buffer.allocUnsafeSlow((to.at + length) * 2)
  to.bytes.copy(larger, 0, 0, to.at)
  to.bytes = larger
}

/** Moves past the next `length` bytes and returns where they begin. */
function skip(from: Cursor, length: number): number {
  const start = from.at
  if (start + length > from.bytes.length) throw damaged('a row ends too early')
  from.at = start + length
  return start
}
