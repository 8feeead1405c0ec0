/** What an opening and a renewal have in common: the terms are within the offer, and the client's stakes are there. */
import { setImmediate } from 'node:timers/promises'
import { demand } from '../../contracts/escrow/refusal.ts'
import type { Terms } from '../../contracts/escrow/terms.ts'
import type { Funding } from '../../contracts/escrow/transactions.ts'
import { type Beef, lineage, verifyBeef } from '../../contracts/transaction/beef.ts'
import { type Outpoint, serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { isDraining } from '../store/contracts.ts'
import type { EscrowParts } from './parts.ts'
import { checkAcceptable, offerOf } from './policy.ts'

/** What the scripts of one opening may cost, about 1 µs each. */
const scriptUnits = 100_000

/** @throws as `checkAcceptable` */
export function checkOffered(
  { store, policy, prices, network }: Pick<EscrowParts, 'store' | 'policy' | 'prices' | 'network'>,
  terms: Terms,
  now: number,
): void {
  const circumstances = { network, prices: prices(), isDraining: isDraining(store) }
  checkAcceptable(terms, offerOf(policy, circumstances), now)
}

/**
 * Scripts and proofs hold, the network has the stakes, and nothing has spent them; that each is in the BEEF was checked.
 * @throws ERR_TRANSACTION_REFUSED, ERR_CHAIN_UNAVAILABLE
 */
export async function checkBacked(
  { wallet }: Pick<EscrowParts, 'wallet'>,
  { beef, funding }: { beef: Beef; funding: Funding },
): Promise<void> {
  const { chain } = wallet()
  const txids = funding.stakes.map(({ txid }) => txid)
  const members = lineage(beef.members, txids)
  const subject = members.get(txids[0]!)! // there is one of each stake
  await verifyBeef({ members, subject }, chain, { left: scriptUnits, giveWay: setImmediate })
  for (const { transaction, path } of members.values())
    if (path === undefined) await chain.broadcast(serializeTransaction(transaction))
  await checkUnspent({ wallet }, funding.stakes)
}

/** @throws `stake-unproven` for a stake that the network does not have, or that is spent; ERR_CHAIN_UNAVAILABLE */
export async function checkUnspent(
  { wallet }: Pick<EscrowParts, 'wallet'>,
  stakes: readonly Outpoint[],
): Promise<void> {
  const { chain } = wallet()
  for (const stake of stakes) {
    const isThere = (await chain.isUnspent(stake)) !== false
    demand(isThere, 'stake-unproven', 'a stake is spent already')
  }
}
