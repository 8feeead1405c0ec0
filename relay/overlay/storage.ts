/** What the engine of @bsv/overlay keeps, on LevelDB. Nothing is on disk before the rows are committed (rows.ts). */
import type { STEAK } from '@bsv/sdk'
import type { Output } from '@bsv/overlay/Output.ts'
import type { AppliedTransaction, Storage } from '@bsv/overlay/storage/Storage'
import { formatOutpoint, type Outpoint } from '../../contracts/transaction/transaction.ts'
import { big, row, text, uint } from '../store/codec.ts'
import type { Rows } from './rows.ts'

export type Admittance = STEAK[string]

/** `height` is one more than that of its block, 0 while it is in none. */
const OutputRow = row('output of an overlay', 1, {
  script: text,
  satoshis: uint,
  spent: uint,
  consumed: text,
  consumedBy: text,
  height: uint,
  score: uint,
})
const AppliedRow = row('transaction of an overlay', 1, { at: uint, answer: text })
const ScoreRow = row('score of a host', 1, { since: big })

type Place = Output['consumedBy'][number]

export class LevelStorage implements Storage {
  readonly #rows: Rows
  readonly #now: () => number
  readonly #topics: readonly string[]
  /** How many transactions are remembered. */
  #applied = 0

  /** @param topics all there are */
  static async open(rows: Rows, now: () => number, topics: readonly string[]): Promise<LevelStorage> {
    const storage = new LevelStorage(rows, now, topics)
    for await (const _ of rows.under('a!')) storage.#applied++
    return storage
  }

  private constructor(rows: Rows, now: () => number, topics: readonly string[]) {
    this.#rows = rows
    this.#now = now
    this.#topics = topics
  }

  get applied(): number {
    return this.#applied
  }

  async insertOutput(output: Output): Promise<void> {
    const { txid, outputIndex, topic, beef } = output
    const name = nameOf({ txid, vout: outputIndex }, topic)
    this.#put(output)
    if (beef !== undefined) this.#rows.put(`b!${name}`, Buffer.from(beef))
  }

  async findOutput(
    txid: string,
    outputIndex: number,
    topic?: string,
    spent?: boolean,
    includeBEEF = false,
  ): Promise<Output | null> {
    const outpoint = { txid, vout: outputIndex }
    if (topic !== undefined) return this.#find(nameOf(outpoint, topic), spent, includeBEEF) ?? null
    const found = this.#topics.map((name) => this.#find(nameOf(outpoint, name), spent, includeBEEF))
    return found.find((output) => output !== undefined) ?? null
  }

  async findOutputsForTransaction(txid: string, includeBEEF = false): Promise<Output[]> {
    const found: Output[] = []
    for await (const [key] of this.#rows.under(`o!${txid}.`))
      found.push(this.#find(key.slice(2), undefined, includeBEEF)!) // it was just there
    return found
  }

  async findUTXOsForTopic(
    topic: string,
    since = 0,
    limit = Number.POSITIVE_INFINITY,
    includeBEEF = false,
  ): Promise<Output[]> {
    const found: Output[] = []
    for await (const [key] of this.#rows.under('o!')) {
      const output = this.#find(key.slice(2), false, false)
      if (output?.topic === topic && (output.score ?? 0) >= since) found.push(output)
    }
    found.sort((one, other) => (one.score ?? 0) - (other.score ?? 0))
    return found.slice(0, limit).map((output) => {
      const name = nameOf({ txid: output.txid, vout: output.outputIndex }, topic)
      return this.#find(name, false, includeBEEF) ?? output
    })
  }

  async deleteOutput(txid: string, outputIndex: number, topic: string): Promise<void> {
    this.remove({ txid, vout: outputIndex }, topic)
  }

  async markUTXOAsSpent(txid: string, outputIndex: number, topic: string): Promise<void> {
    this.#change({ txid, outputIndex, topic }, { spent: true })
  }

  async updateConsumedBy(
    txid: string,
    outputIndex: number,
    topic: string,
    consumedBy: Place[],
  ): Promise<void> {
    this.#change({ txid, outputIndex, topic }, { consumedBy })
  }

  async updateTransactionBEEF(txid: string, beef: number[]): Promise<void> {
    for (const output of await this.findOutputsForTransaction(txid))
      this.putBeef({ txid, vout: output.outputIndex }, output.topic, Uint8Array.from(beef))
  }

  async updateOutputBlockHeight(
    txid: string,
    outputIndex: number,
    topic: string,
    blockHeight: number,
  ): Promise<void> {
    this.#change({ txid, outputIndex, topic }, { blockHeight })
  }

  async insertAppliedTransaction({ txid, topic }: AppliedTransaction): Promise<void> {
    this.answer(txid, topic, { outputsToAdmit: [], coinsToRetain: [] })
  }

  async doesAppliedTransactionExist({ txid, topic }: AppliedTransaction): Promise<boolean> {
    return this.answerOf(txid, topic) !== undefined
  }

  async updateLastInteraction(host: string, topic: string, since: number): Promise<void> {
    this.#rows.put(scoreKey(host, topic), ScoreRow.encode({ since: BigInt(Math.trunc(since)) }))
  }

  async getLastInteraction(host: string, topic: string): Promise<number> {
    const stored = this.#rows.get(scoreKey(host, topic))
    return stored === undefined ? 0 : Number(ScoreRow.decode(stored).since)
  }

  /** What a transaction came to: the same again is answered the same. */
  answerOf(txid: string, topic: string): Admittance | undefined {
    const stored = this.#rows.get(`a!${txid}!${topic}`)
    return stored === undefined ? undefined : JSON.parse(AppliedRow.decode(stored).answer)
  }

  answer(txid: string, topic: string, answer: Admittance): void {
    const key = `a!${txid}!${topic}`
    if (this.#rows.get(key) === undefined) this.#applied++
    this.#rows.put(key, AppliedRow.encode({ at: this.#now(), answer: JSON.stringify(answer) }))
  }

  /** It may be submitted again. */
  forget(txid: string, topic: string): void {
    const key = `a!${txid}!${topic}`
    if (this.#rows.get(key) === undefined) return
    this.#applied--
    this.#rows.put(key, undefined)
  }

  /** Forgets what was applied before `time`, and outputs that are spent. */
  async forgetBefore(time: number): Promise<void> {
    for await (const [key] of this.#rows.under('o!')) {
      const output = this.#find(key.slice(2), true, false)
      if (output !== undefined) this.remove({ txid: output.txid, vout: output.outputIndex }, output.topic)
    }
    for await (const [key, value] of this.#rows.under('a!')) {
      const [, txid, topic] = key.split('!')
      if (AppliedRow.decode(value).at < time) this.forget(txid!, topic!) // by the form of the key
    }
  }

  beefOf(outpoint: Outpoint, topic: string): Buffer | undefined {
    return this.#rows.get(`b!${nameOf(outpoint, topic)}`)
  }

  putBeef(outpoint: Outpoint, topic: string, beef: Uint8Array): void {
    this.#rows.put(`b!${nameOf(outpoint, topic)}`, Buffer.from(beef))
  }

  remove(outpoint: Outpoint, topic: string): void {
    for (const table of ['o', 'b']) this.#rows.put(`${table}!${nameOf(outpoint, topic)}`, undefined)
  }

  #change({ txid, outputIndex, topic }: Pick<Output, 'txid' | 'outputIndex' | 'topic'>, to: Partial<Output>) {
    const found = this.#find(nameOf({ txid, vout: outputIndex }, topic), undefined, false)
    if (found !== undefined) this.#put({ ...found, ...to })
  }

  #put(output: Output): void {
    const { txid, outputIndex, topic, outputScript, satoshis, spent, outputsConsumed, consumedBy } = output
    this.#rows.put(
      `o!${nameOf({ txid, vout: outputIndex }, topic)}`,
      OutputRow.encode({
        script: Buffer.from(outputScript).toString('base64'),
        satoshis,
        spent: spent ? 1 : 0,
        consumed: JSON.stringify(outputsConsumed),
        consumedBy: JSON.stringify(consumedBy),
        height: output.blockHeight === undefined ? 0 : output.blockHeight + 1,
        score: output.score ?? 0,
      }),
    )
  }

  #find(name: string, spent: boolean | undefined, includeBEEF: boolean): Output | undefined {
    const stored = this.#rows.get(`o!${name}`)
    if (stored === undefined) return undefined
    const found = OutputRow.decode(stored)
    if (spent !== undefined && (found.spent === 1) !== spent) return undefined
    const [outpoint, topic] = name.split('!')
    const [txid, vout] = outpoint!.split('.') // by the form of the key, as the topic
    const beef = includeBEEF ? this.#rows.get(`b!${name}`) : undefined
    return {
      ...{ txid: txid!, outputIndex: Number(vout), topic: topic! },
      outputScript: [...Buffer.from(found.script, 'base64')],
      satoshis: found.satoshis,
      spent: found.spent === 1,
      outputsConsumed: JSON.parse(found.consumed),
      consumedBy: JSON.parse(found.consumedBy),
      score: found.score,
      ...(found.height > 0 && { blockHeight: found.height - 1 }),
      ...(beef !== undefined && { beef: [...beef] }),
    }
  }
}

const nameOf = (outpoint: Outpoint, topic: string): string => `${formatOutpoint(outpoint)}!${topic}`
const scoreKey = (host: string, topic: string): string => `l!${Buffer.from(host).toString('hex')}!${topic}`
