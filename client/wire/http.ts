/** HTTP as this client speaks it: no redirects, bounded replies, no wait without an end. */
import { ClientError, messageOf } from '../errors.ts'

export interface HttpRequest {
  readonly url: string
  /** Absent for GET. */
  readonly body?: string
  readonly timeoutMs: number
  readonly maxReplyBytes: number
  readonly signal?: AbortSignal | undefined
  /** Besides the type of the body. */
  readonly headers?: Readonly<Record<string, string>>
  /** What the user knows it by, where that is not a relay's URL. */
  readonly shown?: string
}

/** @throws ERR_UNREACHABLE, ERR_UNTRUSTED when the answer is larger than allowed, or the reason of `signal`. */
export async function fetchText(request: HttpRequest): Promise<{ status: number; text: string }> {
  const { url, body, timeoutMs, signal, headers = {}, shown = relayOf(url) } = request
  const timeout = AbortSignal.timeout(timeoutMs)
  try {
    const response = await fetch(url, {
      ...(body === undefined
        ? { method: 'GET' }
        : { method: 'POST', body, headers: { ...headers, 'content-type': 'application/json' } }),
      // A redirect would let a relay point us at addresses inside our own network.
      redirect: 'error',
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    })
    return { status: response.status, text: await readBounded(response, request.maxReplyBytes) }
  } catch (error) {
    signal?.throwIfAborted()
    if (error instanceof ClientError) throw error
    const why = timeout.aborted ? `no answer within ${timeoutMs / 1000} s` : reasonOf(error)
    throw new ClientError('ERR_UNREACHABLE', `cannot reach ${shown}: ${why}`, error)
  }
}

/** What the user knows the relay by, whichever of its documents was asked for. */
const relayOf = (url: string): string => url.replace(/\/(?:\.well-known\/relay)?$/, '')

/** @throws ERR_UNTRUSTED when it is larger than allowed */
export async function readBounded(response: Response, maxBytes: number): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of response.body ?? []) {
    length += part.length
    if (length > maxBytes) {
      throw new ClientError('ERR_UNTRUSTED', `the answer of ${response.url} is larger than ${maxBytes} bytes`)
    }
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

/** fetch says "fetch failed"; what failed stands in the cause. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  return cause === undefined
    ? messageOf(error)
    : messageOf(cause) || String((cause as { code?: string }).code)
}
