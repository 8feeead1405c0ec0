/** What can be typed to name a contract. */
import { isLive } from '../../contracts/escrow/client-machine.ts'
import { parseAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import type { Context } from '../context.ts'
import { type KeptContract, keptContracts, termsOf } from '../home/contracts.ts'
import { isNamed } from '../people/relays.ts'
import { isOver } from './tend.ts'

/**
 * By its id, the beginning of it, or the relay it is with: then the one that is open, not one that is only on its way into its
 * place; or else the last. @throws ERR_NOT_FOUND, ERR_CONFLICT
 */
export async function contractNamed(
  { home }: Pick<Context, 'home'>,
  reference: string,
): Promise<KeptContract> {
  const all = await keptContracts(home)
  const byId = /^[0-9a-f]{4,64}$/.test(reference) ? all.filter(({ id }) => id.startsWith(reference)) : []
  if (byId.length > 1)
    throw new MarketError('ERR_CONFLICT', `${reference} is the beginning of several contracts`)
  const withRelay = all.filter(
    (kept) =>
      termsOf(kept).server === reference ||
      (kept.relay !== null && isNamed(parseAddress(kept.relay), reference)),
  )
  const open = withRelay.findLast(({ state }) => isLive(state)) ?? withRelay.findLast((kept) => !isOver(kept))
  const found = byId[0] ?? open ?? withRelay.at(-1)
  if (found === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no contract ${reference}`)
  return found
}
