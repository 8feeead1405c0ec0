/** HTTP as this client speaks it: no redirects, bounded replies, no wait without an end. */
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { HttpReply, HttpRequest } from '../../market/channels/channel.ts'
import { ClientError, messageOf } from '../errors.ts'
import type { Dialer } from './dialer.ts'

interface FullRequest extends HttpRequest {
  /** Besides the type of the body. */
  readonly headers?: Readonly<Record<string, string>>
  /** What the user knows it by, where that is not a relay's URL. */
  readonly shown?: string
}

interface FullReply extends HttpReply {
  readonly headers: IncomingHttpHeaders
}

/** @throws ERR_UNREACHABLE, ERR_UNTRUSTED when the answer is larger than allowed, as `Dialer.route`, or the reason of `signal`. */
export async function fetchText(dialer: Dialer, request: FullRequest): Promise<FullReply> {
  const { url, body, timeoutMs, signal, headers = {}, shown = relayOf(url) } = request
  const timeout = AbortSignal.timeout(timeoutMs)
  try {
    const response = await send(dialer, {
      url,
      ...(body === undefined
        ? { method: 'GET', headers }
        : { method: 'POST', body, headers: { ...headers, 'content-type': 'application/json' } }),
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    })
    const text = await readBounded(response, { url, maxBytes: request.maxReplyBytes })
    return { status: statusOf(response), text, headers: response.headers }
  } catch (error) {
    signal?.throwIfAborted()
    if (error instanceof ClientError) throw error
    const why = timeout.aborted ? `no answer within ${timeoutMs / 1000} s` : reasonOf(error)
    throw new ClientError('ERR_UNREACHABLE', `cannot reach ${shown}: ${why}`, error)
  }
}

export interface Sending {
  readonly url: string
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  readonly signal: AbortSignal
}

/** The answer from its headers on, until `signal` cuts it off. @throws ERR_UNREACHABLE for a redirect, and what Node throws */
export function send(
  dialer: Dialer,
  { url, method, headers, body, signal }: Sending,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { request: open } = url.startsWith('https:') ? https : http
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
    const agent = dialer.agentFor(url)
    const request = open(url, { method, agent, headers: { ...headers, ...length }, signal })
    request.on('error', reject)
    request.on('response', (response) => {
      if (!redirects.has(statusOf(response))) return resolve(response)
      // A redirect would let a relay point us at addresses inside our own network.
      request.destroy()
      reject(new ClientError('ERR_UNREACHABLE', `${relayOf(url)} redirects, which is not followed`))
    })
    request.end(body)
  })
}

const redirects = new Set([301, 302, 303, 307, 308])

export const statusOf = (response: IncomingMessage): number => response.statusCode ?? 0 // set in every answer

/** What the user knows the relay by, whichever of its documents was asked for. */
const relayOf = (url: string): string => url.replace(/\/(?:\.well-known\/relay)?$/, '')

/** @throws ERR_UNTRUSTED when it is larger than allowed */
export async function readBounded(
  response: IncomingMessage,
  { url, maxBytes }: { url: string; maxBytes: number },
): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length
    if (length > maxBytes)
      throw new ClientError('ERR_UNTRUSTED', `the answer of ${url} is larger than ${maxBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts, length).toString('utf8')
}

/** Where several addresses were tried, what failed stands in a code only. */
const reasonOf = (error: unknown): string => messageOf(error) || String((error as { code?: string }).code)
