/** Until when a transaction is locked. */
import { finalSequence, type Transaction } from './transaction.ts'

/** Below it a lock is a height, from it on unix seconds. */
const threshold = 500_000_000

/** Where a transaction is to be mined: a block, and the median time past of the one before it. */
export interface Next {
  readonly height: number
  readonly medianTime: number
}

/** Whether it may be in that block: strictly later than its lock, or no input says that the lock counts. */
export function isFinal({ lockTime, inputs }: Transaction, { height, medianTime }: Next): boolean {
  if (lockTime < (lockTime < threshold ? height : medianTime)) return true
  return inputs.every(({ sequence }) => sequence === finalSequence)
}

/** Whether it is not locked at all: every block may have it. */
export const isUnlocked = (transaction: Transaction): boolean =>
  isFinal(transaction, { height: 1, medianTime: 0 })
