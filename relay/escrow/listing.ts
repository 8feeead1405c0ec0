/** All contracts of a store as they stand, for whoever follows or lists them. */
import { signedIn } from '../../contracts/escrow/server-payments.ts'
import { fundedOf } from '../../contracts/escrow/server-state.ts'
import { serverDeadline } from '../../contracts/escrow/server-machine.ts'
import type { Hash } from '../../market/units.ts'
import { findContract, type Kept } from '../store/contracts.ts'
import { allContracts, contractOfKey } from '../store/keys.ts'
import type { Store } from '../store/store.ts'
import { owedOf, paidBy } from './books.ts'
import { termsOf } from './funding.ts'

const chunkRows = 256

export interface Named {
  readonly id: Hash
  readonly kept: Kept
}

/** @param table `n`: those that are not over */
export async function contractsIn(store: Store, table: 'k' | 'n'): Promise<Named[]> {
  return (await idsIn(store, table)).flatMap((id) => {
    const kept = findContract(store, id)
    return kept === undefined ? [] : { id, kept }
  })
}

export async function idsIn(store: Pick<Store, 'scan'>, table: 'k' | 'n'): Promise<Hash[]> {
  const found: Hash[] = []
  const scan = store.scan(allContracts(table))
  try {
    for (;;) {
      const rows = await scan.next(chunkRows)
      if (rows.length === 0) return found
      for (const [key] of rows) found.push(contractOfKey(key))
    }
  } finally {
    await scan.close()
  }
}

/** A contract in numbers, for its operator. Satoshi, unix seconds. */
export async function summaryOf(store: Store, { id, kept }: Named, now: number) {
  const { owner, facts, state } = kept
  const live = fundedOf(state)
  const terms = termsOf(state)
  const { owed, reserved } = await owedOf(store, now, { owner, id })
  return {
    contract: id,
    owner,
    state: state.state,
    budget: terms?.budget ?? 0,
    owed,
    reserved,
    ...signedIn(live),
    earned: paidBy(state),
    depth: live?.depth ?? 0,
    txid: live?.joint.txid ?? null,
    spend: state.state === 'closed' ? state.spend : null,
    expiry: terms?.expiry ?? null,
    /** When something is done by itself at the latest. */
    deadline: serverDeadline(state) ?? null,
    isBooked: facts.isBooked,
  }
}
