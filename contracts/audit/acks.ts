/** What receivers acknowledged: an ack counts for the record and the receiver that it names, and for no other read. */
import type { Hash } from '../../market/units.ts'

export class Acks {
  /** Of each read the path it is said to be of; of several only where somebody claims a read that is not his. */
  readonly #paths = new Map<Hash, string | Set<string>>()

  /** The receiver of the record at `path` says that it came by the read `re`. */
  add(path: string, re: Hash): void {
    const known = this.#paths.get(re)
    if (known === undefined) this.#paths.set(re, path)
    else if (typeof known !== 'string') known.add(path)
    else if (known !== path) this.#paths.set(re, new Set([known, path]))
  }

  has(path: string, re: Hash): boolean {
    const known = this.#paths.get(re)
    return typeof known === 'string' ? known === path : known?.has(path) === true
  }
}
