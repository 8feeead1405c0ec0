/** The adverts that a relay holds for everybody: `/adverts` (docs/protocol.md §12.5). */

import { on, once } from 'node:events'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { advertLimits } from '../advert.ts'
import { canonicalize } from '../canonical.ts'
import { isCode, MarketError } from '../errors.ts'
import { type AdvertChannel, channelLimits, type HttpReply, type Outside, saidBy } from './channel.ts'

export const boardLimits = {
  /** Adverts of one page, at most. */
  page: 256,
  pageBytes: 256 * (advertLimits.textBytes + 1) + 1024,
  cursorLength: 64,
  timeoutMs: 10_000,
  /** Of the answer to one that is published. */
  answerBytes: 4096,
} as const

/** `GET /adverts?cursor=&limit=&network=`: in the order in which they came; the cursor goes on behind the last, now or later. */
export const BoardPage = z.object({
  adverts: z.array(z.unknown()).max(boardLimits.page),
  cursor: z.string().max(boardLimits.cursorLength),
  more: z.boolean(),
})
export type BoardPage = z.infer<typeof BoardPage>

const Refusal = z.object({ code: z.string(), description: z.string(), retryAfterMs: z.number().optional() })

export class BoardChannel implements AdvertChannel {
  readonly #url: string
  readonly #outside: Outside

  /** @param url of the relay whose board it is, without a trailing slash */
  constructor(url: string, outside: Outside) {
    this.#url = url
    this.#outside = outside
  }

  async publish(text: string, signal?: AbortSignal): Promise<void> {
    const reply = await this.#ask({ body: text, maxReplyBytes: boardLimits.answerBytes, signal })
    if (reply.status !== 200) throw refusalOf(reply)
  }

  async *read(signal?: AbortSignal): AsyncGenerator<string> {
    let path = `?limit=${boardLimits.page}`
    for (let taken = 0; taken < channelLimits.texts; ) {
      const reply = await this.#ask({ path, maxReplyBytes: boardLimits.pageBytes, signal })
      if (reply.status !== 200) throw refusalOf(reply)
      const { adverts, cursor, more } = pageOf(reply.text)
      for (const advert of adverts) {
        const text = textOf(advert)
        if (text !== undefined) yield text
      }
      // A board that goes on without end, a page of nothing after another, is left.
      if (!more || adverts.length === 0) return
      taken += adverts.length
      path = `?limit=${boardLimits.page}&cursor=${encodeURIComponent(cursor)}`
    }
  }

  async *follow(signal: AbortSignal): AsyncGenerator<string> {
    const socket = await this.#listen(signal)
    socket.on('error', () => socket.terminate())
    try {
      // A reader who does not keep up makes the board wait, and be the one to end it.
      const messages = on(socket, 'message', {
        signal,
        close: ['close'],
        highWaterMark: 256,
        lowWaterMark: 64,
      })
      for await (const [data, isBinary] of messages as AsyncIterable<[Buffer, boolean]>)
        if (!isBinary) yield data.toString()
    } catch (error) {
      if (!signal.aborted) throw unreachable(this.#url, error)
    } finally {
      socket.terminate()
    }
    if (!signal.aborted) throw unreachable(this.#url)
  }

  async close(): Promise<void> {}

  async #ask({ path = '', ...rest }: Asking): Promise<HttpReply> {
    try {
      return await this.#outside.fetch({
        url: `${this.#url}/adverts${path}`,
        timeoutMs: boardLimits.timeoutMs,
        ...rest,
      })
    } catch (error) {
      rest.signal?.throwIfAborted()
      throw unreachable(this.#url, error)
    }
  }

  async #listen(signal: AbortSignal): Promise<WebSocket> {
    const { protocol, hostname, port } = new URL(this.#url)
    const isSecure = protocol === 'https:'
    const host = hostname.replace(/^\[|\]$/g, '')
    try {
      const to = { host, port: port === '' ? (isSecure ? 443 : 80) : Number(port), isSecure }
      const connection = await this.#outside.connect(to, signal)
      const socket = new WebSocket(`${this.#url.replace(/^http/, 'ws')}/adverts/live`, {
        createConnection: () => connection,
        handshakeTimeout: boardLimits.timeoutMs,
        maxPayload: advertLimits.textBytes,
        perMessageDeflate: false,
        followRedirects: false,
      })
      const abort = () => socket.terminate()
      signal.addEventListener('abort', abort, { once: true })
      socket.once('close', () => signal.removeEventListener('abort', abort))
      await once(socket, 'open', { signal })
      return socket
    } catch (error) {
      signal.throwIfAborted()
      throw unreachable(this.#url, error)
    }
  }
}

interface Asking {
  readonly path?: string
  readonly body?: string
  readonly maxReplyBytes: number
  readonly signal?: AbortSignal | undefined
}

function pageOf(text: string): BoardPage {
  try {
    return BoardPage.parse(JSON.parse(text))
  } catch (cause) {
    throw new MarketError('ERR_BUSY', 'what answers there is no board', { cause })
  }
}

/** Undefined for what cannot be an advert. */
function textOf(advert: unknown): string | undefined {
  try {
    const text = canonicalize(advert)
    return text.length <= advertLimits.textBytes ? text : undefined
  } catch {
    return undefined
  }
}

function refusalOf({ status, text }: HttpReply): MarketError {
  let parsed: z.infer<typeof Refusal> | undefined
  try {
    parsed = Refusal.parse(JSON.parse(text))
  } catch {
    // whatever it says is no refusal of a relay
  }
  if (parsed === undefined || !isCode(parsed.code))
    return new MarketError('ERR_BUSY', `the board answers with status ${status}`)
  const { code, description, retryAfterMs } = parsed
  return new MarketError(code, saidBy(description), {
    extras: retryAfterMs === undefined ? {} : { retryAfterMs },
  })
}

const unreachable = (url: string, cause?: unknown): MarketError =>
  new MarketError('ERR_BUSY', `the board of ${url} cannot be reached`, { cause })
