/** One contract goes over into the next: with more money, more time, or both. The old one lives until the new one is deep. */
import { auditAfter } from '../../contracts/escrow/amounts.ts'
import { checkSeen } from '../../contracts/escrow/checks.ts'
import { nextClient } from '../../contracts/escrow/client-machine.ts'
import { rolloverDraft } from '../../contracts/escrow/rollover.ts'
import { jointUnlocking, signJoint, signStakes } from '../../contracts/escrow/signatures.ts'
import type { Terms } from '../../contracts/escrow/terms.ts'
import { withUnlocking } from '../../contracts/escrow/transactions.ts'
import { readFunding } from '../../contracts/escrow/messages.ts'
import { serializeTransaction } from '../../contracts/transaction/transaction.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import type { Hash } from '../../market/units.ts'
import { keptContract, type KeptContract, newContract, prepaidOf, termsOf } from '../home/contracts.ts'
import { jointOf } from './ending.ts'
import { type Done, makeStake, save } from './funding.ts'
import { contractAt, momentAt, type Site, signerAt } from './site.ts'

export interface RenewalPlan {
  readonly terms: Terms
  /** To the relay for the time until now. */
  readonly paid: number
}

/** The next contract, with its stake: on disk, before the old one is told of it. Goes on with one that was begun. */
export async function beginRenewal(
  site: Site,
  old: KeptContract,
  { terms, paid, pending }: RenewalPlan & { readonly pending: KeptContract | undefined },
): Promise<KeptContract> {
  const next = pending ?? (await firstOf(site, old, { terms, paid }))
  const staked = await makeStake(site, next)
  const { state } = nextClient(staked.kept.state, staked.event!) // it says that it is staked
  return save(site, { ...staked.kept, state })
}

async function firstOf(site: Site, old: KeptContract, { terms, paid }: RenewalPlan): Promise<KeptContract> {
  const { state } = nextClient({ state: 'idle' }, { on: 'open', terms, at: await momentAt(site) })
  const maxSpend = old.maxSpend === null ? null : Math.max(0, old.maxSpend - paid)
  const { height, hash } = await (await site.chain()).tip()
  const audited = 'audited' in old.state ? old.state.audited : 0
  const { prepaid } = auditAfter({ audited, prepaid: prepaidOf(old) }, paid)
  const about = { renews: { id: old.id, paid, prepaid }, from: { height, hash }, maxSpend }
  return save(site, { ...newContract(terms, { relay: old.relay, state }), ...about })
}

/** Signs the rollover and sends it; asked again, the relay answers the same. */
export async function sendRollover(site: Site, kept: KeptContract, id: Hash): Promise<Done> {
  const next = await keptContract(site.ctx.home, id)
  if (next?.stake == null || next.renews === null || next.funding !== null) return { kept }
  const [old, new_] = [await contractAt(site, termsOf(kept)), await contractAt(site, termsOf(next))]
  const { paid } = next.renews
  const funding = readFunding(next.stake.funding)
  const draft = rolloverDraft(old, new_, { joint: jointOf(kept), paid, funding })
  const signer = signerAt(site)
  const count = draft.transaction.inputs.length
  const staked = await signStakes(new_, draft, [1, count], { side: 'client', signer })
  const client = await signJoint(old, draft, 'client', signer)
  const tx = toHex(serializeTransaction(withUnlocking(staked, [jointUnlocking(old, { client })])))
  const { funding: wire, beef } = next.stake
  const words = { contract: kept.id, terms: new_.terms, paid, tx, funding: wire, beef }
  const funded = await site.peer(kept).ask({ type: 'ContractRollover', ...words })
  checkSeen(draft, fromHex(funded.tx))
  await save(site, { ...next, funding: funded.tx })
  return { kept }
}
