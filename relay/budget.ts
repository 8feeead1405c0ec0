/** Memory that strangers may make the relay hold: what is being received, and answers that have not left. */
import { MarketError } from '../market/errors.ts'

/** No address may hold more than this part: the others must still be served. */
const addressShare = 1 / 4

/** A bound on bytes held at once, in total and by each network address. */
export class Budget {
  readonly #total: number
  readonly #perAddress = new Map<string, number>()
  #held = 0

  constructor(totalBytes: number) {
    this.#total = totalBytes
  }

  get heldBytes(): number {
    return this.#held
  }

  /** Begins to hold for one request; nothing yet. */
  hold(address: string): Hold {
    let own = 0
    const move = (bytes: number): void => {
      own += bytes
      this.#held += bytes
      const ofAddress = (this.#perAddress.get(address) ?? 0) + bytes
      if (ofAddress === 0) this.#perAddress.delete(address)
      else this.#perAddress.set(address, ofAddress)
    }
    return {
      take: (bytes) => {
        const ofAddress = (this.#perAddress.get(address) ?? 0) + bytes
        if (this.#held + bytes > this.#total || ofAddress > this.#total * addressShare) {
          throw new MarketError('ERR_BUSY', 'too much is in flight at once', {
            extras: { retryAfterMs: 1000 },
          })
        }
        move(bytes)
      },
      release: () => move(-own),
    }
  }
}

export interface Hold {
  /** @throws ERR_BUSY when there is no room for so many bytes more; they are not held then. */
  take(bytes: number): void
  /** Gives everything back. May be repeated. */
  release(): void
}
