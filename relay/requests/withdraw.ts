/** Credit that its owner has paid back (docs/protocol.md §4.9). */
import { MarketError } from '../../market/errors.ts'
import type { Answer, HandlerDeps, Message } from './handlers.ts'

/** A transaction with its unmined ancestors, in base64, and the fields beside it. */
export const withdrawalBytes = 512 * 1024

/** A repeat of the same signed request gets the same withdrawal: its hash is the id. */
export async function withdraw(
  { till }: HandlerDeps,
  { request, from, sealed }: Message<'withdraw'>,
): Promise<Answer> {
  const open = till()
  if (open === undefined)
    throw new MarketError('ERR_FORBIDDEN', 'this relay sees no chain: nothing is paid in or out here')
  const satoshis = request.satoshis === undefined ? undefined : BigInt(request.satoshis)
  const result = await open.withdraw({ owner: from, id: sealed.hash, satoshis })
  return { body: { result } }
}
