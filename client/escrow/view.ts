/** How a contract stands: who gets what at which time, and what comes next. */
import type { Network } from '../../contracts/chain/chain.ts'
import { closeAlone, deepBlocks, defaultPolicy } from '../../contracts/escrow/amounts.ts'
import { clientDeadline, isLive } from '../../contracts/escrow/client-machine.ts'
import type { LiveClient } from '../../contracts/escrow/client-state.ts'
import type { Spend } from '../../contracts/escrow/machine.ts'
import { type Contract, type End, shareOf } from '../../contracts/escrow/contract.ts'
import { canExpire, contractIdOf, serviceEnd } from '../../contracts/escrow/terms.ts'
import type { Hash, Key } from '../../market/units.ts'
import { type KeptContract, termsOf } from '../home/contracts.ts'
import { stakeIn } from './opening.ts'
import { contractAt, secondsNow, type Site } from './site.ts'

/** Who gets what, if it ends so. */
export interface Ending {
  /** `relay alone`: by the rule that is published; `at worst`: what it could do against its own interest. */
  readonly how: 'agreed' | 'relay alone' | 'at worst' | 'expiry'
  /** Unix seconds of the earliest moment; null: at any time. */
  readonly from: number | null
  readonly client: number
  readonly relay: number
  readonly burned: number
}

export interface View {
  readonly contract: Hash
  readonly relay: string | null
  readonly server: Key
  readonly network: Network
  readonly state: KeptContract['state']['state']
  readonly txid: Hash | null
  readonly depth: number | null
  readonly budget: number
  /** Signed; null before there is anything to sign for. */
  readonly paid: number | null
  readonly settled: number | null
  readonly audited: number | null
  /** As the relay said last; what an audit made of it, null before there was one. */
  readonly owed: number | null
  readonly reserved: number | null
  readonly unproven: number | null
  readonly verdict: string | null
  readonly maxSpend: number | null
  /** What is ours in it now and in no wallet: the stake, or what an end by agreement gives back. */
  readonly inside: number
  readonly serviceEnd: number
  readonly expiry: number | null
  /** When something has to be done next, and what. */
  readonly deadline: number | null
  readonly next: string
  /** Those that there may be; once it is over, the one that it was. */
  readonly endings: readonly Ending[]
  /** The contract before this one, and the next that this one is going over into. */
  readonly renews: Hash | null
  readonly renewal: Hash | null
}

export async function viewOf(site: Pick<Site, 'holder' | 'ctx'>, kept: KeptContract): Promise<View> {
  const { state, heard } = kept
  const terms = termsOf(kept)
  const live = 'was' in state ? state.was : isLive(state) ? state : undefined
  const audit = heard?.at === 0 ? undefined : heard
  const contract = await contractAt(site, terms)
  const endings = endingsIn(contract, kept)
  const isTaken = 'was' in state && kept.taken === state.spend.txid
  const inside = live === undefined ? stakeIn(kept) : isTaken ? 0 : (endings[0]?.client ?? 0)
  return {
    ...{ contract: kept.id, relay: kept.relay, server: terms.server, network: terms.network },
    ...{ state: state.state, txid: live?.txid ?? null, depth: live?.depth ?? null, budget: terms.budget },
    ...{ paid: live?.paid ?? null, settled: live?.settled ?? null, audited: live?.audited ?? null },
    ...{ owed: heard?.owed ?? null, reserved: heard?.reserved ?? null },
    ...{ unproven: audit?.unproven ?? null, verdict: audit?.verdict ?? null, maxSpend: kept.maxSpend },
    ...{ serviceEnd: serviceEnd(terms), expiry: canExpire(terms) ? terms.expiry : null },
    ...{ deadline: deadlineOf(kept, secondsNow(site)), next: nextText(kept, secondsNow(site)) },
    renewal: live?.renewal == null ? null : contractIdOf(live.renewal.terms),
    ...{ endings, inside },
    renews: kept.renews?.id ?? null,
  }
}

/** Of an active contract first of all the end of service: by then it is renewed or closed. Unix seconds. */
function deadlineOf({ state }: KeptContract, now: number): number | null {
  const next = clientDeadline(state) ?? null
  const isServing = state.state === 'active' && now < serviceEnd(state.terms)
  return isServing && next !== null ? Math.min(next, serviceEnd(state.terms)) : next
}

function endingOf(
  contract: Contract,
  how: Ending['how'],
  { from, end }: { from: number | null; end: End },
): Ending {
  const [client, relay] = [shareOf(contract, end, 'client'), shareOf(contract, end, 'server')]
  const burned = contract.joint.satoshis - contract.terms.closeFee - client - relay
  return { how, from, client, relay, burned }
}

function endingsIn(contract: Contract, { state, heard }: KeptContract): Ending[] {
  if ('was' in state) return endedAs(contract, state.spend.end)
  return isLive(state) ? endingsOf(contract, state, heard?.owed ?? 0) : []
}

/** None where it went over into the next. */
function endedAs(contract: Contract, end: Spend['end']): Ending[] {
  if (end.kind === 'rollover' || end.kind === 'unknown') return []
  const how = { settled: 'agreed', progress: 'relay alone', expiry: 'expiry' } as const
  return [endingOf(contract, how[end.kind], { from: null, end: end as End })]
}

function endingsOf(contract: Contract, { paid, settled, audited }: LiveClient, owed: number): Ending[] {
  const { terms } = contract
  const ending = (how: Ending['how'], from: number | null, end: End) => endingOf(contract, how, { from, end })
  const alone = closeAlone(terms, defaultPolicy, { owed, settled, progress: [paid] })
  const isSpite = paid > settled
  return [
    ending('agreed', null, { kind: 'settled', paid: Math.max(settled, audited) }),
    ...(alone === undefined ? [] : [ending('relay alone', serviceEnd(terms), alone)]),
    ...(isSpite ? [ending('at worst', null, { kind: 'progress', paid })] : []),
    ...(canExpire(terms) ? [ending('expiry', terms.expiry, { kind: 'expiry' })] : []),
  ]
}

/** What comes next, in words. */
function nextText(kept: KeptContract, now: number): string {
  const { state } = kept
  const terms = termsOf(kept)
  switch (state.state) {
    case 'staking':
    case 'opening':
      return 'the relay is asked to open it; relay agent, or the same command again, goes on, and contract close takes the stake back'
    case 'signed':
      return 'the funding is signed and waits to be seen; without it the stake comes back after openBy'
    case 'cancelling':
      return 'the stake is coming back'
    case 'cancelled':
      return 'it was never funded'
    case 'active':
      if (state.renewal !== null) return 'it goes over into the next contract'
      return now < serviceEnd(terms)
        ? 'pay as it is used; renew or close before service ends'
        : 'service has ended: close it'
    case 'disputed':
      return `the relay asks for ${state.asked.paid} satoshi, more than was audited: what was audited is offered`
    case 'closing':
      return 'the end is signed, and waits to be in a block'
    case 'closed':
    case 'refunded':
      return state.spend.depth >= deepBlocks ? 'it is over' : 'the end is on the chain, and settles'
    case 'idle':
      return 'nothing'
  }
}
