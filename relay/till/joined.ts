/** What is done once at a time for each name: whoever asks meanwhile gets what comes of it. */
import { MarketError } from '../../market/errors.ts'
import type { Name } from '../store/payments.ts'

export class Joined<T> {
  readonly #most: number
  readonly #running = new Map<string, Promise<T>>()

  /** @param most different names at once */
  constructor(most: number) {
    this.#most = most
  }

  has(name: Name): boolean {
    return this.#running.has(idOf(name))
  }

  /**
   * @param mostOfOwner so many of his at once, with this one
   * @throws ERR_BUSY, and what `act` throws
   */
  run(name: Name, act: () => Promise<T>, mostOfOwner = this.#most): Promise<T> {
    const id = idOf(name)
    const running = this.#running.get(id)
    if (running !== undefined) return running
    if (this.#running.size >= this.#most || this.#countOf(name) >= mostOfOwner)
      return Promise.reject(
        new MarketError('ERR_BUSY', 'too much money is being moved: ask again', {
          extras: { retryAfterMs: 1000 },
        }),
      )
    const done = act().finally(() => this.#running.delete(id))
    this.#running.set(id, done)
    return done
  }

  #countOf({ owner }: Name): number {
    return [...this.#running.keys()].filter((id) => id.startsWith(owner)).length
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#running.values())
  }
}

const idOf = ({ owner, hash }: Name): string => `${owner} ${hash}`
