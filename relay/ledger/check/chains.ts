/** The chain of each purse of an owner (contracts/usage.ts), computed anew from his pull log as far as that goes back. */
import { usageAfter, usageStart } from '../../../contracts/usage.ts'
import { fromHex, toHex } from '../../../market/bytes.ts'
import { formatPath } from '../../../market/record.ts'
import type { Hash, Key } from '../../../market/units.ts'
import { timeOf } from '../../store/place.ts'
import { noHash, type Pull, type Purse } from '../../store/rows.ts'
import type { Findings } from './findings.ts'

export class ChainsCheck {
  readonly #owner: Key
  readonly #findings: Findings
  /** Of each purse the last pull that was seen. */
  readonly #last = new Map<string, { readonly seq: number; readonly chain: Hash }>()

  constructor(owner: Key, findings: Findings) {
    this.#owner = owner
    this.#findings = findings
  }

  /** Every pull in the log, in the order of places. */
  look(place: number, pull: Pull): void {
    const { purse, seq, chain } = pull
    if (purse === '') {
      if (seq !== 0 || chain !== noHash) this.#say(place, pull, 'it is free, but has a place in a chain')
      return
    }
    // Of the first one there is, those before may have left the log: what it says is where the chain begins.
    const first = seq === 1 ? { seq: 0, chain: toHex(usageStart(purse)) } : undefined
    const before = this.#last.get(purse) ?? first
    if (before !== undefined) {
      if (seq !== before.seq + 1)
        this.#say(place, pull, `it has number ${seq} and must have ${before.seq + 1}`)
      if (chain !== this.#after(before.chain, place, pull))
        this.#say(place, pull, 'its chain does not follow from the pull before it')
    }
    this.#last.set(purse, { seq, chain })
  }

  /** After all pulls: what is wrong with the row of a purse, as a part of a sentence. */
  compare(purse: string, { pulls, chain }: Purse): string[] {
    const start = pulls === 0 ? { seq: 0, chain: toHex(usageStart(purse)) } : undefined
    const last = this.#last.get(purse) ?? start
    // When all pulls have left the log nothing tells where its chain stood.
    if (last === undefined || (last.seq === pulls && last.chain === chain)) return []
    return [
      `its chain is at pull ${pulls} (${chain.slice(0, 8)}), the pull log ends with ${last.seq} (${last.chain.slice(0, 8)})`,
    ]
  }

  #after(before: Hash, place: number, { receiver, recordId, bytes, seq, re }: Pull): Hash {
    const path = formatPath({ owner: this.#owner, receiver, recordId })
    const signed = re === noHash ? null : re
    return toHex(usageAfter(fromHex(before), { at: timeOf(place), bytes, path, re: signed, seq }))
  }

  #say(place: number, { recordId, purse }: Pull, what: string): void {
    this.#findings.say(
      `the pull ${place} of ${this.#owner} (${recordId}, purse ${purse || 'of nobody'}): ${what}`,
    )
  }
}
