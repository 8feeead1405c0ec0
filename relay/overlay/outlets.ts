/** `overlay:self` and `overlay:URL`: where the relay's own advert goes as a token (docs/protocol.md §12.7). */
import { z } from 'zod'
import { marketTopic } from '../../contracts/overlay/token.ts'
import { AdvertTokens } from '../../contracts/overlay/tokens.ts'
import type { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { type Outlet, saidBy } from '../../market/channels/channel.ts'
import { isCode, MarketError } from '../../market/errors.ts'
import { textOf, within } from '../market/outside.ts'
import type { Overlay, Submission } from './overlay.ts'

export interface OutletDeps {
  /** Of the relay, whose coins make the tokens. @throws ERR_BUSY while there is none */
  readonly wallet: () => EmbeddedWallet
  /** What it hosts itself. */
  readonly overlay: Overlay | undefined
}

const submitMs = 30_000
const answerBytes = 64 << 10

const Steak = z.object({ [marketTopic]: z.object({ outputsToAdmit: z.array(z.int().min(0)).min(1) }) })
const Refusal = z.object({ code: z.unknown(), message: z.string() }).partial()

/**
 * Opens the outlets of one relay, by what stands behind `overlay:`; they share its tokens, of which each advert has one.
 * @throws ERR_MALFORMED for `self` where nothing is hosted
 */
export function overlayOutlets({ wallet, overlay }: OutletDeps): (target: string) => Outlet {
  const tokens = new AdvertTokens(wallet)
  return (target) => {
    const host = target === 'self' ? overlay : undefined
    if (target === 'self' && host === undefined)
      throw new MarketError('ERR_MALFORMED', 'overlay:self: this relay hosts no overlay: it takes a chain')
    return {
      async publish(text, signal) {
        const beef = await tokens.beefFor(text)
        if (beef === undefined) return
        const steak = await (host === undefined
          ? submitTo(target, { beef, topics: [marketTopic] }, signal)
          : host.submit({ beef, topics: [marketTopic] }))
        if (!Steak.safeParse(steak).success)
          throw new MarketError('ERR_CONFLICT', 'the host does not admit this advert')
      },
      async close() {},
    }
  }
}

/** As `POST /submit` of BRC-22; gives the STEAK. @throws ERR_BUSY when nobody answers; what the host refuses it with */
export async function submitTo(
  url: string,
  { beef, topics }: Submission,
  signal?: AbortSignal,
): Promise<unknown> {
  let response: Response
  let answer: unknown
  try {
    response = await fetch(`${url}/submit`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream', 'x-topics': JSON.stringify(topics) },
      body: Uint8Array.from(beef),
      redirect: 'error',
      signal: within(submitMs, signal),
    })
    answer = parsed(await textOf(response, answerBytes))
  } catch (cause) {
    throw new MarketError('ERR_BUSY', `the overlay of ${url} cannot be reached`, { cause })
  }
  if (response.ok) return answer
  const { code, message = `status ${response.status}` } = Refusal.safeParse(answer).data ?? {}
  throw new MarketError(isCode(code) ? code : 'ERR_BUSY', `the overlay of ${url}: ${saidBy(message)}`)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
