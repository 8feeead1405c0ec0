/** How contracts stand beside the other purses of an account: what their relay says, next to what was signed here. */
import { creditLimit, defaultPolicy, youngLimit } from '../../contracts/escrow/amounts.ts'
import { isLive } from '../../contracts/escrow/client-machine.ts'
import { ContractsOffer } from '../../contracts/escrow/offer.ts'
import { serviceEnd } from '../../contracts/escrow/terms.ts'
import type { Purse } from '../../contracts/account.ts'
import type { Hash } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { keptContract, type KeptContract, termsOf } from '../home/contracts.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'

/** Satoshi. */
export interface ContractStanding {
  readonly contract: Hash
  readonly state: KeptContract['state']['state']
  readonly budget: number
  /** As the relay says, and as it comes to with all that live records may still cost. */
  readonly owed: number
  readonly reserved: number
  /** Signed by us: what the relay can have at most, and what is settled. */
  readonly paid: number
  readonly settled: number
  /** What the relay lends beyond what is signed, and what is left of that (and of the budget) for new records. */
  readonly credit: number
  readonly left: number
}

/** Of those purses that are contracts of this home. @throws as `Connection.info` */
export async function standingsOf(
  { home }: Pick<Context, 'home'>,
  connection: Connection,
  { at, purses }: { readonly at: number; readonly purses: readonly Purse[] },
  { signal }: CallOptions,
): Promise<ContractStanding[]> {
  const standings: ContractStanding[] = []
  for (const purse of purses) {
    const kept = /^[0-9a-f]{64}$/.test(purse.purse) ? await keptContract(home, purse.purse) : undefined
    if (kept === undefined) continue
    const offer = ContractsOffer.safeParse((await connection.info(signal)).contracts).data
    standings.push(standingOf(kept, { at, purse, policy: offer?.credit ?? defaultPolicy }))
  }
  return standings
}

type Said = { readonly at: number; readonly purse: Purse; readonly policy: ContractsOffer['credit'] }

function standingOf(kept: KeptContract, { at, purse, policy }: Said): ContractStanding {
  const { state } = kept
  const terms = termsOf(kept)
  const [owed, reserved] = [Number(purse.owed), Number(purse.reserved)]
  const live = 'was' in state ? state.was : isLive(state) ? state : undefined
  const { paid = 0, settled = 0, depth = 0 } = live ?? {}
  const credit = creditLimit(terms, policy, settled + (kept.renews?.paid ?? 0))
  const room = Math.min(terms.budget, credit + paid, youngLimit(terms, policy, depth)) - owed - reserved
  const isOpen = state.state === 'active' && at < serviceEnd(terms) * 1000
  const left = isOpen ? Math.max(0, room) : 0
  return {
    contract: kept.id,
    state: state.state,
    budget: terms.budget,
    ...{ owed, reserved, paid, settled, credit, left },
  }
}
