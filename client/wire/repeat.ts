/** When a request may be said again, and in which words (docs/protocol.md §2, §4.3). */
import type { Request, RequestOf } from '../../contracts/api.ts'
import type { Sealed } from '../../market/envelope.ts'
import { MarketError } from '../../market/errors.ts'
import { Refused } from '../errors.ts'
import type { Outcome } from './answer.ts'

/** A read is repeated only while the relay is sure to remember it: a margin below the 120 s of freshness. */
export const repeatableMs = 90_000
/** Rounds one element may take: each round of large answers carries at least one more of them. */
export const repeatsInBatch = 256

export const isStale = (error: unknown): boolean => error instanceof Refused && error.code === 'ERR_STALE'
export const isReplayed = (error: unknown): boolean =>
  error instanceof MarketError && error.code === 'ERR_REPLAYED'

/**
 * Whether a repetition must be the same message: so a relay knows that it did this already and gives the same
 * result, and a read is not a second pull. What only asks is refused when it comes twice.
 */
export function keepsText({ type }: Request, failure: unknown): boolean {
  const kept = ['read', 'store', 'delete', 'withdraw']
  return !isStale(failure) && kept.includes(type)
}

export type SealedRead = Sealed<RequestOf<'read'>>

/** What a connection needs so that no read of its relay is paid for twice. */
export interface ReadMemory {
  recall(relay: string, path: string): Promise<SealedRead | undefined>
  remember(read: SealedRead): Promise<void>
  forget(relay: string, path: string): Promise<void>
}

/** True when a read gave nothing to keep: the next one of its path is a new one. */
export const isOver = (outcome: Outcome): boolean =>
  'error' in outcome
    ? outcome.error instanceof Refused && outcome.error.signed
    : 'record' in outcome.answer && outcome.answer.record === undefined
