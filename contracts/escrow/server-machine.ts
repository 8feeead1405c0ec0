/**
 * The contract in the hands of the relay: `next(state, event)` without clock, chance or I/O. Messages come here checked
 * (checks.ts). What it returns is on disk before anything is served or sent for it.
 */
import { type CreditPolicy, leastRollover, type Standing } from './amounts.ts'
import { type ChainLook, isDeep, isExpired, machineTimes, type Moment } from './machine.ts'
import { demand, refused } from './refusal.ts'
import { contractIdOf, serviceEnd, type Terms } from './terms.ts'
import {
  alone,
  earnedBy,
  highest,
  pruned,
  renewing,
  requested,
  signedAs,
  withPayment,
} from './server-payments.ts'
import {
  type LiveServer,
  liveOf,
  newServer,
  type Server,
  type ServerAction,
  type ServerEvent,
  type ServerStep,
} from './server-state.ts'

type EventOn<N extends ServerEvent['on']> = Extract<ServerEvent, { on: N }>

/** @throws the refusal `state` for what cannot be said now; refusals of what a peer says leave the state as it is */
export function nextServer(state: Server, event: ServerEvent, policy: CreditPolicy): ServerStep {
  switch (event.on) {
    case 'open':
      return onOpen(state, event)
    case 'client-signed':
      return onClientSigned(state, event)
    case 'payment':
      return { state: mapLive(state, (live) => withPayment(live, event)), actions: [] }
    case 'end':
      return isOpen(state) && !isRenewing(state) ? enter(requested(state, event.owed), event.at) : stay(state)
    case 'payment-refused':
      return onPaymentRefused(state, event)
    case 'refund-payment':
      return onRefundPayment(state, event, policy)
    case 'rollover':
      return onRollover(state, event, policy)
    case 'chain':
      return onChain(state, event, event.at)
    case 'tick':
      return onTick(state, event, policy)
    case 'restored':
      return isLiveServer(state) ? stay({ state: 'held', was: state }) : stay(heldIfClosed(state))
    case 'state-exchanged':
      return onExchanged(state, event)
  }
}

/** What is to be done in a state, whoever did it before: after every change, after a start, and from time to time. */
export function serverDuties(state: Server, at: Moment): readonly ServerAction[] {
  if (state.state === 'reserved') return [{ do: 'answer-open' }]
  if (state.state === 'closed') return [{ do: 'take-payout', spend: state.spend }]
  const live = liveOf(state)
  if (live === undefined) return []
  const actions: ServerAction[] = live.depth === 0 ? [{ do: 'fund' }] : []
  const publication = publicationOf(live)
  if (publication !== undefined) return [...actions, { do: 'publish', ...publication }]
  if (isExpired(live.terms, at)) actions.push({ do: 'refund' })
  if (live.state !== 'closing') return actions
  const { asked, publish } = live
  // Until we know what we signed before, nothing is signed that may be less.
  if (asked !== null && publish === null && state.state !== 'held')
    actions.push({ do: 'request-payment', owed: asked })
  return actions
}

/** When to look again at the latest, unix seconds; the last by median time past. */
export function serverDeadline(state: Server): number | undefined {
  if (state.state === 'reserved') return state.until
  const live = liveOf(state)
  if (live === undefined) return undefined
  const { terms, alarmAt } = live
  if (live.state === 'closing' && live.publish !== null) return terms.expiry
  if (isRenewing(live)) return Math.min(alarmAt, renewalEnd(terms))
  return live.state === 'closing' ? alarmAt : requestAt(terms)
}

/** What decides on new writes (amounts.ts); undefined where none is accepted. */
export function standingOf(state: Server, { now }: Moment): Standing | undefined {
  if (state.state !== 'active' || state.renewal !== null || now >= serviceEnd(state.terms)) return undefined
  const { terms, depth, lowestSigned } = state
  return {
    terms,
    depth,
    earned: earnedBy(state),
    paid: highest(state),
    lowestSigned: lowestSigned ?? Number.POSITIVE_INFINITY,
  }
}

const stay = (state: Server): ServerStep => ({ state, actions: [] })
const enter = (state: Server, at: Moment, first: readonly ServerAction[] = []): ServerStep => ({
  state,
  actions: [...first, ...serverDuties(state, at)],
})
export const isLiveServer = (state: Server): state is LiveServer =>
  state.state === 'active' || state.state === 'closing' || state.state === 'disputed'
const heldIfClosed = (state: Server): Server =>
  state.state === 'closed' ? { ...state, isHeld: true } : state
/** Chosen for good: nothing else is signed any more. */
const publicationOf = (live: LiveServer) =>
  live.state === 'closing' && live.publish !== 'wait' ? (live.publish ?? undefined) : undefined
const isRenewing = (live: LiveServer): live is LiveServer & { renewal: NonNullable<LiveServer['renewal']> } =>
  live.state === 'active' && live.renewal !== null && !live.renewal.isGivenUp
const isOpen = (state: Server): state is LiveServer & { state: 'active' | 'disputed' } =>
  state.state === 'active' || state.state === 'disputed'
const requestAt = (terms: Terms): number => terms.expiry - machineTimes.endMargins * terms.closeMargin
const renewalEnd = (terms: Terms): number => terms.expiry - machineTimes.renewalMargins * terms.closeMargin

function onOpen(state: Server, { terms, at }: EventOn<'open'>): ServerStep {
  if (state.state === 'reserved') return enter(state, at)
  demand(state.state === 'idle', 'state', 'the contract is open already')
  demand(at.now <= terms.openBy, 'too-late', 'the time to open is over')
  return enter({ state: 'reserved', terms, until: at.now + machineTimes.reserveSeconds }, at)
}

function onClientSigned(state: Server, { txid, jitter, at }: EventOn<'client-signed'>): ServerStep {
  if (isLiveServer(state)) return enter(state, at)
  if (state.state !== 'reserved') throw refused('state', 'there is no reservation')
  const { terms, until } = state
  demand(at.now <= Math.min(until, terms.openBy), 'too-late', 'the reservation has lapsed')
  return enter(newServer(terms, { txid, jitter, earned: 0 }), at)
}

/** A change of what is alive, held or not. @throws `state` where nothing is */
function mapLive(state: Server, change: (live: LiveServer) => LiveServer): Server {
  if (state.state === 'held') return { ...state, was: change(state.was) }
  if (isLiveServer(state)) return change(state)
  throw refused('state', 'there is no contract to pay for')
}

function onExchanged(state: Server, { lowestSigned, at }: EventOn<'state-exchanged'>): ServerStep {
  if (state.state === 'closed') return stay({ ...state, isHeld: false })
  if (state.state !== 'held') return stay(state)
  const lowest = Math.min(lowestSigned ?? Infinity, state.was.lowestSigned ?? Infinity)
  return enter({ ...state.was, lowestSigned: lowest === Infinity ? null : lowest }, at)
}

function onPaymentRefused(state: Server, { payment, at }: EventOn<'payment-refused'>): ServerStep {
  if (state.state !== 'closing' || state.asked === null) throw refused('state', 'no end was asked for')
  return enter(withPayment(state, payment), at)
}

function onRefundPayment(
  state: Server,
  { paid, sig, owed, at }: EventOn<'refund-payment'>,
  { forgive }: CreditPolicy,
): ServerStep {
  if (!isLiveServer(state))
    throw refused('state', 'there is no contract to end, or what was signed is not known yet')
  if (publicationOf(state) !== undefined) return enter(state, at)
  const due = Math.min(owed, state.terms.budget)
  // Whatever it is enough for, a higher settled of the client is worth keeping.
  const known = signedAs(state, { paid, sig })
  if (paid >= due - forgive) {
    const best = known.settled ?? { paid, sig }
    const lowestSigned = Math.min(known.lowestSigned ?? best.paid, best.paid)
    const asked = known.state === 'closing' ? known.asked : null
    const publish = { kind: 'settled' as const, ...best }
    return enter({ ...known, state: 'closing', asked, lowestSigned, publish }, at)
  }
  const refusal: ServerAction = { do: 'refuse-close', owed: due }
  return enter(known.state === 'active' ? { ...known, state: 'disputed' } : known, at, [refusal])
}

function onRollover(state: Server, event: EventOn<'rollover'>, policy: CreditPolicy): ServerStep {
  const { terms, paid, owed, reserved, unproven, at } = event
  const isFree = state.state === 'active' || (state.state === 'closing' && state.publish === null)
  if (!isFree) throw refused('state', 'the contract cannot be renewed any more')
  if (state.renewal !== null) {
    demand(isSame(state.renewal, { terms, paid }), 'state', 'another renewal is in flight')
    return enter(state, at)
  }
  demand(at.now <= Math.min(terms.openBy, renewalEnd(state.terms)), 'too-late', 'the time to renew is over')
  demand(isDeep(state.depth), 'state', 'the funding may still be undone')
  const least = Math.max(owed - unproven, leastRollover(terms, policy, { owed, reserved }))
  demand(paid >= least, 'owed', `more would go over than is lent: ${least} satoshi are to be paid`)
  const settled = Math.max(state.lowestSigned ?? 0, state.settled?.paid ?? 0)
  demand(paid >= settled, 'settled', 'another end that is signed pays more, or could be published')
  return enter(renewing(state, { terms, paid }), at)
}

const isSame = (known: { terms: Terms; paid: number }, given: { terms: Terms; paid: number }): boolean =>
  known.paid === given.paid && contractIdOf(known.terms) === contractIdOf(given.terms)

function onChain(state: Server, look: ChainLook, at: Moment): ServerStep {
  const spend = endIn(look)
  if (state.state === 'closed') {
    if (spend?.txid === state.spend.txid) return enter({ ...state, spend }, at)
    return onChain(state.isHeld ? { state: 'held', was: state.was } : state.was, look, at) // not spent any more, or by something else
  }
  // Only we could have signed it: after a restore we do not remember that we did.
  if (state.state === 'reserved' && look.joint !== undefined) {
    const was = newServer(state.terms, { txid: look.joint.txid, jitter: 0, earned: 0 })
    return onChain({ state: 'held', was }, look, at)
  }
  const live = liveOf(state)
  if (live === undefined) return stay(state)
  if (look.joint === undefined && isDeep(look.deadDepth)) return stay({ state: 'failed', terms: live.terms })
  const known = onJoint(live, look)
  const isHeld = state.state === 'held'
  if (spend !== undefined) return enter({ state: 'closed', spend, was: known, isHeld }, at)
  return enter(isHeld ? { state: 'held', was: known } : known, at)
}

/** A renewal that is in no block may never be: until it is, the old contract is closed in time as if there were none. */
const endIn = ({ spend }: ChainLook): ChainLook['spend'] =>
  spend?.end.kind === 'rollover' && spend.depth === 0 ? undefined : spend

function onJoint(live: LiveServer, { joint, renewalDeadDepth }: ChainLook): LiveServer {
  const renewal = isDeep(renewalDeadDepth) ? null : live.renewal
  const known = { ...live, renewal, depth: joint?.depth ?? 0 }
  if (joint === undefined || joint.txid === live.joint.txid) return known
  // Signatures name the outpoint: the client signs again what it pays. What we signed may become valid again.
  const bare = { ...known, joint: { txid: joint.txid, vout: 0 }, progress: [], settled: null }
  return bare.state === 'closing' ? { ...bare, publish: null } : bare
}

function onTick(state: Server, { owed, reserved, at }: EventOn<'tick'>, policy: CreditPolicy): ServerStep {
  if (state.state === 'reserved') return stay(at.now > state.until ? { state: 'idle' } : state)
  if (state.state === 'held') {
    const step = ending(state.was, owed, policy)
    return at.now < state.was.alarmAt ? enter(state, at) : enter({ state: 'held', was: step }, at)
  }
  if (!isLiveServer(state)) return enter(state, at)
  if (at.now >= state.alarmAt || (isRenewing(state) && at.now >= renewalEnd(state.terms)))
    return enter(ending(state, owed, policy), at)
  // What is signed then ends the contract: records that were promised more are served first.
  if (reserved === 0 && isOpen(state) && !isRenewing(state) && at.now >= requestAt(state.terms))
    return enter(requested(state, owed), at)
  return enter(pruned(state, owed), at)
}

/** Closing without the client, once: what was published is not changed for something else. */
function ending(live: LiveServer, owed: number, policy: CreditPolicy): LiveServer {
  if (publicationOf(live) !== undefined) return live
  const renewal = live.renewal && { ...live.renewal, isGivenUp: true }
  return { ...alone(live, owed, policy), renewal }
}
