/** Adverts on a host of the overlay (docs/protocol.md §12.7), as anybody reads them. */
import { type AdvertChannel, channelLimits, type Outside } from '../../market/channels/channel.ts'
import { MarketError } from '../../market/errors.ts'
import { type Found, OutputList, outputOf } from './output-list.ts'
import { marketService, readToken } from './token.ts'

const limits = {
  page: 100,
  /** As JSON a byte of a transaction takes up to four. */
  pageBytes: 8 << 20,
  timeoutMs: 15_000,
} as const

export class OverlayChannel implements AdvertChannel {
  readonly #url: string
  readonly #outside: Pick<Outside, 'fetch'>

  /** @param url of the host, without a trailing slash */
  constructor(url: string, outside: Pick<Outside, 'fetch'>) {
    this.#url = url
    this.#outside = outside
  }

  async publish(): Promise<void> {
    throw new MarketError('ERR_FORBIDDEN', 'only a relay that has coins publishes on an overlay')
  }

  async *read(signal?: AbortSignal): AsyncGenerator<string> {
    let before: number | undefined
    for (let taken = 0; taken < channelLimits.texts; ) {
      const outputs = await this.#page(before, signal)
      for (const found of outputs) {
        const text = textIn(found)
        if (text !== undefined) yield text
      }
      taken += outputs.length
      const next = Math.min(...outputs.map(numberOf))
      // Other hosts do not number what they have, and give all of it at once.
      if (!Number.isSafeInteger(next) || (before !== undefined && next >= before)) return
      before = next
    }
  }

  async close(): Promise<void> {}

  async #page(before: number | undefined, signal?: AbortSignal): Promise<readonly Found[]> {
    const query = { limit: limits.page, ...(before !== undefined && { before }) }
    try {
      const { status, text } = await this.#outside.fetch({
        url: `${this.#url}/lookup`,
        body: JSON.stringify({ service: marketService, query }),
        timeoutMs: limits.timeoutMs,
        maxReplyBytes: limits.pageBytes,
        signal,
      })
      if (status !== 200) throw new MarketError('ERR_BUSY', `the host answers with status ${status}`)
      return OutputList.parse(JSON.parse(text)).outputs
    } catch (cause) {
      signal?.throwIfAborted()
      if (cause instanceof MarketError && cause.code === 'ERR_BUSY') throw cause
      throw new MarketError('ERR_BUSY', `${this.#url} cannot be reached, or hosts no adverts`, { cause })
    }
  }
}

/** Undefined where there is no token. Whether it is on a chain is not asked: its text is checked as any other. */
function textIn(found: Found): string | undefined {
  const output = outputOf(found)
  try {
    return output && readToken(output.script).text
  } catch (error) {
    if (error instanceof MarketError) return undefined
    throw error
  }
}

function numberOf({ context }: Found): number {
  return context === undefined ? Number.NaN : Number(String.fromCharCode(...context.slice(0, 16)) || 'none')
}
