/** Adverts on the hosts of an overlay (docs/protocol.md §12.7): read by anybody, published by a relay that has coins. */
import { z } from 'zod'
import { type AdvertChannel, channelLimits, type Outside } from '../../market/channels/channel.ts'
import { MarketError } from '../../market/errors.ts'
import { type Headers, parseBeef, verifyBeef } from '../transaction/beef.ts'
import { marketService, marketTopic, readToken, textOfScript } from './token.ts'
import type { AdvertTokens } from './tokens.ts'

export const overlayChannelLimits = {
  page: 100,
  /** As JSON a byte of a transaction takes up to four. */
  pageBytes: 8 << 20,
  timeoutMs: 15_000,
} as const

/** What a relay publishes with. */
export interface Publishing {
  readonly tokens: AdvertTokens
  /** Hands a BEEF to a host, for topics. @returns the STEAK @throws MarketError when it is refused, or nobody answers */
  readonly submit: (beef: Uint8Array, topics: readonly string[], signal?: AbortSignal) => Promise<unknown>
}

export interface OverlayChannelOptions {
  /** What proves transactions; without it an output is no more than the text in it. */
  readonly headers?: Headers | undefined
  readonly publishing?: Publishing | undefined
}

// Every byte is looked at once: a schema of each would cost more than all that is read.
const Bytes = z.custom<number[]>(
  (value) =>
    Array.isArray(value) && value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255),
)
const Answer = z.object({
  type: z.literal('output-list'),
  outputs: z
    .array(z.object({ beef: Bytes, outputIndex: z.int().min(0), context: Bytes.optional() }))
    .max(10 * overlayChannelLimits.page),
})
const Indices = z.array(z.int().min(0)).optional()
const Admittance = z.object({ outputsToAdmit: Indices, coinsToRetain: Indices, coinsRemoved: Indices })
const Steak = z.record(z.string(), Admittance)

type Found = z.infer<typeof Answer>['outputs'][number]

export class OverlayChannel implements AdvertChannel {
  readonly name: string
  readonly #url: string
  readonly #outside: Pick<Outside, 'fetch'>
  readonly #options: OverlayChannelOptions

  /** @param url of the host, without a trailing slash */
  constructor(
    name: string,
    url: string,
    outside: Pick<Outside, 'fetch'>,
    options: OverlayChannelOptions = {},
  ) {
    this.name = name
    this.#url = url
    this.#outside = outside
    this.#options = options
  }

  async publish(text: string, signal?: AbortSignal): Promise<void> {
    const { publishing } = this.#options
    if (publishing === undefined)
      throw new MarketError('ERR_FORBIDDEN', 'only a relay that has coins publishes on an overlay')
    await publishToken(text, publishing, signal)
  }

  async *read(signal?: AbortSignal): AsyncGenerator<string> {
    let before: number | undefined
    for (let taken = 0; taken < channelLimits.texts; ) {
      const outputs = await this.#page(before, signal)
      for (const found of outputs) {
        const text = await this.#textIn(found)
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
    const query = { limit: overlayChannelLimits.page, ...(before !== undefined && { before }) }
    try {
      const { status, text } = await this.#outside.fetch({
        url: `${this.#url}/lookup`,
        body: JSON.stringify({ service: marketService, query }),
        timeoutMs: overlayChannelLimits.timeoutMs,
        maxReplyBytes: overlayChannelLimits.pageBytes,
        signal,
      })
      if (status !== 200) throw new MarketError('ERR_BUSY', `the host answers with status ${status}`)
      return Answer.parse(JSON.parse(text)).outputs
    } catch (cause) {
      signal?.throwIfAborted()
      if (cause instanceof MarketError && cause.code === 'ERR_BUSY') throw cause
      throw new MarketError('ERR_BUSY', `${this.#url} cannot be reached, or hosts no adverts`, { cause })
    }
  }

  /** Undefined where there is no token, or the chain says that it is none. */
  async #textIn({ beef: bytes, outputIndex }: Found): Promise<string | undefined> {
    const { headers } = this.#options
    try {
      const beef = parseBeef(Uint8Array.from(bytes))
      const script = beef.subject.transaction.outputs[outputIndex]?.script
      if (script === undefined) return undefined
      readToken(script)
      if (headers !== undefined) await verifyBeef(beef, headers).catch(unlessAway)
      return textOfScript(script)
    } catch (error) {
      if (error instanceof MarketError) return undefined
      throw error
    }
  }
}

/**
 * Resolves when a host has the token of this advert.
 * @throws as `AdvertTokens.beefFor` and `submit`; ERR_CONFLICT when the host admits it not
 */
export async function publishToken(
  text: string,
  { tokens, submit }: Publishing,
  signal?: AbortSignal,
): Promise<void> {
  const beef = await tokens.beefFor(text)
  if (beef === undefined) return
  const steak = Steak.safeParse(await submit(beef, [marketTopic], signal))
  const admittance = steak.data?.[marketTopic]
  if ((admittance?.outputsToAdmit?.length ?? 0) > 0) return
  throw new MarketError('ERR_CONFLICT', 'the host does not admit this advert')
}

/** Without an answer of the chain it is as if there was none: the text is checked by its reader. */
function unlessAway(error: unknown): void {
  if (!(error instanceof MarketError) || error.code !== 'ERR_CHAIN_UNAVAILABLE') throw error
}

function numberOf({ context }: Found): number {
  return context === undefined ? Number.NaN : Number(String.fromCharCode(...context.slice(0, 16)) || 'none')
}
