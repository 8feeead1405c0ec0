/** What went wrong, in words that help. */
import { z } from 'zod'
import { Quote } from '../../contracts/account.ts'
import { codeOf, isUnpaid, messageOf, type Refused, RefusedByAll } from '../errors.ts'

export const help = {
  credit:
    'paying in (relay deposit) or a grant from its operator; deleting old records (relay delete); waiting until records expire',
  cheaper: 'a shorter --ttl or fewer --max-pulls',
} as const

/** The error's own sentence; where credit is missing, how much at which relay, and what helps. */
export function explain(error: unknown): string {
  // What Node says of whatever was under way when the user interrupted.
  if (error instanceof Error && error.name === 'AbortError') return 'interrupted'
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

/** Of a purse that is a contract. Without `paidNeeded` no payment helps now. */
const ContractQuote = z.object({
  owed: z.number(),
  reserved: z.number(),
  credit: z.number(),
  paidNeeded: z.number().optional(),
})

function shortage(refused: Refused): string {
  const lent = ContractQuote.safeParse(refused.extras.quote).data
  if (lent !== undefined) {
    const { owed, reserved, credit, paidNeeded } = lent
    const helps =
      paidNeeded === undefined
        ? 'its funding is not deep enough for more, or its budget is used (relay contract show, topup)'
        : `it goes on with ${paidNeeded} signed over (relay contract pay)`
    return `the contract with ${refused.relay} lends ${credit} satoshi, ${owed} are owed and ${reserved} reserved: ${helps}`
  }
  const quote = Quote.safeParse(refused.extras.quote)
  if (!quote.success) return refused.message
  const { satoshis, available = '0' } = quote.data
  return `${refused.relay} needs ${satoshis} satoshi for this, and ${available} are available to you there`
}
