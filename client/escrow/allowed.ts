/** What may be signed over in a contract: its budget, what its user allowed for it, and what this run is allowed to. */
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { type KeptContract, termsOf } from '../home/contracts.ts'
import type { RecordId } from '../../market/record.ts'
import type { Site } from './site.ts'

/** What is to go up, and what its user allowed for it when it was sent. */
export interface Payee {
  readonly recordId: RecordId
  readonly maxSpend?: number | undefined
}

type At = { readonly ctx: Pick<Site['ctx'], 'maxSpend'> }

/** In all, ever; satoshi. */
export const allowedIn = ({ ctx }: At, kept: KeptContract): number =>
  Math.min(
    kept.maxSpend ?? Number.POSITIVE_INFINITY,
    termsOf(kept).budget,
    ctx.maxSpend ?? Number.POSITIVE_INFINITY,
  )

/** @throws ERR_COST saying what would help, for more than what may be signed over; what was signed before is signed */
export function checkAllowed(site: At, kept: KeptContract, needed: number, payee?: Payee): void {
  const allowed = allowedIn(site, kept)
  const before = 'settled' in kept.state ? kept.state.settled : 0
  if (needed <= Math.max(allowed, before)) return
  const id = kept.id.slice(0, 16)
  throw new ClientError(
    'ERR_COST',
    `${payee === undefined ? 'this' : `the record ${payee.recordId}`} needs ${needed} satoshi to be signed over in the contract ` +
      `${id}, and ${allowed} are allowed. What helps: ${more(site, { kept, needed, payee })}; deleting old records, or waiting until they expire`,
  )
}

function more(
  { ctx }: At,
  { kept, needed, payee }: { kept: KeptContract; needed: number; payee: Payee | undefined },
): string {
  const id = kept.id.slice(0, 16)
  const { recordId, maxSpend = needed } = payee ?? {}
  if (maxSpend < needed)
    return `it keeps the --max-spend it was sent with: relay delete ${recordId}, and send it again with a higher one, or none`
  if ((ctx.maxSpend ?? needed) < needed) return 'a higher --max-spend, or none'
  if ((kept.maxSpend ?? needed) < needed) return `relay contract pay ${id} --max-spend ${needed}`
  return `relay contract topup ${id}`
}

/** The same context, signing over no more than so many satoshi in any contract. */
export const withLimit = (ctx: Context, maxSpend: number | undefined): Context =>
  maxSpend === undefined ? ctx : { ...ctx, maxSpend: Math.min(maxSpend, ctx.maxSpend ?? maxSpend) }
