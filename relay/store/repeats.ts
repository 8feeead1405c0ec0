/** How often each answered read was asked for again. Kept in memory: after a restart the count starts over. */
import { MarketError } from '../../market/errors.ts'
import { type Hash, protocolLimits } from '../../market/units.ts'

/** About 10 MB when full. Each entry stands for a read that a record paid for. */
const rememberedRepeats = 65_536

export class Repeats {
  // A Map iterates in the order of insertion, which is nearly that of `until`.
  readonly #counts = new Map<Hash, { times: number; until: number }>()

  /**
   * True the first three times; later times are replays.
   * @throws ERR_BUSY when too many reads are being repeated at once: forgetting one early would serve it too often.
   */
  allow({ hash, until }: { hash: Hash; until: number }, now: number): boolean {
    this.#forgetBefore(now)
    const count = this.#counts.get(hash) ?? { times: 0, until }
    if (count.times === protocolLimits.readRepeats) return false
    if (count.times === 0 && this.#counts.size === rememberedRepeats) {
      throw new MarketError('ERR_BUSY', 'too many reads are being repeated')
    }
    count.times++
    this.#counts.set(hash, count)
    return true
  }

  #forgetBefore(now: number): void {
    for (const [hash, { until }] of this.#counts) {
      if (until >= now) return
      this.#counts.delete(hash)
    }
  }
}
