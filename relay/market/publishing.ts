/** One channel that the relay's advert is to reach: tried until it has it, with patience. */
import { MarketError } from '../../market/errors.ts'
import type { Outlet } from '../../market/channels/channel.ts'
import type { Hash } from '../../market/units.ts'
import type { Log } from '../store/committer.ts'

export const patience = {
  firstMs: 30_000,
  mostMs: 30 * 60_000,
  /** For one try. A slow channel sends a line at a time. */
  tryMs: 180_000,
} as const

export interface Outcome {
  readonly channel: string
  /** `waiting`: not tried yet, or not since the advert changed. */
  readonly outcome: 'published' | 'failed' | 'waiting'
  /** Of the last try. */
  readonly at: number | null
  readonly error: string | null
  /** When it is tried again. */
  readonly retryAt: number | null
}

export interface PublishingOptions {
  readonly name: string
  readonly open: (name: string) => Promise<Outlet>
  readonly now: () => number
  readonly log: Pick<Log, 'warn'>
  readonly signal: AbortSignal
}

export class Publishing {
  readonly #options: PublishingOptions
  #outlet: Outlet | undefined
  /** The advert that the channel has. */
  #published: Hash | undefined
  #last: { at: number; error: MarketError | undefined } | undefined
  #failures = 0
  readonly #tries = { published: 0, failed: 0 }
  #retryAt = 0
  #running: Promise<void> | undefined

  constructor(options: PublishingOptions) {
    this.#options = options
  }

  /** What became of `hash`. */
  outcomeOf(hash: Hash | undefined): Outcome {
    const { name: channel } = this.#options
    const { at = null, error } = this.#last ?? {}
    const isPublished = hash !== undefined && this.#published === hash
    return {
      channel,
      outcome: isPublished ? 'published' : error === undefined ? 'waiting' : 'failed',
      at,
      error: isPublished || error === undefined ? null : `${error.code}: ${error.message}`,
      retryAt: isPublished || error === undefined ? null : this.#retryAt,
    }
  }

  /** How often it was tried, by how that ended. */
  get tries(): { readonly published: number; readonly failed: number } {
    return this.#tries
  }

  /** Forgets how often it failed. */
  hurry(): void {
    this.#failures = 0
    this.#retryAt = 0
  }

  /** Hands the advert over, unless the channel has it or is to be left in peace. Resolves when that was tried. Never rejects. */
  async publish(advert: { readonly text: string; readonly hash: Hash }): Promise<void> {
    const { now, signal } = this.#options
    await this.#running
    if (signal.aborted || this.#published === advert.hash || now() < this.#retryAt) return this.#running
    this.#running ??= this.#try(advert).finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async close(): Promise<void> {
    await this.#running
    await this.#outlet?.close().catch(() => {})
  }

  async #try({ text, hash }: { text: string; hash: Hash }): Promise<void> {
    const { name, open, now, log, signal } = this.#options
    try {
      this.#outlet ??= await open(name)
      await this.#outlet.publish(text, AbortSignal.any([signal, AbortSignal.timeout(patience.tryMs)]))
      this.#published = hash
      this.#last = { at: now(), error: undefined }
      this.hurry()
      this.#tries.published += 1
    } catch (cause) {
      if (signal.aborted) return
      const error =
        cause instanceof MarketError ? cause : new MarketError('ERR_BUSY', messageOf(cause), { cause })
      const { retryAfterMs } = error.extras
      const backoff = Math.min(patience.mostMs, patience.firstMs * 2 ** this.#failures)
      this.#failures = Math.min(this.#failures + 1, 16)
      // A stranger may ask for patience, not for all of it.
      const asked = typeof retryAfterMs === 'number' ? Math.min(patience.mostMs, retryAfterMs) : 0
      this.#retryAt = now() + Math.max(backoff, asked)
      // Once, until it goes well: `relayd advert show` has the rest.
      if (this.#last?.error === undefined)
        log.warn({ channel: name, reason: error.message }, 'a channel does not take the advert')
      this.#last = { at: now(), error }
      this.#tries.failed += 1
    }
  }
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))
