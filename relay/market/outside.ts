/** How channels reach the world from a relay: directly, to wherever its operator said. */
import { once } from 'node:events'
import { connect as connectPlain, isIP } from 'node:net'
import { connect as connectSecure } from 'node:tls'
import type { Endpoint, HttpReply, HttpRequest, Outside } from '../../market/channels/channel.ts'
import { MarketError } from '../../market/errors.ts'

const connectMs = 20_000

export const outside = ({ now }: Pick<Outside, 'now'>): Outside => ({
  fetch: fetchText,
  connect,
  now,
  random: Math.random,
})

async function fetchText({ url, body, timeoutMs, maxReplyBytes, signal }: HttpRequest): Promise<HttpReply> {
  const response = await fetch(url, {
    ...(body === undefined ? {} : { method: 'POST', body, headers: { 'content-type': 'application/json' } }),
    redirect: 'error',
    signal: within(timeoutMs, signal),
  })
  return { status: response.status, text: await textOf(response, maxReplyBytes) }
}

/** The body of an answer. @throws ERR_TOO_LARGE */
export async function textOf({ body, url }: Response, mostBytes: number): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of body ?? []) {
    bytes += part.length
    if (bytes > mostBytes)
      throw new MarketError('ERR_TOO_LARGE', `${url} answers with more than ${mostBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

async function connect({ host, port, isSecure }: Endpoint, signal?: AbortSignal) {
  const name = isIP(host) === 0 ? { servername: host } : {}
  const socket = isSecure ? connectSecure({ host, port, ...name }) : connectPlain({ host, port })
  try {
    await once(socket, isSecure ? 'secureConnect' : 'connect', { signal: within(connectMs, signal) })
    return socket
  } catch (error) {
    socket.destroy()
    throw error
  }
}

export const within = (ms: number, signal: AbortSignal | undefined): AbortSignal =>
  signal === undefined ? AbortSignal.timeout(ms) : AbortSignal.any([AbortSignal.timeout(ms), signal])
