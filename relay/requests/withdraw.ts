/** Credit that its owner has paid back (docs/protocol.md §4.9). */
import { MarketError } from '../../market/errors.ts'
import type { Till } from '../till/till.ts'
import type { Answer, HandlerDeps, Message } from './handlers.ts'

/** A transaction with its unmined ancestors, in base64, and the fields beside it. */
export const withdrawalBytes = 512 * 1024

/** A repeat of the same signed request gets the same withdrawal: its hash is the id. */
export async function withdraw(
  { till }: HandlerDeps,
  { request, from, sealed }: Message<'withdraw'>,
): Promise<Answer> {
  const satoshis = request.satoshis === undefined ? undefined : BigInt(request.satoshis)
  const result = await needTill(till()).withdraw({ owner: from, id: sealed.hash, satoshis })
  return { body: { result } }
}

/** @throws ERR_FORBIDDEN where there is none */
export function needTill(till: Till | undefined): Till {
  if (till !== undefined) return till
  throw new MarketError('ERR_FORBIDDEN', 'this relay has no wallet: it takes and pays back no coins')
}
