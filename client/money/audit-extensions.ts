/** What renewals of contracts have extended: asked for at each audit, and kept in the journal as the relay signed it. */
import { z } from 'zod'
import type { Cursor } from '../../contracts/api.ts'
import { Extensions } from '../../contracts/audit/extensions.ts'
import { isContractPurse } from '../../contracts/escrow/bearing.ts'
import { Extension, extensionLimits } from '../../contracts/receipt.ts'
import type { Key } from '../../market/units.ts'
import { ClientError } from '../errors.ts'
import { passed } from '../home/audits.ts'
import { bearingsAt } from '../home/contracts.ts'
import type { Home } from '../home/home.ts'
import { append, journalOf } from '../home/journal.ts'
import { ask } from '../wire/ask.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { PageCheck } from '../wire/places.ts'

/** Of one audit: pages, which may be empty, and what they extend, at some 300 bytes each. */
const [mostPages, mostExtensions] = [100_000, 1_000_000]

/** Whether contracts here may have been renewed: each has a purse, and the next one another. */
export const mayBeRenewed = (purses: readonly { readonly purse: string }[]): boolean =>
  purses.filter(({ purse }) => isContractPurse(purse)).length > 1

/**
 * Fetches what was extended since the last time, and says where the next time begins; it is in the journal then.
 * @throws ERR_UNTRUSTED for pages that lead nowhere, and as `ask`
 */
export async function fetchExtensions(
  home: Home,
  connection: Connection,
  options: CallOptions,
): Promise<Cursor> {
  const { key: relay, url } = connection.address
  const limit = extensionLimits.page
  const check = new PageCheck()
  let cursor = (await passed(home, relay)).extended
  let left = mostExtensions
  for (let count = 0; count < mostPages && left >= 0; count++) {
    const request = { type: 'extensions' as const, limit, ...(cursor !== undefined && { cursor }) }
    const { text, answer } = await ask(connection, request, options)
    if ('error' in answer) {
      // A relay that was restored does not know where we were.
      if (answer.error.code !== 'ERR_EXPIRED' || cursor === undefined) throw answer.error
      cursor = undefined
      continue
    }
    const { result, cursor: next, more } = answer.reply
    check.take({ reply: answer.reply, limit, now: connection.clock.now })
    left -= result.length
    if (result.length > 0 && left >= 0) await append(home, relay, [{ extended: text }])
    cursor = next
    if (!more && left >= 0) return next
  }
  throw new ClientError('ERR_UNTRUSTED', `what ${url} has extended does not end`)
}

const SignedPage = z.looseObject({
  msg: z.looseObject({ request: z.looseObject({ result: z.array(Extension) }) }),
})

/** What a page that was kept says. @throws ERR_DAMAGED: without it an audit could accuse an honest relay */
export function extensionsIn(text: string): Extension[] {
  try {
    return SignedPage.parse(JSON.parse(text)).msg.request.result
  } catch (cause) {
    throw new ClientError(
      'ERR_DAMAGED',
      'what a relay has signed of renewals is damaged in the journal',
      cause,
    )
  }
}

/** All that is known of records which audits look at, as far as our contracts there went. */
export async function knownExtensions(home: Home, relay: Key): Promise<Extensions> {
  const known = new Extensions(await bearingsAt(home, relay))
  for await (const { line } of journalOf(home, relay, (await passed(home, relay)).offset))
    if ('extended' in line) for (const extension of extensionsIn(line.extended)) known.add(extension)
  return known
}
