/** What a relay publishes about itself (docs/protocol.md §7.4), and the bounds of talking to one. */
import { Info } from '../../contracts/api.ts'
import { ClientError, messageOf } from '../errors.ts'
import { fetchText } from './http.ts'
import { type Dialer, ownChoice } from './dialer.ts'

export const connectionLimits = {
  timeoutMs: 30_000,
  attempts: 3,
  backoff: { firstMs: 200, maxMs: 5_000 },
  replyBytes: 16 * 1024 * 1024,
  infoBytes: 64 * 1024,
  /** How wrong a relay's clock may be before we stop following it. */
  clockOffsetMs: 600_000,
} as const

export interface LookOptions {
  readonly signal?: AbortSignal | undefined
  readonly dialer?: Dialer | undefined
}

/** The info document of whoever answers at `url`: for a first look, before a key is pinned. */
export async function fetchInfo(
  url: string,
  { signal, dialer = ownChoice }: LookOptions = {},
): Promise<Info> {
  const { timeoutMs, infoBytes } = connectionLimits
  const document = `${url}/.well-known/relay`
  const request = { url: document, timeoutMs, maxReplyBytes: infoBytes, signal }
  const { status, text } = await fetchText(dialer, request)
  if (status >= 500) throw new ClientError('ERR_UNREACHABLE', `cannot reach ${url}: HTTP status ${status}`)
  try {
    return Info.parse(JSON.parse(text))
  } catch (cause) {
    throw new ClientError(
      'ERR_UNTRUSTED',
      `${url} does not publish itself as a relay: ${messageOf(cause).slice(0, 200)}`,
      cause,
    )
  }
}
