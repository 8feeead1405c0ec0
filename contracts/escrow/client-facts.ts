/** What goes from one live state of a client into the next. */
import type { LiveClient } from './client-state.ts'
import type { Moment } from './machine.ts'

/** Never less than was audited before, never more than the budget. */
export const auditedTo = <S extends LiveClient>(state: S, audited: number): S => ({
  ...state,
  audited: Math.max(state.audited, Math.min(audited, state.terms.budget)),
})

export const fundedOf = ({ terms, txid, depth, paid, settled, audited, renewal }: LiveClient) => ({
  ...{ terms, txid, depth, paid, settled, audited, renewal },
})

/** An end that was agreed on or disputed, without the server's signature: it is offered instead. */
export function withoutTheirs(state: LiveClient, { now }: Moment): LiveClient {
  if (state.state === 'active') return state
  const offered = state.state === 'closing' ? state.offered : state.settled
  return { ...fundedOf(state), state: 'closing', offered, since: now, serverSig: null }
}
