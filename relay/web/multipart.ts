/** The two parts of a payable request whose payment is too large for a header (BRC-118): strict, over bytes that are whole. */
import { MarketError } from '../../market/errors.ts'

/** RFC 2046 §5.1.1, in quotes or without. */
const boundaryForm =
  /^multipart\/form-data\s*;\s*boundary=(?:"([\w'()+,\-./:=? ]{0,69}[\w'()+,\-./:=?])"|([\w'+\-.]{1,70}))\s*$/i
const dispositionForm =
  /^content-disposition: *form-data; *name="([^"]{1,64})"(?:; *filename="[^"]{0,255}")?$/i
const typeForm = /^content-type: *[\x20-\x7e]{1,127}$/i
const partHeadBytes = 1024

export const isMultipart = (contentType: string | undefined): contentType is string =>
  contentType !== undefined && /^multipart\//i.test(contentType)

/**
 * The parts of a body by their names, of which only `names` may be there, each at most once. Nothing is copied.
 * @throws ERR_MALFORMED
 */
export function readMultipart(
  contentType: string,
  body: Buffer,
  names: readonly string[],
): Map<string, Buffer> {
  const [, quoted, bare] = boundaryForm.exec(contentType) ?? []
  const boundary = quoted ?? bare
  if (boundary === undefined) throw malformed('is no multipart/form-data with a boundary')
  const opening = `--${boundary}\r\n`
  const delimiter = `\r\n--${boundary}`
  if (body.toString('latin1', 0, opening.length) !== opening)
    throw malformed('does not begin with its boundary')
  const parts = new Map<string, Buffer>()
  for (let at = opening.length; ; ) {
    const headEnd = body.subarray(at, at + partHeadBytes).indexOf('\r\n\r\n')
    if (headEnd === -1) throw malformed('has a part without headers')
    const name = nameOf(body.toString('latin1', at, at + headEnd))
    if (!names.includes(name) || parts.has(name)) throw malformed('has a part too many')
    const start = at + headEnd + 4
    const end = body.indexOf(delimiter, start)
    if (end === -1) throw malformed('does not end with its boundary')
    parts.set(name, body.subarray(start, end))
    at = end + delimiter.length
    const rest = body.toString('latin1', at, at + 5)
    if (rest === '--' || rest === '--\r\n') return parts
    if (!rest.startsWith('\r\n')) throw malformed('has bytes behind its boundary')
    at += 2
  }
}

function nameOf(head: string): string {
  let name: string | undefined
  for (const line of head.split('\r\n')) {
    const found = dispositionForm.exec(line)?.[1]
    if (found === undefined ? !typeForm.test(line) : name !== undefined)
      throw malformed('has a part of unknown form')
    name ??= found
  }
  if (name === undefined) throw malformed('has a part without a name')
  return name
}

const malformed = (what: string): MarketError => new MarketError('ERR_MALFORMED', `the body ${what}`)
