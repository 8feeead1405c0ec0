/** The roots of headers that were asked for under one tip: with another one, any of them may be of a branch that lost. */
import type { Txid } from '../transaction/transaction.ts'

const mostRoots = 4096

export class RootCache {
  readonly #roots = new Map<number, Txid>()
  #tip: Txid | undefined

  /** @param tip the hash of the newest block of now */
  get(height: number, tip: Txid): Txid | undefined {
    if (this.#tip !== tip) {
      this.#roots.clear()
      this.#tip = tip
    }
    return this.#roots.get(height)
  }

  /** @param tip the one before `root` was asked for: when it has changed since, the answer may be one of before */
  set({ height, root }: { height: number; root: Txid }, tip: Txid): void {
    if (this.#tip !== tip) return
    const [oldest] = this.#roots.keys()
    if (this.#roots.size >= mostRoots && oldest !== undefined) this.#roots.delete(oldest)
    this.#roots.set(height, root)
  }
}
