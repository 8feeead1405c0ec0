/** The fields of requests about message boxes, in all the dialects that are spoken (docs/protocol.md §13.1). */
import { fromHex, fromUtf8, utf8Length } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { lru } from '../../market/lru.ts'
import { isPublicKey } from '../../market/secp256k1.ts'
import { Key, Tag } from '../../market/units.ts'
import { type BoxCode, BoxError } from './codes.ts'

export const fieldLimits = {
  /** UTF-8 bytes of the name of a box. */
  boxBytes: 128,
  messageIdBytes: 256,
  /** Ids of one acknowledgement. */
  acknowledged: 1000,
  /** Of lists and objects in each other: parsers take very long, or fail, for many thousands. */
  depth: 128,
} as const

export type Fields = Record<string, unknown>

/** @throws ERR_MALFORMED; `otherwise` for JSON that is no object */
export function parseFields(body: Buffer, otherwise: BoxCode): Fields {
  if (!isShallow(body)) throw new MarketError('ERR_MALFORMED', 'the body is nested too deeply')
  let given: unknown
  try {
    given = JSON.parse(fromUtf8(body))
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'the body is no JSON', { cause })
  }
  if (isObject(given)) return given
  throw new BoxError(otherwise, 'the body is no object')
}

/** Whether JSON has no more in each other than may be; of what is no JSON it may say anything. */
function isShallow(json: Buffer): boolean {
  let depth = 0
  for (let at = 0; at < json.length; at++) {
    const byte = json[at]
    if (byte === 0x5b || byte === 0x7b) {
      if (++depth > fieldLimits.depth) return false
    } else if (byte === 0x5d || byte === 0x7d) depth--
    else if (byte === 0x22) at = endOfText(json, at)
  }
  return true
}

/** Where the text ends that begins here: at a quotation mark behind an even number of backslashes. */
function endOfText(json: Buffer, start: number): number {
  for (let at = json.indexOf(0x22, start + 1); at !== -1; at = json.indexOf(0x22, at + 1)) {
    let before = at
    while (json[before - 1] === 0x5c) before--
    if ((at - before) % 2 === 0) return at
  }
  return json.length
}

export const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The name of a box. @param code for what is none */
export function boxField(given: unknown, code: BoxCode): string {
  if (typeof given !== 'string' || given.trim() === '') throw new BoxError(code, 'a box has a name')
  if (utf8Length(given) > fieldLimits.boxBytes)
    throw new BoxError(
      'ERR_MESSAGEBOX_TOO_LARGE',
      `the name of a box has at most ${fieldLimits.boxBytes} bytes`,
    )
  if (!Tag.safeParse(given).success) throw new BoxError(code, 'the name of a box has no control characters')
  return given
}

export const isBoxName = (text: string): boolean =>
  text.trim() !== '' && utf8Length(text) <= fieldLimits.boxBytes && Tag.safeParse(text).success

const controlCharacter = /\p{Cc}/u

/** BRC-33 counts messages, later dialects name them. */
export function idField(given: unknown, code: BoxCode): string {
  const id = typeof given === 'number' && Number.isSafeInteger(given) ? String(given) : given
  const isId =
    typeof id === 'string' &&
    id.trim() !== '' &&
    utf8Length(id) <= fieldLimits.messageIdBytes &&
    id.isWellFormed() &&
    !controlCharacter.test(id)
  if (!isId)
    throw new BoxError(
      code,
      `a message id has 1 to ${fieldLimits.messageIdBytes} bytes, none of them control characters`,
    )
  return id
}

/** Asking the curve costs as much as a look into the store, and most recipients are asked about again and again. */
const isIdentity = lru(4096, (key) => ({ is: isPublicKey(fromHex(key)) }))

/** An identity that somebody can have. */
export function keyField(given: unknown, code: BoxCode): Key {
  const key = Key.safeParse(typeof given === 'string' ? given.toLowerCase() : given)
  if (key.success && isIdentity(key.data).is) return key.data
  throw new BoxError(code, 'an identity is a compressed public key in hex')
}

/** A number in a query or a body, absent or within its bounds. */
export function numberField(
  given: unknown,
  { code, least, most, fallback }: { code: BoxCode; least: number; most: number; fallback: number },
): number {
  if (given === undefined) return fallback
  const number = typeof given === 'string' && /^[0-9]{1,9}$/.test(given) ? Number(given) : given
  if (typeof number === 'number' && Number.isInteger(number) && number >= least && number <= most)
    return number
  throw new BoxError(code, `this is a number from ${least} to ${most}`)
}
