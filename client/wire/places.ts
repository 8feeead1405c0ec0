/** How far a relay may move the place from which we go on reading (docs/protocol.md §4.4): what is skipped is lost unseen. */
import type { Cursor } from '../../contracts/api.ts'
import { protocolLimits } from '../../market/units.ts'
import { ClientError, Refused } from '../errors.ts'

export const placeLimits = {
  /** How far beyond our time a place may lie: clocks differ, and a burst runs ahead. */
  aheadMs: 3_600_000,
  /** Pages that say there is more and bring us no further; one may be a race. */
  idlePages: 2,
} as const

/** The time of arrival a place stands for. */
export const timeOf = (cursor: Cursor): number => Math.floor(placeOf(cursor) / placesPerMs)

/** True for a place no honest relay has reached: all that arrives until then would be passed over. */
export const isTooFar = (cursor: Cursor, now: number): boolean => timeOf(cursor) > now + placeLimits.aheadMs

/**
 * Where to go on after a relay ended the epoch of `cursor`; undefined when `error` does not say so with a signature.
 * Never later than the place we were at, whatever it says: between the two lies what we have not seen.
 */
export function resumeAfter(error: unknown, cursor: Cursor, now: number): { afterTs: number } | undefined {
  if (!(error instanceof Refused) || !error.signed || error.code !== 'ERR_EXPIRED') return undefined
  const { resumeTs } = error.extras
  const asked = Number.isSafeInteger(resumeTs) ? (resumeTs as number) : 0 // a safe integer is a number
  const latest = Math.min(timeOf(cursor), now + protocolLimits.freshFutureMs)
  return { afterTs: Math.max(0, Math.min(asked, latest)) }
}

/** One answer of a list, and what it was asked for. */
export interface Page {
  readonly reply: { readonly result: readonly unknown[]; readonly cursor: Cursor; readonly more: boolean }
  readonly limit: number
  readonly now: number
}

/** Follows one list from page to page. @throws ERR_UNTRUSTED for a page no honest relay gives */
export class PageCheck {
  #last: Cursor | undefined
  #idle = 0

  take({ reply: { result, cursor, more }, limit, now }: Page): void {
    if (result.length > limit) throw untrusted(`lists ${result.length} records where ${limit} were asked for`)
    if (isTooFar(cursor, now)) throw untrusted('gives a place in the future')
    if (more && this.#last !== undefined && !isBeyond(cursor, this.#last)) {
      this.#idle += 1
      if (this.#idle >= placeLimits.idlePages) throw untrusted('gives a list that does not go on')
    }
    this.#last = cursor
  }
}

/** The form `<epoch>.<place>` is published (§4.4); only places of one epoch can be compared. */
export const epochOf = (cursor: Cursor): string => cursor.split('.')[0]! // by its schema
export const placeOf = (cursor: Cursor): number => Number(cursor.split('.')[1])

/** Later than `other`, or of another epoch, which came in its place. */
export const isBeyond = (cursor: Cursor, other: Cursor): boolean =>
  epochOf(cursor) !== epochOf(other) || placeOf(cursor) > placeOf(other)

const placesPerMs = 1024

const untrusted = (what: string): ClientError => new ClientError('ERR_UNTRUSTED', `the relay ${what}`)
