/** RFC 8785 canonical JSON, restricted to what may be signed here: integers and well-formed strings (docs/protocol.md §2). */
import serialize from 'canonicalize'
import { MarketError } from './errors.ts'
import { protocolLimits } from './units.ts'

/**
 * The canonical text of a value made by this program.
 * @throws ERR_MALFORMED for what cannot be signed: fractions, unsafe integers, lone surrogates, undefined.
 */
export function canonicalize(value: unknown): string {
  const ordered = checkSignable(value, 0)
  // Of signable values with ordered names, JSON.stringify writes exactly RFC 8785, much faster than sorting does.
  return ordered ? JSON.stringify(value) : (serialize(value) as string) // undefined only for what is not signable
}

/**
 * The value of a text that came over the wire, if the text is the canonical form of its value.
 * One message has one text: duplicate keys, `1e2`, `-0`, `1.0`, odd escapes and white space are refused.
 * @throws ERR_MALFORMED
 */
export function parseCanonical(text: string): unknown {
  const value = parse(text)
  if (canonicalize(value) !== text) throw notCanonical()
  return value
}

/**
 * `parseCanonical` for a text that should be an array: its elements, each with its own canonical text.
 * @throws ERR_MALFORMED; ERR_TOO_LARGE for more than `most` elements
 */
export function parseCanonicalArray(text: string, most: number): { value: unknown; text: string }[] {
  const values = parse(text)
  if (!Array.isArray(values)) throw new MarketError('ERR_MALFORMED', 'not an array')
  if (values.length > most) throw new MarketError('ERR_TOO_LARGE', `more than ${most} elements`)
  const elements = values.map((value: unknown) => ({ value, text: canonicalize(value) }))
  if (`[${elements.map((element) => element.text).join(',')}]` !== text) throw notCanonical()
  return elements
}

function parse(text: string): unknown {
  boundValues(text)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'not JSON', { cause })
  }
}

/** Two values are never without a comma between them, so counting commas bounds what parsing a hostile text may build. */
function boundValues(text: string): void {
  let count = 0
  for (let place = text.indexOf(','); place !== -1; place = text.indexOf(',', place + 1)) {
    count += 1
    if (count > protocolLimits.jsonValues)
      throw new MarketError('ERR_TOO_LARGE', 'too many values in one text')
  }
}

const notCanonical = () => new MarketError('ERR_MALFORMED', 'not in canonical form (RFC 8785)')

/** Refuses what cannot be signed. Returns whether the names of every object are listed in canonical order. */
function checkSignable(value: unknown, depth: number): boolean {
  if (depth > protocolLimits.jsonDepth) throw new MarketError('ERR_MALFORMED', 'nested too deeply')
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new MarketError('ERR_MALFORMED', 'a string is not well-formed Unicode')
    return true
  }
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new MarketError('ERR_MALFORMED', 'a number is not a safe integer')
    return true
  }
  if (typeof value === 'boolean' || value === null) return true
  if (typeof value !== 'object') throw new MarketError('ERR_MALFORMED', `${typeof value} has no JSON form`)
  let ordered = true
  if (Array.isArray(value)) {
    for (const item of value) ordered = checkSignable(item, depth + 1) && ordered
    return ordered
  }
  let previous: string | undefined
  for (const [name, item] of Object.entries(value)) {
    if (!name.isWellFormed()) throw new MarketError('ERR_MALFORMED', 'a name is not well-formed Unicode')
    // `<` on strings compares UTF-16 code units, which is the order RFC 8785 asks for.
    if (previous !== undefined && !(previous < name)) ordered = false
    previous = name
    ordered = checkSignable(item, depth + 1) && ordered
  }
  return ordered
}
