/** A relay's report of what a purse was used for, page by page, with the receivers' signed reads (docs/protocol.md §4.10). */
import type { Cursor } from '../../contracts/api.ts'
import type { ReportPage } from '../../contracts/audit/books.ts'
import { moment } from '../../contracts/audit/findings.ts'
import { usageLimits } from '../../contracts/usage.ts'
import { protocolLimits } from '../../market/units.ts'
import { ClientError } from '../errors.ts'
import { ask } from '../wire/ask.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { PageCheck } from '../wire/places.ts'

/** Of one report: more pulls than a relay keeps evidence of. */
const mostPages = 100_000
/** How far a relay's clock may be ahead of what we know of it: beyond, our requests would be stale to it, and it says so. */
export const aheadMs = protocolLimits.freshPastMs

export interface PageOptions extends CallOptions {
  /** Where an earlier report ended. */
  readonly cursor?: Cursor | undefined
  /** `at` of that report: no later one is of an earlier time. */
  readonly since?: number | undefined
  /** Only pulls of this time: later than the first, not later than the second. */
  readonly between?: readonly [afterTs: number, beforeTs: number] | undefined
}

/** A page, and where the next one begins. */
export interface UsagePage extends ReportPage {
  readonly cursor: Cursor
}

/**
 * All pages, oldest pulls first; the last one says what the whole purse has come to. A relay that was restored does not
 * know the place where we were: then it begins with its first pull again.
 * @throws ERR_UNTRUSTED for pages that lead nowhere or are of a time that cannot be, ERR_NOT_FOUND where it has no such purse, and as `ask`
 */
export async function* usagePages(
  connection: Connection,
  account: string,
  { cursor: from, since = 0, between, ...options }: PageOptions,
): AsyncGenerator<UsagePage, void> {
  const { url } = connection.address
  const limit = usageLimits.page
  const check = new PageCheck()
  let cursor = from
  for (let count = 0; ; count++) {
    if (count >= mostPages) throw new ClientError('ERR_UNTRUSTED', `the report of ${url} does not end`)
    const bounds = {
      ...(between && cursor === undefined && { afterTs: between[0] }),
      ...(between && { beforeTs: between[1] }),
    }
    const at = { ...bounds, ...(cursor !== undefined && { cursor }) }
    const request = { type: 'RequestUsage' as const, account, limit, evidence: true, ...at }
    const { asked, text, answer } = await ask(connection, request, options)
    if ('error' in answer) {
      if (answer.error.code !== 'ERR_EXPIRED' || cursor === undefined) throw answer.error
      cursor = undefined
      continue
    }
    const { result: report, cursor: next, more } = answer.reply
    if (report.account !== account)
      throw new ClientError(
        'ERR_UNTRUSTED',
        `${url} reports of the purse ${report.account} instead of ${account}`,
      )
    if (report.at < since || report.at > connection.clock.now + aheadMs)
      throw new ClientError(
        'ERR_UNTRUSTED',
        `${url} reports of ${moment(report.at)}, which ${report.at < since ? 'an earlier report of it has passed' : 'has not come yet'}`,
      )
    check.take({ reply: { result: report.pulls, cursor: next, more }, limit, now: connection.clock.now })
    yield { report, more, text, asked, cursor: next }
    if (!more) return
    cursor = next
  }
}
