/** What went wrong, in words that help. */
import { z } from 'zod'
import { deepBlocks } from '../../contracts/escrow/amounts.ts'
import { Quote } from '../../contracts/account.ts'
import { codeOf, isUnpaid, messageOf, type Refused, RefusedByAll } from '../errors.ts'

const room = 'deleting old records (relay delete); waiting until records expire'
export const help = {
  room,
  credit: `paying in (relay deposit) or a grant from its operator; ${room}`,
  cheaper: 'a shorter --ttl or fewer --max-pulls',
} as const

/** The error's own sentence; where credit is missing, how much at which relay, and what helps. */
export function explain(error: unknown): string {
  // What Node says of whatever was under way when the user interrupted.
  if (error instanceof Error && error.name === 'AbortError') return 'interrupted'
  if (!isUnpaid(error)) return codeOf(error) === 'ERR_LIMIT' ? inDays(messageOf(error)) : messageOf(error)
  // What all refuse is not kept: it has no name for its user.
  const isNamed = !(error instanceof RefusedByAll)
  const all = (error instanceof RefusedByAll ? error.all : [error]).map((one) => shortage(one, { isNamed }))
  const helps = new Set(all.flatMap((one) => one.helps))
  return `${all.map(({ text }) => text).join('; ')}. What helps: ${[...helps].join('; ')}; ${help.cheaper}`
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
/** What is known here of who is refused (escrow/paying.ts). */
const Known = z.object({ contract: z.string(), depth: z.number() })
const Named = z.object({ recordId: z.string() })

interface Shortage {
  readonly text: string
  readonly helps: readonly string[]
}

function shortage(refused: Refused, { isNamed }: { readonly isNamed: boolean }): Shortage {
  const lent = ContractQuote.safeParse(refused.extras.quote).data
  if (lent !== undefined) return shortageIn(refused, lent)
  const quote = Quote.safeParse(refused.extras.quote)
  if (!quote.success) return { text: refused.message, helps: [help.credit] }
  const { satoshis, available = '0' } = quote.data
  const recordId = isNamed ? Named.safeParse(refused.extras).data?.recordId : undefined
  const what =
    recordId === undefined ? 'this' : `the record ${recordId} (relay delete ${recordId} gives it up)`
  const text = `${refused.relay} needs ${satoshis} satoshi for ${what}, and ${available} are available to you there`
  return { text, helps: [help.credit] }
}

function shortageIn({ relay, extras }: Refused, lent: z.infer<typeof ContractQuote>): Shortage {
  const { owed, reserved, credit, paidNeeded } = lent
  const { contract, depth = deepBlocks } = Known.safeParse(extras).data ?? {}
  const id = contract?.slice(0, 16) ?? relay
  const text = `the contract with ${relay} lends ${credit} satoshi, ${owed} are owed and ${reserved} reserved`
  if (paidNeeded !== undefined)
    return { text, helps: [`having ${paidNeeded} signed over (relay contract pay ${id})`, help.room] }
  const wait = `waiting until its funding is ${deepBlocks} blocks deep, then all writes are taken; it was ${depth} when it was seen last (relay agent looks)`
  const more = `a larger budget, if this one is used (relay contract topup ${id})`
  return { text, helps: depth < deepBlocks ? [wait] : [more, help.room] }
}
