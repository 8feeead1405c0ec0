/** RFC 8785 canonical JSON, restricted to what may be signed here: integers and well-formed strings (docs/protocol.md §2). */
import serialize from 'canonicalize'
import { MarketError } from './errors.ts'
import { protocolLimits } from './units.ts'

/**
 * The canonical text of a value made by this program.
 * @throws ERR_MALFORMED for what cannot be signed: fractions, unsafe integers, lone surrogates, undefined.
 */
export function canonicalize(value: unknown): string {
  checkSignable(value, 0, false)
  return serialize(value) as string // checkSignable leaves no value for which it is undefined
}

/**
 * The value of a text that came over the wire, if the text is the canonical form of its value.
 * One message has one text: duplicate keys, `1e2`, `-0`, `1.0`, odd escapes and white space are refused.
 * @throws ERR_MALFORMED
 */
export function parseCanonical(text: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new MarketError('ERR_MALFORMED', 'not JSON', { cause })
  }
  const ordered = checkSignable(value, 0, true)
  // With sorted names and signable values, JSON.stringify writes exactly RFC 8785; it is much faster than sorting again.
  const canonical = ordered ? JSON.stringify(value) : serialize(value)
  if (canonical !== text) throw new MarketError('ERR_MALFORMED', 'not in canonical form (RFC 8785)')
  return value
}

/**
 * Integers and well-formed strings, and, of a text from the `wire`, names in canonical order. Returns false when
 * JavaScript lists the names of some object in an order of its own, so that the text's order cannot be seen here.
 */
function checkSignable(value: unknown, depth: number, wire: boolean): boolean {
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
    for (const item of value) ordered = checkSignable(item, depth + 1, wire) && ordered
    return ordered
  }
  let previous: string | undefined
  for (const [key, item] of Object.entries(value)) {
    if (!key.isWellFormed()) throw new MarketError('ERR_MALFORMED', 'a name is not well-formed Unicode')
    // `<` on strings compares UTF-16 code units, which is the order RFC 8785 asks for.
    if (wire && previous !== undefined && !(previous < key)) {
      // Names like "7" come first and by size whatever the text says; every other disorder is the text's own.
      if (!indexName.test(previous)) {
        throw new MarketError('ERR_MALFORMED', 'names are not in canonical order (RFC 8785)')
      }
      ordered = false
    }
    previous = key
    ordered = checkSignable(item, depth + 1, wire) && ordered
  }
  return ordered
}

const indexName = /^(?:0|[1-9][0-9]{0,9})$/
