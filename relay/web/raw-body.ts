/** The bytes of a body as they came, which are what is signed; never more than a limit is held. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import { MarketError } from '../../market/errors.ts'

const nothing = Buffer.alloc(0)

/** Whether a request has a body, perhaps an empty one (RFC 9112 §6.3). */
export const hasBody = (headers: IncomingHttpHeaders): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0

/**
 * Collects a body. To be called in the tick in which the request came: what flows before is lost.
 * `done` is called once: with the body, or with ERR_TOO_LARGE, or with the error that ended the stream early.
 */
export function readBody(
  stream: Readable,
  { headers, limitBytes }: { headers: IncomingHttpHeaders; limitBytes: number },
  done: (error: Error | undefined, body: Buffer) => void,
): void {
  const tooLarge = () => new MarketError('ERR_TOO_LARGE', `the body has more than ${limitBytes} bytes`)
  if (Number(headers['content-length'] ?? 0) > limitBytes) {
    done(tooLarge(), nothing)
    return
  }
  const chunks: Buffer[] = []
  let length = 0
  const finish = (error: Error | undefined): void => {
    stream.off('data', take).off('end', end).off('error', finish).off('close', lost)
    if (error !== undefined) done(error, nothing)
    else done(undefined, chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, length))
  }
  const take = (chunk: Buffer): void => {
    length += chunk.length
    if (length > limitBytes) finish(tooLarge())
    else chunks.push(chunk)
  }
  const end = (): void => finish(undefined)
  const lost = (): void => finish(new MarketError('ERR_MALFORMED', 'the body ended early'))
  stream.on('data', take).on('end', end).on('error', finish).on('close', lost)
}
