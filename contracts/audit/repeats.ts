/** Finding reads that were billed twice among millions, with eight bytes for each. */
import type { Hash } from '../../market/units.ts'
import type { UsagePull } from '../usage.ts'

/** The first 48 bits of a hash. */
export function prefixOf(hash: Hash): number {
  let value = 0
  for (let index = 0; index < 12; index++) {
    const code = hash.charCodeAt(index)
    value = value * 16 + (code < 58 ? code - 48 : code - 87)
  }
  return value
}

/** The prefixes of all reads. */
export class ReadPrefixes {
  #values = new Float64Array(1024)
  #count = 0

  add(re: Hash): void {
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(this.#count * 2)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.#count++] = prefixOf(re)
  }

  sorted = (): Float64Array => this.#values.slice(0, this.#count).sort()
}

/**
 * The pulls whose read was billed for an earlier one, each with the first that had it.
 * @param prefixes of the reads of all pulls: only where two are equal are the pulls themselves compared
 */
export function repeatedReads(
  prefixes: ReadPrefixes,
  pulls: () => Iterable<UsagePull>,
): Map<UsagePull, UsagePull> {
  const found = new Map<UsagePull, UsagePull>()
  const suspects = equalOnes(prefixes.sorted())
  if (suspects.size === 0) return found
  const firsts = new Map<Hash, UsagePull>()
  const some = [...pulls()].filter(({ re }) => re !== null && suspects.has(prefixOf(re)))
  for (const pull of some.sort((a, b) => a.seq - b.seq)) {
    const re = pull.re! // filtered
    const first = firsts.get(re)
    if (first === undefined) firsts.set(re, pull)
    else if (first.seq !== pull.seq) found.set(pull, first)
  }
  return found
}

function equalOnes(values: Float64Array): Set<number> {
  const equal = new Set<number>()
  for (let index = 1; index < values.length; index++)
    if (values[index] === values[index - 1]) equal.add(values[index]!)
  return equal
}
