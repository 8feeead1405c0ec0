/** What went wrong, in words that help. */
import { Quote } from '../../contracts/account.ts'
import { codeOf, isUnpaid, messageOf, type Refused, RefusedByAll } from '../errors.ts'

export const help = {
  credit:
    'paying in (relay deposit) or a grant from its operator; deleting old records (relay delete); waiting until records expire',
  cheaper: 'a shorter --ttl or fewer --max-pulls',
} as const

/** The error's own sentence; where credit is missing, how much at which relay, and what helps. */
export function explain(error: unknown): string {
  if (!isUnpaid(error)) return codeOf(error) === 'ERR_LIMIT' ? inDays(messageOf(error)) : messageOf(error)
  const all = error instanceof RefusedByAll ? error.all : [error]
  return `${all.map(shortage).join('; ')}. What helps: ${help.credit}; ${help.cheaper}`
}

/** Relays count in seconds; nobody else does. */
const inDays = (text: string): string =>
  text.replaceAll(
    /\b(\d{5,12}) seconds\b/g,
    (_, seconds: string) => `${Math.floor(Number(seconds) / 86_400)} days`,
  )

function shortage(refused: Refused): string {
  const quote = Quote.safeParse(refused.extras.quote)
  if (!quote.success) return refused.message
  const { satoshis, available = '0' } = quote.data
  return `${refused.relay} needs ${satoshis} satoshi for this, and ${available} are available to you there`
}
