/** What following the chain is made of, and what one pass reports. */
import type { MarketError } from '../../../market/errors.ts'
import type { Place } from '../../chain/chain.ts'
import type { Txid } from '../../transaction/transaction.ts'
import type { WalletParts } from '../wallet-parts.ts'

export type SyncParts = Pick<WalletParts, 'keys' | 'store' | 'chain' | 'now'> & {
  /** `watchLimits.recoveryAhead` unless said. */
  readonly recoveryAhead?: number
}

export const syncLimits = {
  /** Blocks read by one pass. */
  blocks: 100,
  /** Blocks after which the place is kept: what a crash makes us read again. */
  stepBlocks: 10,
  /** Transactions of the mempool fetched by one pass; the others come with the next. */
  mempool: 1000,
  /** New coins of the mempool that one pass asks about; what spends the others is found when it is in a block. */
  asked: 200,
  /** Failed actions, the newest, that may turn out to be on the network under another id. */
  twins: 1000,
  /** Actions that one pass asks about; the next goes on behind them. */
  actions: 500,
  /** Actions without an answer after which a pass stops: a network that is away is not asked about all of them. */
  unanswered: 3,
  /** Questions to the chain at a time. */
  concurrent: 8,
  /** A wallet without a past begins so many blocks below the tip. */
  birthdayBlocks: 6,
  /** Proofs of so many blocks are checked whenever the tip changes, and further down from one that does not hold. */
  settledBlocks: 100,
  /** Coins spent by others, and failed actions, that are looked at again after a fork; the newest. */
  reviewed: 10_000,
} as const

/** What a pass did. Numbers are of this pass alone. */
export interface SyncReport {
  /** Of the best chain, when it was asked. */
  readonly tip?: Place
  /** The last block that was read; where blocks cannot be read there is none. */
  readonly scanned?: Place
  /** Nothing is left to be read: another pass is needed when something happens, not before. */
  readonly isCurrent: boolean
  /** Coins found on counted keys, and what they are worth. */
  readonly found: number
  readonly satoshis: number
  /** Coins that transactions of others spent. */
  readonly spent: number
  /** Coins that turned out to be unspent after all. */
  readonly unspent: number
  readonly proven: number
  /** Proofs that a reorganisation took back. */
  readonly unproven: number
  readonly accepted: number
  /** Sent again, because the network had forgotten them. */
  readonly sent: number
  readonly failed: number
  /** Reservations that were over. */
  readonly released: number
  /** Not taken by the network now, and not proven never to be: they are sent again by the next pass. */
  readonly waiting: readonly Txid[]
  /** The network did not answer to the end: everything up to there is done, and the next pass goes on. */
  readonly unavailable?: MarketError
}

/** A report while it is being written. */
export type Tally = { -readonly [K in keyof SyncReport]: SyncReport[K] } & { waiting: Txid[] }

export const newTally = (): Tally => ({
  ...{ isCurrent: false, found: 0, satoshis: 0, spent: 0, unspent: 0, proven: 0, unproven: 0 },
  ...{ accepted: 0, sent: 0, failed: 0, released: 0, waiting: [] },
})
