/** Orders as they come: a name and JSON. */
import type { z } from 'zod'
import { MarketError } from '../../market/errors.ts'

export type Table = Readonly<Record<string, z.ZodType>>

/**
 * Has `target`, which has a method for each order of the table, carry one out until `signal` is aborted.
 * @throws ERR_MALFORMED, and what the order throws
 */
export async function executeOrder(
  table: Table,
  target: object,
  { order, args, signal }: { order: string; args: unknown; signal: AbortSignal },
): Promise<unknown> {
  if (!Object.hasOwn(table, order)) throw new MarketError('ERR_MALFORMED', `there is no order ${order}`)
  const parsed = table[order]!.safeParse(args)
  if (!parsed.success) throw new MarketError('ERR_MALFORMED', `${order}: ${sentence(parsed.error)}`)
  // Its parameter is what its schema gives.
  const carryOut = (target as Record<string, (args: unknown, signal: AbortSignal) => Promise<unknown>>)[
    order
  ]!
  return carryOut.call(target, parsed.data, signal)
}

/** What does not fit first of all, and where. */
function sentence({ issues: [issue] }: z.ZodError): string {
  const { path, message } = issue! // every ZodError has one
  return path.length === 0 ? message : `${path.join('.')}: ${message}`
}
