/**
 * The contract in the hands of the user: `next(state, event)` without clock, chance or I/O. Messages come here checked
 * (checks.ts). A state has everything that its duties need, so that whoever reads it from disk can go on.
 */
import { aheadLimit, type Audit, payable } from './amounts.ts'
import type { Client, ClientAction, ClientEvent, ClientStep, LiveClient, Unfunded } from './client-state.ts'
import { auditedTo, fundedOf, withoutTheirs } from './client-facts.ts'
import { demand, refused } from './refusal.ts'
import { type ChainLook, isDeep, isExpired, machineTimes, type Moment, type Signed } from './machine.ts'
import type { Terms } from './terms.ts'

/** @throws the refusal `state` for what cannot be said now; refusals of what a peer says leave the state as it is */
export function nextClient(state: Client, event: ClientEvent): ClientStep {
  switch (event.on) {
    case 'open':
      demand(state.state === 'idle', 'state', 'the contract is open already')
      return enter({ state: 'staking', terms: event.terms }, event.at)
    case 'staked':
      return state.state === 'staking'
        ? enter({ state: 'opening', terms: state.terms }, event.at)
        : stay(state)
    case 'cancel':
      if (!isUnfunded(state)) throw refused('state', 'there is nothing to cancel')
      return enter({ state: 'cancelling', terms: state.terms }, event.at)
    case 'server-inputs':
      return onServerInputs(state, event.at)
    case 'chain':
      return onChain(state, event, event.at)
    case 'tick':
      return enter(onTick(state, event.at), event.at)
    case 'audited':
      return onAudited(state, event)
    case 'request-payment':
      return onRequest(state, event)
    case 'close':
      return onClose(state, event)
    case 'renew':
      return onRenew(state, event)
  }
}

/** What is to be done in a state, whoever did it before: after every change, after a start, and from time to time. */
export function clientDuties(state: Client, at: Moment): readonly ClientAction[] {
  switch (state.state) {
    case 'staking':
      return [{ do: 'stake' }]
    case 'opening':
      return [{ do: 'open' }]
    case 'signed':
      return [{ do: 'sign-funding' }]
    case 'cancelling':
      return [{ do: 'reclaim', terms: state.terms }]
    case 'closed':
    case 'refunded':
      return endDuties(state)
    case 'active':
    case 'disputed':
    case 'closing':
      return liveDuties(state, at)
    case 'idle':
    case 'cancelled':
      return []
  }
}

/** However deep it is when it is first seen; who is done forgets the contract. */
function endDuties({ spend, was }: Extract<Client, { was: unknown }>): ClientAction[] {
  const takePayout: ClientAction = { do: 'take-payout', spend }
  // A renewal in flight can never be mined now, but for a reorganisation: its stake comes home.
  if (was.renewal === null || spend.end.kind === 'rollover') return [takePayout]
  return [takePayout, { do: 'reclaim', terms: was.renewal.terms }]
}

function liveDuties(state: LiveClient, at: Moment): ClientAction[] {
  const { terms, renewal } = state
  const actions: ClientAction[] = isExpired(terms, at) ? [{ do: 'refund' }] : []
  if (state.state === 'closing') {
    const { offered: paid, serverSig: sig, since } = state
    if (sig !== null) actions.push({ do: 'publish', paid, sig })
    else if (at.now < since + machineTimes.closeSeconds) actions.push({ do: 'offer-close', paid })
  }
  if (renewal?.isTakenBack) actions.push({ do: 'reclaim', terms: renewal.terms })
  else if (renewal !== null && state.state === 'active')
    actions.push({ do: 'renew', terms: renewal.terms, paid: renewal.paid })
  return actions
}

/** When to look again at the latest, unix seconds; by `now`, and for the last by median time past. */
export function clientDeadline(state: Client): number | undefined {
  if (isUnfunded(state)) return state.terms.openBy + machineTimes.fundingGraceSeconds
  if (!isLive(state)) return undefined
  const { renewal, terms } = state
  if (renewal === null || renewal.isTakenBack) return terms.expiry
  return Math.min(terms.expiry, renewal.terms.openBy + machineTimes.fundingGraceSeconds)
}

const stay = (state: Client): ClientStep => ({ state, actions: [] })
const enter = (state: Client, at: Moment, first: readonly ClientAction[] = []): ClientStep => ({
  state,
  actions: [...first, ...clientDuties(state, at)],
})
export const isLive = (state: Client): state is LiveClient =>
  state.state === 'active' || state.state === 'disputed' || state.state === 'closing'
/** Still on the way there. */
const isUnfunded = (
  state: Client,
): state is Unfunded & { readonly state: 'staking' | 'opening' | 'signed' } =>
  state.state === 'staking' || state.state === 'opening' || state.state === 'signed'

function onServerInputs(state: Client, at: Moment): ClientStep {
  if (state.state === 'signed') return enter(state, at)
  if (state.state !== 'opening') throw refused('state', 'no inputs of the server are awaited')
  demand(at.now <= state.terms.openBy, 'too-late', 'the time to open is over')
  return enter({ state: 'signed', terms: state.terms }, at)
}

function onTick(state: Client, { now }: Moment): Client {
  const isOver = (terms: Terms): boolean => now > terms.openBy + machineTimes.fundingGraceSeconds
  if (isUnfunded(state) && isOver(state.terms)) return { state: 'cancelling', terms: state.terms }
  if (isLive(state) && state.renewal !== null && isOver(state.renewal.terms))
    return { ...state, renewal: { ...state.renewal, isTakenBack: true } }
  return state
}

function onChain(state: Client, look: ChainLook, at: Moment): ClientStep {
  if (isLive(state)) return onLook(state, look, at)
  if ('spend' in state) {
    if (look.spend?.txid === state.spend.txid) return enter({ ...state, spend: look.spend }, at)
    return onLook(state.was, look, at) // not spent any more, or by something else
  }
  return state.state === 'idle' ? stay(state) : onFunding(state, look, at)
}

function onLook(state: LiveClient, look: ChainLook, at: Moment): ClientStep {
  // Our stake is free where the other's is spent, and may be home already: what was signed on it is void.
  const isVoid = isDeep(look.deadDepth) || isDeep(look.returnedDepth) || isUndone(state, look, at)
  if (look.joint === undefined && isVoid) return enter({ state: 'cancelling', terms: state.terms }, at)
  const seen = onJoint(state, look)
  // Signatures name the funding: what was signed on another is void, and is signed again.
  const isOther = seen.txid !== state.txid
  const known = isOther ? withoutTheirs(seen, at) : seen
  const { paid, settled } = known
  const pay: ClientAction[] = known.state === 'active' && paid > 0 ? [{ do: 'pay', paid, settled }] : []
  const again: ClientAction[] = isOther ? [{ do: 'keep-joint' }, ...pay] : []
  if (look.spend === undefined) return enter(known, at, again)
  const end = look.spend.end.kind === 'expiry' ? 'refunded' : 'closed'
  return enter({ state: end, spend: look.spend, was: known }, at, again)
}

/** By a reorganisation that took what the other's stake hangs on: of that nothing gets deep. Not on one look alone. */
const isUndone = ({ depth, terms }: LiveClient, { isStakeFree }: ChainLook, { now }: Moment): boolean =>
  isStakeFree === true && depth === 0 && now > terms.openBy + machineTimes.fundingGraceSeconds

function onFunding(state: Unfunded, look: ChainLook, at: Moment): ClientStep {
  const { terms } = state
  if (look.joint !== undefined) {
    const active: LiveClient = {
      state: 'active',
      terms,
      ...look.joint,
      paid: 0,
      settled: 0,
      audited: 0,
      renewal: null,
    }
    const { state: funded, actions } = onLook(active, look, at)
    return { state: funded, actions: [{ do: 'keep-joint' }, ...actions] }
  }
  if (state.state === 'cancelled') return stay(state)
  // Only what is deep decides between the funding and the return of the stake.
  if (isDeep(look.returnedDepth)) return stay({ state: 'cancelled', terms })
  return look.deadDepth === undefined ? stay(state) : enter({ state: 'cancelling', terms }, at)
}

function onJoint(state: LiveClient, { joint, renewalDeadDepth }: ChainLook): LiveClient {
  const seen = { depth: joint?.depth ?? 0, txid: joint?.txid ?? state.txid }
  return { ...state, ...seen, renewal: isDeep(renewalDeadDepth) ? null : state.renewal }
}

function onAudited(
  state: Client,
  event: Audit & { readonly at: Moment; readonly isWanted?: boolean },
): ClientStep {
  if (!isLive(state)) return stay(state)
  const known = auditedTo(state, event.audited)
  if (known.state === 'closing') return stay(known)
  if (known.state === 'disputed') {
    const { asked } = known
    return asked.paid <= known.audited ? complete(known, asked, event.at) : stay(known)
  }
  const amounts = payable(known.terms, { ...event, audited: known.audited }, known)
  const isMore = amounts.paid > known.paid || amounts.settled > known.settled
  const isSent = isMore || (event.isWanted === true && amounts.paid > 0)
  return { state: { ...known, ...amounts }, actions: isSent ? [{ do: 'pay', ...amounts }] : [] }
}

function onRequest(
  state: Client,
  { paid, sig, audited, at }: Signed & { audited: number; at: Moment },
): ClientStep {
  if (!isLive(state)) throw refused('state', 'there is no contract to end')
  if (state.state === 'closing' && state.serverSig !== null) return enter(state, at)
  const known = auditedTo(state, audited)
  if (paid <= Math.max(known.audited, known.settled)) return complete(known, { paid, sig }, at)
  const nothing = { reserved: 0, unproven: 0, cost: 0, prepaid: 0 }
  const amounts = payable(known.terms, { audited: known.audited, ...nothing }, known)
  const refusal: ClientAction = { do: 'refuse-payment', asked: paid, ...amounts }
  const disputed: LiveClient = { ...fundedOf(known), ...amounts, state: 'disputed', asked: { paid, sig } }
  return enter(disputed, at, [refusal])
}

/** Both signatures: it is over once a block has it, and nothing else is signed any more. */
function complete(state: LiveClient, { paid, sig }: Signed, at: Moment): ClientStep {
  const closing = { state: 'closing', offered: paid, since: at.now, serverSig: sig } as const
  return enter({ ...fundedOf(state), settled: Math.max(state.settled, paid), ...closing }, at)
}

function onClose(
  state: Client,
  { keep, prepaid, at }: { keep: number; prepaid: number; at: Moment },
): ClientStep {
  if (!isLive(state)) throw refused('state', 'there is no contract to end')
  if (state.state === 'closing' && state.serverSig !== null) return enter(state, at)
  const { audited, terms } = state
  const beyond = Math.max(0, Math.min(keep, aheadLimit(terms) - prepaid))
  const settled = Math.max(state.settled, Math.min(terms.budget, audited + beyond))
  return enter(
    { ...fundedOf(state), settled, state: 'closing', offered: settled, since: at.now, serverSig: null },
    at,
  )
}

function onRenew(
  state: Client,
  { terms, paid, prepaid, at }: { terms: Terms; paid: number; prepaid: number; at: Moment },
): ClientStep {
  if (state.state !== 'active') throw refused('state', 'only an active contract is renewed')
  demand(state.renewal === null, 'state', 'a renewal is in flight already')
  // Its stake would hang on what may be undone.
  demand(isDeep(state.depth), 'state', 'the funding may still be undone')
  demand(at.now <= terms.openBy, 'too-late', 'the time to renew is over')
  // What live records may still come to is paid where the next contract does not lend it: no further than any payment.
  const most = state.audited + Math.max(0, aheadLimit(state.terms) - prepaid)
  demand(paid <= Math.max(most, state.settled), 'paid', 'more than is signed ahead of an audit')
  return enter({ ...state, renewal: { terms, paid, isTakenBack: false } }, at)
}
