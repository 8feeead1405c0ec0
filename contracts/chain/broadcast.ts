/** Sending a transaction, and being sure of what became of it. */
import { MarketError } from '../../market/errors.ts'
import { isFinal, isUnlocked } from '../transaction/lock-time.ts'
import { parseTransaction, type Transaction, type Txid, txidOf } from '../transaction/transaction.ts'
import type { Refusal, Tip, TransactionStatus } from './chain.ts'

/** The network's word that it will not take a transaction as it is. */
export class Rejection extends Error {
  readonly refusal: Refusal

  constructor(refusal: Refusal, reason: string) {
    super(reason)
    this.name = 'Rejection'
    this.refusal = refusal
  }
}

export interface Way {
  readonly shown: string
  /** @throws Rejection; anything else when it is not clear whether it was taken, with the reason as its message */
  send(): Promise<Txid>
  status(txid: Txid): Promise<TransactionStatus>
  tip(): Promise<Tip>
}

/** As `Chain.broadcast` says. */
export async function broadcast(bytes: Uint8Array, way: Way): Promise<Txid> {
  const transaction = parseTransaction(bytes)
  const txid = txidOf(bytes)
  // A node would answer with success, and park it where it is not mined, but keeps its inputs from being spent.
  if (!isUnlocked(transaction) && !isOpen(transaction, await way.tip()))
    throw refused(way, 'non-final', `it is locked until ${transaction.lockTime}`)
  try {
    const sent = await way.send()
    if (sent === txid) return txid
    throw new MarketError('ERR_INTERNAL', `${way.shown}: its name for ${txid} is another`)
  } catch (error) {
    // Whatever was said, or not: what counts is whether it is there. Nodes report what they already have as an error, and
    // what is in a block and spent since as one without inputs.
    const { state } = await way.status(txid)
    if (state !== 'unknown') return txid
    if (error instanceof Rejection) throw refused(way, error.refusal, error.message)
    if (error instanceof MarketError && error.code === 'ERR_INTERNAL') throw error
    const said = (error as Error).message // nothing else is thrown
    throw new MarketError(
      'ERR_CHAIN_UNAVAILABLE',
      `whether ${way.shown} has taken ${txid} is not clear: ${said}`,
      {
        cause: error,
      },
    )
  }
}

/** Whether the next block may have it. */
const isOpen = (transaction: Transaction, { height, medianTime }: Tip): boolean =>
  isFinal(transaction, { height: height + 1, medianTime })

const refused = ({ shown }: Way, refusal: Refusal, reason: string): MarketError =>
  new MarketError('ERR_TRANSACTION_REFUSED', `${shown} refuses the transaction: ${reason}`, {
    extras: { refusal, reason },
  })
