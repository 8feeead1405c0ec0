/**
 * What every way by which adverts travel can do (docs/protocol.md §12.4). A channel carries texts and is trusted with nothing:
 * whatever it yields is checked by its reader, and what it withholds another channel may have.
 */
export interface AdvertChannel {
  /** As it was named by its user, e.g. `irc://irc.example/relays`. */
  readonly name: string
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
  close(): Promise<void>
}

export const channelLimits = {
  /** How many texts are taken of one reading. */
  texts: 100_000,
  /** How long a channel may be silent while it is read. */
  silenceMs: 5_000,
} as const
