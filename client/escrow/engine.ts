/**
 * A contract moves: load, next, persist, act. The machine (contracts/escrow/client-machine.ts) says what follows from what; it
 * is on disk before it is done, and whatever was not done is done by the next command that comes along.
 */
import { nextClient, isLive } from '../../contracts/escrow/client-machine.ts'
import type { ClientAction, ClientEvent } from '../../contracts/escrow/client-state.ts'
import { isDeep } from '../../contracts/escrow/machine.ts'
import { contractIdOf } from '../../contracts/escrow/terms.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import { isRetryable, messageOf, Refused } from '../errors.ts'
import { keptContract, type KeptContract, termsOf } from '../home/contracts.ts'
import { letStakesGo, stowJoint } from './baskets.ts'
import { offerClose, pay, publish, refund, refusePayment, takePayout } from './ending.ts'
import { askToOpen, type Done, makeStake, reclaim, save, signFunding } from './funding.ts'
import { look } from './look.ts'
import { sendRollover } from './renewal.ts'
import { momentAt, type Site } from './site.ts'

/** How often one command looks again after what it did changed something. */
const mostLooks = 4

/** Alone with the contracts of one relay, in all processes of this home. @throws ERR_NOT_FOUND; ERR_LOCKED */
export async function withContract<T>(
  site: Site,
  id: Hash,
  work: (kept: KeptContract) => Promise<T>,
): Promise<T> {
  const { home } = site.ctx
  const known = await keptContract(home, id)
  if (known === undefined) throw new MarketError('ERR_NOT_FOUND', `there is no contract ${id}`)
  return home.lock(lockOf(termsOf(known).server), async () => work((await keptContract(home, id)) ?? known))
}

/** One thing at a time with each relay. */
export const lockOf = (server: Key): string => `contracts-${server}`

/** Tells the machine what happened, and does what follows. @throws refusals, and what hinders an action: it stays to be done */
export async function tell(site: Site, kept: KeptContract, event: ClientEvent): Promise<KeptContract> {
  const { state, actions } = nextClient(kept.state, event)
  return carryOut(site, await save(site, { ...kept, state }), actions)
}

async function carryOut(
  site: Site,
  given: KeptContract,
  actions: readonly ClientAction[],
): Promise<KeptContract> {
  let kept = given
  for (const action of actions) {
    const done = await act(site, kept, action)
    kept = done.event === undefined ? done.kept : await tell(site, done.kept, done.event)
  }
  return kept
}

function act(site: Site, kept: KeptContract, action: ClientAction): Promise<Done> | Done {
  switch (action.do) {
    case 'stake':
      return makeStake(site, kept)
    case 'open':
      return askToOpen(site, kept)
    case 'sign-funding':
      return signFunding(site, kept)
    case 'reclaim':
      return reclaimOf(site, kept, contractIdOf(action.terms))
    case 'keep-joint':
    case 'take-payout':
      return { kept } // `follow` does, until it is done
    case 'pay':
      return pay(site, kept, action)
    case 'refuse-payment':
      return refusePayment(site, kept, action)
    case 'publish':
      return publish(site, kept, action)
    case 'offer-close':
      return offerClose(site, kept, action.paid)
    case 'renew':
      return sendRollover(site, kept, contractIdOf(action.terms))
    case 'refund':
      return refund(site, kept)
  }
}

/** The own stake, or that of the renewal. */
async function reclaimOf(site: Site, kept: KeptContract, id: Hash): Promise<Done> {
  if (id === kept.id) return reclaim(site, kept)
  const next = await keptContract(site.ctx.home, id)
  if (next !== undefined) await reclaim(site, next)
  return { kept }
}

/** Brings a contract to where the chain and the clock have it, and does what is to be done there. @throws as `tell` */
export async function follow(site: Site, given: KeptContract): Promise<KeptContract> {
  let kept = given
  for (let left = mostLooks; left > 0; left--) {
    const before = whereOf(kept)
    kept = await followOnce(site, kept)
    if (whereOf(kept) === before) break
  }
  const done = 'spend' in kept.state ? await collect(site, kept) : await stow(site, kept)
  if (isSunk(done) && !isSunk(given)) await letStakesGo(site, done)
  return done
}

/** So deep that the stakes in the funding are gone for good. */
const isSunk = ({ state }: KeptContract): boolean =>
  'was' in state ? isDeep(state.spend.depth) || isDeep(state.was.depth) : isLive(state) && isDeep(state.depth)

/** What is looked at again once it has changed. */
const whereOf = ({ state, funding, reclaim, ending }: KeptContract): string =>
  [state.state, funding, reclaim, ending].join(' ')

async function followOnce(site: Site, given: KeptContract): Promise<KeptContract> {
  const seen = await look(site, given)
  const at = await momentAt(site)
  const looked = nextClient(seen.kept.state, { on: 'chain', at, ...seen.look })
  // The second answer has the duties of the first; what is signed anew for another outpoint is none of them.
  const { state, actions } = nextClient(looked.state, { on: 'tick', at })
  const anew = looked.actions.filter((action) => action.do === 'pay')
  const kept = await save(site, { ...seen.kept, state })
  try {
    return await carryOut(site, kept, [...anew, ...actions])
  } catch (error) {
    // A relay that does not answer, or says no, stops nobody from what the chain alone can do.
    const now = (await keptContract(site.ctx.home, kept.id)) ?? kept
    if (!isHarmless(now, error)) throw error
    site.ctx.notify({ type: 'relay-failed', relay: now.relay ?? termsOf(now).server, error: error as Error })
    return now
  }
}

/** After these, time does what the relay does not. */
const isHarmless = ({ state }: KeptContract, error: unknown): boolean =>
  (error instanceof Refused || isRetryable(error)) && (isLive(state) || state.state === 'signed')

/** Until our part of the end is in the wallet, however deep that end is by then. */
async function collect(site: Site, kept: KeptContract): Promise<KeptContract> {
  if (!('spend' in kept.state) || kept.taken === kept.state.spend.txid) return kept
  return takePayout(site, kept, kept.state.spend)
}

/** Until a backup of the wallet has it. */
async function stow(site: Site, kept: KeptContract): Promise<KeptContract> {
  if (!isLive(kept.state) || kept.kept === kept.state.txid) return kept
  const { txid } = kept.state
  try {
    await stowJoint(site, kept, txid)
    return await save(site, { ...kept, kept: txid })
  } catch (error) {
    const what = new MarketError(
      'ERR_BUSY',
      `the wallet does not keep the contract ${kept.id} yet: ${messageOf(error)}`,
    )
    site.ctx.notify({ type: 'backup-unplaced', error: what })
    return kept
  }
}
