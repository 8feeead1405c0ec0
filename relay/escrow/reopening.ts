/** Contracts that were opened or renewed after the backup that a relay was restored from: the payment log brings them back. */
import { renewing } from '../../contracts/escrow/server-payments.ts'
import { liveOf, newServer } from '../../contracts/escrow/server-state.ts'
import { machineTimes } from '../../contracts/escrow/machine.ts'
import { parseTransaction, txidOf } from '../../contracts/transaction/transaction.ts'
import { fromHex } from '../../market/bytes.ts'
import type { Hash } from '../../market/units.ts'
import type { Batch } from '../store/batch.ts'
import {
  findContract,
  freeStake,
  type Kept,
  newFacts,
  putContract,
  putEscrows,
  takeStake,
  withSpend,
} from '../store/contracts.ts'
import { bookBudget } from './books.ts'
import { termsOf } from './funding.ts'
import type { EscrowParts } from './parts.ts'
import type { Logged, Opened } from './payment-log.ts'

/** Of a contract whose funding is signed. */
export function openedLine(contract: Hash, { owner, facts, state }: Kept): Opened {
  const { openedAt, request, funding, ours, renews, tx } = facts
  const terms = termsOf(state)
  if (tx === null || terms === undefined) throw new Error('only a contract that is signed is written down')
  return {
    ...{ type: 'opened', contract, owner, terms, tx },
    facts: { openedAt, request, funding, ours, renews },
  }
}

/** Those that the store does not know, as they were when they began, but held; with the money that is in them. */
export async function reopen(
  { store, keys, random }: Pick<EscrowParts, 'store' | 'keys' | 'random'>,
  logged: ReadonlyMap<Hash, Logged>,
  heldFor: number,
): Promise<void> {
  for (const { opened } of logged.values()) {
    if (opened === null || opened.terms.server !== keys.identity) continue
    if (findContract(store, opened.contract)?.facts.tx != null) continue
    const jitter = Math.floor(random() * machineTimes.alarmSeconds)
    await store.commit((batch) => takeUp(batch, opened, { jitter, heldFor }))
  }
}

function takeUp(
  batch: Batch,
  { contract: id, owner, terms, facts: known, tx }: Opened,
  { jitter, heldFor }: { jitter: number; heldFor: number },
): void {
  const txid = txidOf(parseTransaction(fromHex(tx)))
  const facts = newFacts({ ...known, tx, heldFor, joints: [txid] })
  const was = newServer(terms, { txid, jitter, earned: facts.renews?.paid ?? 0 })
  for (const stake of [...facts.funding.stakes, ...(facts.ours === null ? [] : [facts.ours.stake])]) {
    freeStake(batch, stake) // an opening that came to nothing may have had it
    takeStake(batch, stake, id)
  }
  putContract(batch, id, { owner, facts, state: { state: 'held', was } })
  bookBudget(batch, owner, { id, terms })
  putEscrows(batch, owner, { current: id, opening: undefined })
  const old = facts.renews === null ? undefined : findContract(batch, facts.renews.id)
  const live = old && liveOf(old.state)
  if (facts.renews === null || old === undefined || live === undefined) return
  putContract(batch, facts.renews.id, {
    owner,
    facts: withSpend(old.facts, { txid, end: { kind: 'rollover' } }),
    state: { state: 'held', was: renewing(live, { terms, paid: facts.renews.paid }) },
  })
}
