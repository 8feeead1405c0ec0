/** The defaults of both sides, and how a contract between them begins. */
import { nextClient } from '../../contracts/escrow/client-machine.ts'
import type { Client } from '../../contracts/escrow/client-state.ts'
import type { Moment } from '../../contracts/escrow/machine.ts'
import { isLiveServer, nextServer } from '../../contracts/escrow/server-machine.ts'
import type { Server } from '../../contracts/escrow/server-state.ts'
import type { Terms } from '../../contracts/escrow/terms.ts'
import { renewedTerms, termsFor } from '../../client/escrow/plan.ts'
import { Policy } from '../../relay/escrow/policy-options.ts'
import { offerOf } from '../../relay/escrow/policy.ts'

export const hour = 3600
export const day = 24 * hour
export const start = 1_790_002_800
const termSeconds = 30 * day
export const standardPrices = { storageGBDay: 4000, egressGB: 100_000, ingressGB: 0 }

export const policy = Policy.parse({ poolSize: 1 })
const offer = offerOf(policy, { network: 'devnet', prices: standardPrices, isDraining: false })!
const [client, server] = [`02${'11'.repeat(32)}`, `03${'22'.repeat(32)}`]

export const firstTerms = (budget: number): Terms =>
  termsFor({ client, server, budget, termSeconds }, offer, start)

export const nextTerms = (old: Terms, now: number): Terms =>
  renewedTerms(old, { offer, budget: old.budget, termSeconds, now })

export function freshServer(
  terms: Terms,
  txid: string,
  { earned, at }: { earned: number; at: Moment },
): Server {
  let state: Server = { state: 'idle' }
  state = nextServer(state, { on: 'open', terms, at }, policy).state
  state = nextServer(state, { on: 'client-signed', txid, jitter: 0, at }, policy).state
  return isLiveServer(state) ? { ...state, earnedBefore: earned } : state
}

export function freshClient(terms: Terms, at: Moment): Client {
  const first = nextClient({ state: 'idle' }, { on: 'open', terms, at }).state
  const staked = nextClient(first, { on: 'staked', at }).state
  return nextClient(staked, { on: 'server-inputs', at }).state
}
