/** What the network refused is tried again later each time: neither it nor the log is hammered. */
import { MarketError } from '../../market/errors.ts'
import { putBounded } from '../../market/lru.ts'

/** Between two tries, twice as long each time. */
const [leastMs, mostMs] = [30_000, 600_000]
/** Tries that are remembered. */
const remembered = 10_000

export class Patience {
  readonly #failed = new Map<
    string,
    { readonly until: number; readonly waitMs: number; readonly error: MarketError }
  >()

  /** @param isAsked somebody waits for it: it is tried at once @throws while it waits, what it threw last */
  async run(name: string, now: number, act: () => Promise<void>, { isAsked = false } = {}): Promise<void> {
    const last = this.#failed.get(name)
    if (last !== undefined && now < last.until && !isAsked) throw last.error
    try {
      await act()
      this.#failed.delete(name)
    } catch (error) {
      if (error instanceof MarketError && error.code === 'ERR_TRANSACTION_REFUSED') {
        const waitMs = last === undefined ? leastMs : Math.min(2 * last.waitMs, mostMs)
        putBounded(this.#failed, name, { until: now + waitMs, waitMs, error }, remembered)
      }
      throw error
    }
  }
}
