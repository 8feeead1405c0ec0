/** Adverts in a document at a URL (docs/protocol.md §12.8). It can be read only: whoever serves it changes it. */
import { MarketError } from '../errors.ts'
import type { AdvertChannel, HttpReply, Outside } from './channel.ts'
import { documentBytes, linesOf } from './document.ts'

const timeoutMs = 30_000

export class UrlChannel implements AdvertChannel {
  readonly #url: string
  readonly #outside: Outside

  constructor(url: string, outside: Outside) {
    this.#url = url
    this.#outside = outside
  }

  async publish(): Promise<void> {
    throw new MarketError(
      'ERR_FORBIDDEN',
      'a document at a URL is only read: put its file there with file:PATH',
    )
  }

  async *read(signal?: AbortSignal): AsyncGenerator<string> {
    let reply: HttpReply
    try {
      reply = await this.#outside.fetch({ url: this.#url, timeoutMs, maxReplyBytes: documentBytes, signal })
    } catch (cause) {
      signal?.throwIfAborted()
      throw new MarketError('ERR_BUSY', `${this.#url} cannot be reached`, { cause })
    }
    if (reply.status !== 200)
      throw new MarketError('ERR_BUSY', `${this.#url} answers with status ${reply.status}`)
    yield* linesOf(reply.text)
  }

  async close(): Promise<void> {}
}
