/** The same payment under another id: who passes a transaction on can change how it is unlocked, not what it does. */
import { equal } from '../../../market/bytes.ts'
import { isCoinbase } from '../../transaction/beef.ts'
import { formatOutpoint, type Transaction, type Txid } from '../../transaction/transaction.ts'
import type { CoinStore } from '../coins/store.ts'
import { syncLimits } from './parts.ts'

interface Waiting {
  readonly number: number
  readonly txid: Txid
}

export class Twins {
  readonly #store: CoinStore
  /** Of actions that are not in blocks, by the outpoint that they spend first. */
  readonly #byFirst = new Map<string, Waiting[]>()

  constructor(store: CoinStore) {
    this.#store = store
  }

  /** From the store; of those that failed the newest, because the network may have had a twin of them all the time. */
  async load(): Promise<void> {
    this.#byFirst.clear()
    const open = await this.#waiting('sending', 'unproven', 'nosend')
    const failed = await this.#waiting('failed')
    for (const waiting of [...open, ...failed.slice(-syncLimits.twins)]) {
      const input = this.#store.member(waiting.txid)?.transaction.inputs[0]
      if (input === undefined) continue
      const first = formatOutpoint(input)
      this.#byFirst.set(first, [...(this.#byFirst.get(first) ?? []), waiting])
    }
  }

  /** The number of the action of ours that is this transaction under another id. */
  find(txid: Txid, transaction: Transaction): number | undefined {
    const [input] = transaction.inputs
    const waiting = input && this.#byFirst.get(formatOutpoint(input))
    if (waiting === undefined || isCoinbase(transaction) || this.#store.actionOf(txid) !== undefined) return
    return waiting.find((action) => {
      const own = this.#store.member(action.txid)
      const isStill = this.#store.action(action.number)?.txid === action.txid
      return isStill && own !== undefined && isSame(own.transaction, transaction)
    })?.number
  }

  async #waiting(...states: Parameters<CoinStore['actionsIn']>): Promise<Waiting[]> {
    const found: Waiting[] = []
    for await (const { number, txid } of this.#store.actionsIn(...states))
      if (txid !== undefined) found.push({ number, txid })
    return found.sort((a, b) => a.number - b.number)
  }
}

const isSame = (one: Transaction, other: Transaction): boolean =>
  one.inputs.length === other.inputs.length &&
  one.outputs.length === other.outputs.length &&
  one.inputs.every((input, at) => formatOutpoint(input) === formatOutpoint(other.inputs[at]!)) && // as many
  one.outputs.every(({ satoshis, script }, at) => {
    const twin = other.outputs[at]! // as many
    return satoshis === twin.satoshis && equal(script, twin.script)
  })
