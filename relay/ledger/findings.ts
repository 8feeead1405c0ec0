/** What a check of the books finds: sentences, of which a bounded number is kept. */
import { type Row, damaged } from '../store/codec.ts'

const keptSentences = 100

export class Findings {
  readonly sentences: string[] = []
  more = 0

  say(sentence: string): void {
    if (this.sentences.length < keptSentences) this.sentences.push(sentence)
    else this.more++
  }

  /** The row, or undefined once it was said that it cannot be read. */
  read<T>(row: Pick<Row<T>, 'decode'>, key: Buffer, value: Buffer, keyBytes?: number): T | undefined {
    try {
      if (keyBytes !== undefined && key.length !== keyBytes) throw damaged('a key has the wrong length')
      return row.decode(value)
    } catch (error) {
      this.say(`the row ${key.toString('hex')} cannot be read: ${(error as Error).message}`)
      return undefined
    }
  }
}
