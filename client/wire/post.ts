/** One message to a relay, and the text of whatever answers there. */
import type { RelayAddress } from '../../market/address.ts'
import { ClientError } from '../errors.ts'
import { fetchText } from './http.ts'
import { connectionLimits } from './info.ts'
import type { Dialer } from './dialer.ts'

/** @throws as `fetchText`; ERR_UNREACHABLE for a proxy that answers in the place of a relay that is down */
export async function post(
  { address: { url }, dialer }: { readonly address: RelayAddress; readonly dialer: Dialer },
  body: string,
  signal: AbortSignal | undefined,
): Promise<string> {
  const { timeoutMs, replyBytes: maxReplyBytes } = connectionLimits
  const request = { url: `${url}/`, body, timeoutMs, maxReplyBytes, signal }
  const { status, text } = await fetchText(dialer, request)
  // Such a proxy speaks HTML.
  if (status < 500 || text.startsWith('{')) return text
  throw new ClientError('ERR_UNREACHABLE', `cannot reach ${url}: HTTP status ${status}`)
}
