/** The roots of headers that were asked for, as long as no block could have taken their place. */
import type { Txid } from '../transaction/transaction.ts'
import type { Place } from './chain.ts'

const rootCacheLimits = {
  roots: 4096,
  /** Blocks on top of one that is not asked about again when the tip changes. */
  settledDepth: 100,
} as const

export class RootCache {
  readonly #roots = new Map<number, Txid>()
  #tip: Txid | undefined

  /** @param tip of now: when it is another than before, what is not settled is forgotten */
  get(height: number, tip: Place): Txid | undefined {
    if (this.#tip !== tip.hash) {
      for (const known of this.#roots.keys())
        if (known > tip.height - rootCacheLimits.settledDepth) this.#roots.delete(known)
      this.#tip = tip.hash
    }
    return this.#roots.get(height)
  }

  /** @param tip the one before `root` was asked for: when it has changed since, the answer may be one of before */
  set({ height, root }: { height: number; root: Txid }, tip: Place): void {
    if (this.#tip !== tip.hash) return
    const [oldest] = this.#roots.keys()
    if (this.#roots.size >= rootCacheLimits.roots && oldest !== undefined) this.#roots.delete(oldest)
    this.#roots.set(height, root)
  }
}
