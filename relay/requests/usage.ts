/** What a purse was used for, pull by pull (docs/protocol.md §4.10). */
import { usageLimits } from '../../contracts/usage.ts'
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import { usagePage } from '../ledger/usage.ts'
import type { Answer, HandlerDeps, Message, Session } from './handlers.ts'
import { checkExamined, pageSize, placeOf } from './listings.ts'

/** A pull of a page at its longest, and its signed read, which stands in the answer as text: each of its quotes is two bytes. */
const pullBytes = 512
const readBytes = 1536

export class UsageReports {
  readonly #deps: HandlerDeps
  /** Whose report is being made: one at a time of each. */
  readonly #inFlight = new Set<Key>()

  constructor(deps: HandlerDeps) {
    this.#deps = deps
  }

  /** @throws ERR_LIMIT while another of this sender is being answered, ERR_NOT_FOUND for a purse he does not have */
  async answer({ request, from }: Message<'RequestUsage'>, { examine }: Session): Promise<Answer> {
    const { store, limits, now } = this.#deps
    const { account, beforeTs, evidence = false } = request
    checkExamined(examine)
    if (this.#inFlight.has(from)) {
      const extras = { retryAfterMs: 1000 }
      throw new MarketError('ERR_LIMIT', 'another report of the sender is being made', { extras })
    }
    this.#inFlight.add(from)
    try {
      const query = {
        owner: from,
        purse: account,
        after: placeOf(store, request),
        before: beforeTs === undefined ? undefined : store.placeAfter(beforeTs),
        limit: usagePageSize(limits, request.limit),
        evidence,
        examine,
      }
      const { report, place, more } = await usagePage(store, query, now())
      return { body: { result: report, cursor: store.cursorOf(place), more } }
    } finally {
      this.#inFlight.delete(from)
    }
  }

  /** An upper bound on the bytes of such a page. */
  answerBytes({ limit, evidence = false }: Message<'RequestUsage'>['request']): number {
    return usagePageSize(this.#deps.limits, limit) * (pullBytes + (evidence ? readBytes : 0))
  }
}

const usagePageSize = (limits: { page: number }, limit: number | undefined): number =>
  Math.min(pageSize(limits, limit), usageLimits.page)
