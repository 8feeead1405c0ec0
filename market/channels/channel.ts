/**
 * What every way by which adverts travel can do (docs/protocol.md §12.4). A channel carries texts and is trusted with nothing:
 * whatever it yields is checked by its reader, and what it withholds another channel may have.
 */
import type { Duplex } from 'node:stream'

export interface AdvertChannel {
  /**
   * Hands over the text of an advert. Resolves when the channel has taken it; the same text may be handed over again.
   * @throws MarketError: ERR_LIMIT (with `retryAfterMs`), ERR_BUSY, or why it was refused
   */
  publish(text: string, signal?: AbortSignal): Promise<void>
  /**
   * The texts of adverts that the channel has now, each at most `advertLimits.textBytes`, at most `channelLimits.texts` of them.
   * @throws MarketError ERR_BUSY when it cannot be reached
   */
  read(signal?: AbortSignal): AsyncIterable<string>
  /**
   * The texts that come to the channel from now on, until `signal` is aborted; absent where it has to be read again.
   * @throws MarketError ERR_BUSY when it cannot be reached, or is no longer
   */
  follow?(signal: AbortSignal): AsyncIterable<string>
  close(): Promise<void>
}

/** All that a relay needs of a channel to advertise there. */
export type Outlet = Pick<AdvertChannel, 'publish' | 'close'>

export const channelLimits = {
  /** How many texts are taken of one reading. */
  texts: 100_000,
} as const

/** What a stranger says went wrong, as far as it is repeated: a short line that no terminal obeys. */
export const saidBy = (text: string): string => text.replaceAll(/\p{C}+/gu, ' ').slice(0, 200)

/** How channels reach the world: by the rules of whoever opens them (proxies, addresses that strangers named). */
export interface Outside {
  /** One exchange, redirects not followed. @throws when nobody answers in time, or more than `maxReplyBytes` */
  fetch(request: HttpRequest): Promise<HttpReply>
  /** A connection; where `isSecure` inside of TLS, the certificate checked against `host`. @throws when it cannot be made */
  connect(to: Endpoint, signal?: AbortSignal): Promise<Duplex>
  /** Milliseconds since 1970. */
  now(): number
  /** At least 0, below 1. */
  random(): number
}

export interface HttpRequest {
  readonly url: string
  /** JSON, sent by POST; absent for GET. */
  readonly body?: string
  readonly timeoutMs: number
  readonly maxReplyBytes: number
  readonly signal?: AbortSignal | undefined
}

export interface HttpReply {
  readonly status: number
  readonly text: string
}

export interface Endpoint {
  /** A name or an address, an IPv6 one without brackets. */
  readonly host: string
  readonly port: number
  readonly isSecure: boolean
}
