/** The channels `overlay:self` and `overlay:URL` of a relay that advertises. */
import { OverlayChannel, publishToken } from '../../contracts/overlay/channel.ts'
import { AdvertTokens } from '../../contracts/overlay/tokens.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import type { AdvertChannel, Outside } from '../../market/channels/channel.ts'
import { isCode, MarketError } from '../../market/errors.ts'
import type { Overlay } from './overlay.ts'

export interface OverlayChannelDeps {
  /** Of the relay, whose coins make the tokens. @throws ERR_BUSY while there is none */
  readonly wallet: () => EmbeddedWallet
  /** What it hosts itself. */
  readonly overlay: Overlay | undefined
  readonly outside: Pick<Outside, 'fetch'>
}

const submitMs = 30_000
const answerBytes = 64 << 10

/** Opens channels of one relay: they share its tokens, of which each advert has one. */
export class OverlayChannels {
  readonly #deps: OverlayChannelDeps
  readonly #tokens: AdvertTokens

  constructor(deps: OverlayChannelDeps) {
    this.#deps = deps
    this.#tokens = new AdvertTokens(deps.wallet)
  }

  /** @param target `self`, or the URL of a host @throws ERR_MALFORMED for `self` where nothing is hosted */
  open(name: string, target: string): AdvertChannel {
    const tokens = this.#tokens
    if (target === 'self') return this.#own(name)
    const submit = (beef: Uint8Array, topics: readonly string[], signal?: AbortSignal) =>
      submitTo(target, { beef, topics, signal })
    return new OverlayChannel(name, target, this.#deps.outside, { publishing: { tokens, submit } })
  }

  #own(name: string): AdvertChannel {
    const { overlay } = this.#deps
    if (overlay === undefined)
      throw new MarketError('ERR_MALFORMED', `${name}: this relay hosts no overlay: it takes a chain`)
    const submit = (beef: Uint8Array, topics: readonly string[]) => overlay.submit({ beef, topics })
    return {
      name,
      publish: (text, signal) => publishToken(text, { tokens: this.#tokens, submit }, signal),
      // Its own adverts, which nobody need be told by himself.
      async *read() {},
      close: async () => {},
    }
  }
}

/** As `POST /submit` of BRC-22. @throws ERR_BUSY when nobody answers; what the host refuses it with */
export async function submitTo(
  url: string,
  { beef, topics, signal }: { beef: Uint8Array; topics: readonly string[]; signal?: AbortSignal | undefined },
): Promise<unknown> {
  const timeout = AbortSignal.timeout(submitMs)
  let response: Response
  let text: string
  try {
    response = await fetch(`${url}/submit`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', 'x-topics': JSON.stringify(topics) },
      body: Uint8Array.from(beef),
      redirect: 'error',
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    })
    text = await textOf(response)
  } catch (cause) {
    throw new MarketError('ERR_BUSY', `the overlay of ${url} cannot be reached`, { cause })
  }
  const answer = parsed(text)
  if (response.ok) return answer
  const { code, message } = (answer ?? {}) as { code?: unknown; message?: unknown }
  const sentence = typeof message === 'string' ? message.slice(0, 200) : `status ${response.status}`
  throw new MarketError(isCode(code) ? code : 'ERR_BUSY', `the overlay of ${url}: ${sentence}`)
}

async function textOf({ body }: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of body ?? []) {
    bytes += part.length
    if (bytes > answerBytes) throw new Error(`an answer of more than ${answerBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
