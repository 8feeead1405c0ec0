/** What a check of the books finds: sentences, of which a bounded number is kept. */
import type { Key } from '../../../market/units.ts'
import { damaged } from '../../store/codec.ts'
import type { Entry } from '../../store/rows.ts'

const keptSentences = 100

export class Findings {
  readonly sentences: string[] = []
  /** Sentences that were not kept. */
  more = 0

  say(sentence: string): void {
    if (this.sentences.length < keptSentences) this.sentences.push(sentence)
    else this.more++
  }

  add(others: Findings): void {
    for (const sentence of others.sentences) this.say(sentence)
    this.more += others.more
  }

  /** The row, or undefined once it was said that it cannot be read. */
  read<T>(row: { decode(value: Buffer): T }, key: Buffer, value: Buffer, keyBytes?: number): T | undefined {
    try {
      if (keyBytes !== undefined && key.length !== keyBytes) throw damaged('a key has the wrong length')
      return row.decode(value)
    } catch (error) {
      this.say(`the row ${key.toString('hex')} cannot be read: ${(error as Error).message}`)
      return undefined
    }
  }
}

/** An entry, in a sentence about it. */
export const nameOf = (owner: Key, place: number, { what, recordId, purse }: Entry): string =>
  `the entry ${place} of ${owner} (${what}${recordId === '' ? '' : ` ${recordId}`}, purse ${purse})`
