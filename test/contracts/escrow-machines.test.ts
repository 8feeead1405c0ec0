/** The two state machines of a contract: every event in every state, and the stories that the tables cannot tell. */
import t from 'tap'
import { defaultPolicy as policy } from '../../contracts/escrow/amounts.ts'
import { clientDeadline, clientDuties, nextClient } from '../../contracts/escrow/client-machine.ts'
import { Client, type ClientEvent, type LiveClient } from '../../contracts/escrow/client-state.ts'
import type { Moment, Spend } from '../../contracts/escrow/machine.ts'
import {
  nextServer,
  serverDeadline,
  serverDuties,
  standingOf,
} from '../../contracts/escrow/server-machine.ts'
import {
  mostKeptStates,
  renewedServer,
  Server,
  type ServerEvent,
  type LiveServer,
} from '../../contracts/escrow/server-state.ts'
import { parseTerms, type Terms } from '../../contracts/escrow/terms.ts'
import { MarketError } from '../../market/errors.ts'

const start = 1_790_000_000
const day = 86_400
const terms: Terms = parseTerms({
  ...{
    v: 1,
    network: 'devnet',
    nonce: '07'.repeat(32),
    client: `02${'11'.repeat(32)}`,
    server: `03${'22'.repeat(32)}`,
  },
  ...{ created: start, openBy: start + 600, expiry: start + 30 * day, closeMargin: 21_600, period: day },
  ...{
    budget: 300_000,
    depositClient: 10_000,
    depositServer: 5000,
    creditLimit: 10_000,
    feeRate: 100,
    closeFee: 100,
  },
  prices: { storageGBDay: 4000, egressGB: 100_000, ingressGB: 0 },
})
const nextTerms = {
  ...terms,
  nonce: '08'.repeat(32),
  openBy: start + 20 * day,
  expiry: terms.expiry + 30 * day,
}
const txid = 'aa'.repeat(32)
const moment = (now: number): Moment => ({ now, medianTime: now - 3600 })
const at = moment(start + 100)
const late = moment(start + 700)
const expired = moment(terms.expiry + 3601)
const spend: Spend = { txid: 'bb'.repeat(32), depth: 1, end: { kind: 'settled', paid: 500 } }
const byTime: Spend = { ...spend, end: { kind: 'expiry' } }

/** What an event makes of a state: the name of the next one and what is to be done, or the name of the refusal. */
function outcome(step: () => { state: { state: string }; actions: readonly { do: string }[] }): string {
  try {
    const { state, actions } = step()
    return [state.state, ...actions.map((action) => action.do)].join(' ')
  } catch (error) {
    if (error instanceof MarketError && error.extras.refusal !== undefined) return `! ${error.extras.refusal}`
    throw error
  }
}

const live = { terms, txid, depth: 6, paid: 900, settled: 400, audited: 500, renewal: null }
const active: LiveClient = { state: 'active', ...live }
const closing: LiveClient = { state: 'closing', ...live, offered: 500, since: start, serverSig: null }
const clients: Record<string, Client> = {
  idle: { state: 'idle' },
  staking: { state: 'staking', terms },
  opening: { state: 'opening', terms },
  signed: { state: 'signed', terms },
  cancelling: { state: 'cancelling', terms },
  cancelled: { state: 'cancelled', terms },
  active,
  renewing: { ...active, renewal: { terms: nextTerms, paid: 500, isTakenBack: false } },
  disputed: { ...active, state: 'disputed', asked: { paid: 800, sig: '30' } },
  offered: closing,
  complete: { ...closing, serverSig: '30' },
  closed: { state: 'closed', spend, was: active },
  refunded: { state: 'refunded', spend: byTime, was: active },
}
const audit = { on: 'audited', unproven: 0, reserved: 100, cost: 0 } as const
const clientEvents: Record<string, ClientEvent> = {
  open: { on: 'open', terms, at },
  staked: { on: 'staked', at },
  cancel: { on: 'cancel', at },
  'server inputs': { on: 'server-inputs', at },
  'server inputs, late': { on: 'server-inputs', at: late },
  'nothing on the chain': { on: 'chain', at },
  funding: { on: 'chain', joint: { txid, depth: 1 }, at },
  'another txid': { on: 'chain', joint: { txid: 'cc'.repeat(32), depth: 1 }, at },
  'stake returned': { on: 'chain', deadDepth: 6, returnedDepth: 6, at },
  'stake of the server spent': { on: 'chain', deadDepth: 6, at },
  spent: { on: 'chain', joint: { txid, depth: 7 }, spend, at },
  'spent, deep': { on: 'chain', joint: { txid, depth: 9 }, spend: { ...spend, depth: 6 }, at },
  'spent by time': { on: 'chain', joint: { txid, depth: 9 }, spend: byTime, at },
  'renewal dead': { on: 'chain', joint: { txid, depth: 9 }, renewalDeadDepth: 6, at },
  tick: { on: 'tick', at },
  'tick, late': { on: 'tick', at: late },
  'tick, after a day': { on: 'tick', at: moment(start + day) },
  'tick, renewal over': { on: 'tick', at: moment(nextTerms.openBy + 61) },
  'tick, expired': { on: 'tick', at: expired },
  'audited no more': { ...audit, audited: 400, at },
  'audited more': { ...audit, audited: 800, at },
  'asked for what is audited': { on: 'request-payment', paid: 500, sig: '31', audited: 500, at },
  'asked for more': { on: 'request-payment', paid: 501, sig: '31', audited: 500, at },
  close: { on: 'close', keep: 200, at },
  renew: { on: 'renew', terms: nextTerms, paid: 500, at },
  'renew for more': { on: 'renew', terms: nextTerms, paid: 501, at },
}

const keys = { sig: '30', settledSig: '30' }
const none = { progress: [], settled: null, lowestSigned: null, renewal: null, earnedBefore: 0 }
const paid = { progress: [{ paid: 900, sig: '30' }], settled: { paid: 400, sig: '30' } }
const alarmAt = terms.expiry - terms.closeMargin - 1000
const serving: LiveServer = {
  state: 'active',
  terms,
  joint: { txid, vout: 0 },
  depth: 6,
  alarmAt,
  ...none,
  ...paid,
}
const asking: LiveServer = { ...serving, state: 'closing', asked: 500, lowestSigned: 500, publish: null }
const servers: Record<string, Server> = {
  idle: { state: 'idle' },
  reserved: { state: 'reserved', terms, until: start + 200 },
  active: serving,
  unmined: { ...serving, ...none, depth: 0 },
  renewing: { ...serving, renewal: { terms: nextTerms, paid: 500, isGivenUp: false } },
  asking,
  publishing: { ...asking, publish: { kind: 'settled', paid: 400, sig: '30' } },
  waiting: { ...asking, ...none, lowestSigned: 500, publish: 'wait' },
  disputed: { ...serving, state: 'disputed' },
  held: { state: 'held', was: serving },
  closed: { state: 'closed', spend, was: serving, isHeld: false },
  failed: { state: 'failed', terms },
}
const alarm = moment(alarmAt)
const serverEvents: Record<string, ServerEvent> = {
  open: { on: 'open', terms, at },
  'open, late': { on: 'open', terms, at: late },
  'client signed': { on: 'client-signed', txid, jitter: 5, at },
  'client signed, late': { on: 'client-signed', txid, jitter: 5, at: moment(start + 201) },
  payment: { on: 'payment', paid: 1000, settled: 500, ...keys, at },
  'payment of less': { on: 'payment', paid: 899, settled: 400, ...keys, at },
  'settling less': { on: 'payment', paid: 900, settled: 399, ...keys, at },
  end: { on: 'end', owed: 500, at },
  'payment refused': { on: 'payment-refused', payment: { paid: 900, settled: 450, ...keys }, at },
  'close for what is owed': { on: 'refund-payment', paid: 500, sig: '31', owed: 500, at },
  'close for less': { on: 'refund-payment', paid: 499, sig: '31', owed: 500, at },
  rollover: { on: 'rollover', terms: nextTerms, paid: 500, owed: 500, unproven: 0, at },
  'rollover for less': { on: 'rollover', terms: nextTerms, paid: 499, owed: 500, unproven: 0, at },
  'nothing on the chain': { on: 'chain', at },
  funding: { on: 'chain', joint: { txid, depth: 1 }, at },
  'funding dead': { on: 'chain', deadDepth: 6, at },
  spent: { on: 'chain', joint: { txid, depth: 7 }, spend, at },
  'spent, deep': { on: 'chain', joint: { txid, depth: 9 }, spend: { ...spend, depth: 6 }, at },
  'renewal dead': { on: 'chain', joint: { txid, depth: 9 }, renewalDeadDepth: 6, at },
  tick: { on: 'tick', owed: 500, at },
  'tick, reservation over': { on: 'tick', owed: 500, at: moment(start + 201) },
  'tick, four margins': { on: 'tick', owed: 500, at: moment(terms.expiry - 4 * terms.closeMargin) },
  'tick, two margins': { on: 'tick', owed: 500, at: moment(terms.expiry - 2 * terms.closeMargin) },
  'tick, alarm, little owed': { on: 'tick', owed: 500, at: alarm },
  'tick, alarm, more owed': { on: 'tick', owed: 600, at: alarm },
  'tick, expired': { on: 'tick', owed: 500, at: expired },
  restored: { on: 'restored', at },
  exchanged: { on: 'state-exchanged', lowestSigned: 300, at },
}

/** For each event: what becomes of the states (the next one, what is done; `!`: refused), all of them. */
type Table = Record<string, Record<string, string>>

const clientTable: Table = {
  open: {
    'staking stake': 'idle',
    '! state':
      'staking, opening, signed, cancelling, cancelled, active, renewing, disputed, offered, complete, closed, refunded',
  },
  staked: {
    idle: 'idle',
    'opening open': 'staking',
    opening: 'opening',
    signed: 'signed',
    cancelling: 'cancelling',
    cancelled: 'cancelled',
    active: 'active, renewing',
    disputed: 'disputed',
    closing: 'offered, complete',
    closed: 'closed',
    refunded: 'refunded',
  },
  cancel: {
    '! state': 'idle, cancelling, cancelled, active, renewing, disputed, offered, complete, closed, refunded',
    'cancelling reclaim': 'staking, opening, signed',
  },
  'server inputs': {
    '! state':
      'idle, staking, cancelling, cancelled, active, renewing, disputed, offered, complete, closed, refunded',
    'signed sign-funding': 'opening, signed',
  },
  'server inputs, late': {
    '! state':
      'idle, staking, cancelling, cancelled, active, renewing, disputed, offered, complete, closed, refunded',
    '! too-late': 'opening',
    'signed sign-funding': 'signed',
  },
  'nothing on the chain': {
    idle: 'idle',
    staking: 'staking',
    opening: 'opening',
    signed: 'signed',
    cancelling: 'cancelling',
    cancelled: 'cancelled',
    active: 'active, closed, refunded',
    'active renew': 'renewing',
    disputed: 'disputed',
    'closing offer-close': 'offered',
    'closing publish': 'complete',
  },
  funding: {
    idle: 'idle',
    'active keep-joint': 'staking, opening, signed, cancelling, cancelled',
    active: 'active, closed, refunded',
    'active renew': 'renewing',
    disputed: 'disputed',
    'closing offer-close': 'offered',
    'closing publish': 'complete',
  },
  'another txid': {
    idle: 'idle',
    'active keep-joint': 'staking, opening, signed, cancelling, cancelled',
    'active keep-joint pay': 'active, closed, refunded',
    'active keep-joint pay renew': 'renewing',
    'closing keep-joint offer-close': 'disputed, offered, complete',
  },
  'stake returned': {
    idle: 'idle',
    cancelled: 'staking, opening, signed, cancelling, cancelled',
    'cancelling reclaim': 'active, renewing, disputed, offered, complete, closed, refunded',
  },
  'stake of the server spent': {
    idle: 'idle',
    'cancelling reclaim':
      'staking, opening, signed, cancelling, active, renewing, disputed, offered, complete, closed, refunded',
    cancelled: 'cancelled',
  },
  spent: {
    idle: 'idle',
    'closed keep-joint take-payout': 'staking, opening, signed, cancelling, cancelled',
    'closed take-payout': 'active, disputed, offered, complete, closed',
    'closed take-payout reclaim': 'renewing',
    'refunded take-payout': 'refunded',
  },
  'spent, deep': {
    idle: 'idle',
    'closed keep-joint': 'staking, opening, signed, cancelling, cancelled',
    closed: 'active, renewing, disputed, offered, complete, closed',
    refunded: 'refunded',
  },
  'spent by time': {
    idle: 'idle',
    'refunded keep-joint take-payout': 'staking, opening, signed, cancelling, cancelled',
    'refunded take-payout': 'active, disputed, offered, complete, refunded',
    'refunded take-payout reclaim': 'renewing',
    'closed take-payout': 'closed',
  },
  'renewal dead': {
    idle: 'idle',
    'active keep-joint': 'staking, opening, signed, cancelling, cancelled',
    active: 'active, renewing, closed, refunded',
    disputed: 'disputed',
    'closing offer-close': 'offered',
    'closing publish': 'complete',
  },
  tick: {
    idle: 'idle',
    'staking stake': 'staking',
    'opening open': 'opening',
    'signed sign-funding': 'signed',
    'cancelling reclaim': 'cancelling',
    cancelled: 'cancelled',
    active: 'active',
    'active renew': 'renewing',
    disputed: 'disputed',
    'closing offer-close': 'offered',
    'closing publish': 'complete',
    'closed take-payout': 'closed',
    'refunded take-payout': 'refunded',
  },
  'tick, late': {
    idle: 'idle',
    'cancelling reclaim': 'staking, opening, signed, cancelling',
    cancelled: 'cancelled',
    active: 'active',
    'active renew': 'renewing',
    disputed: 'disputed',
    'closing offer-close': 'offered',
    'closing publish': 'complete',
    'closed take-payout': 'closed',
    'refunded take-payout': 'refunded',
  },
  'tick, after a day': {
    idle: 'idle',
    'cancelling reclaim': 'staking, opening, signed, cancelling',
    cancelled: 'cancelled',
    active: 'active',
    'active renew': 'renewing',
    disputed: 'disputed',
    closing: 'offered',
    'closing publish': 'complete',
    'closed take-payout': 'closed',
    'refunded take-payout': 'refunded',
  },
  'tick, renewal over': {
    idle: 'idle',
    'cancelling reclaim': 'staking, opening, signed, cancelling',
    cancelled: 'cancelled',
    active: 'active',
    'active reclaim': 'renewing',
    disputed: 'disputed',
    closing: 'offered',
    'closing publish': 'complete',
    'closed take-payout': 'closed',
    'refunded take-payout': 'refunded',
  },
  'tick, expired': {
    idle: 'idle',
    'cancelling reclaim': 'staking, opening, signed, cancelling',
    cancelled: 'cancelled',
    'active refund': 'active',
    'active refund reclaim': 'renewing',
    'disputed refund': 'disputed',
    'closing refund': 'offered',
    'closing refund publish': 'complete',
    'closed take-payout': 'closed',
    'refunded take-payout': 'refunded',
  },
  'audited no more': {
    idle: 'idle',
    staking: 'staking',
    opening: 'opening',
    signed: 'signed',
    cancelling: 'cancelling',
    cancelled: 'cancelled',
    'active pay': 'active, renewing',
    disputed: 'disputed',
    closing: 'offered, complete',
    closed: 'closed',
    refunded: 'refunded',
  },
  'audited more': {
    idle: 'idle',
    staking: 'staking',
    opening: 'opening',
    signed: 'signed',
    cancelling: 'cancelling',
    cancelled: 'cancelled',
    'active pay': 'active, renewing',
    'closing publish': 'disputed',
    closing: 'offered, complete',
    closed: 'closed',
    refunded: 'refunded',
  },
  'asked for what is audited': {
    '! state': 'idle, staking, opening, signed, cancelling, cancelled, closed, refunded',
    'closing publish': 'active, renewing, disputed, offered, complete',
  },
  'asked for more': {
    '! state': 'idle, staking, opening, signed, cancelling, cancelled, closed, refunded',
    'disputed refuse-payment': 'active, renewing, disputed, offered',
    'closing publish': 'complete',
  },
  close: {
    '! state': 'idle, staking, opening, signed, cancelling, cancelled, closed, refunded',
    'closing offer-close': 'active, renewing, disputed, offered',
    'closing publish': 'complete',
  },
  renew: {
    '! state':
      'idle, staking, opening, signed, cancelling, cancelled, renewing, disputed, offered, complete, closed, refunded',
    'active renew': 'active',
  },
  'renew for more': {
    '! state':
      'idle, staking, opening, signed, cancelling, cancelled, renewing, disputed, offered, complete, closed, refunded',
    '! paid': 'active',
  },
}

const serverTable: Table = {
  open: {
    'reserved answer-open': 'idle, reserved',
    '! state': 'active, unmined, renewing, asking, publishing, waiting, disputed, held, closed, failed',
  },
  'open, late': {
    '! too-late': 'idle',
    'reserved answer-open': 'reserved',
    '! state': 'active, unmined, renewing, asking, publishing, waiting, disputed, held, closed, failed',
  },
  'client signed': {
    '! state': 'idle, held, closed, failed',
    'active fund': 'reserved, unmined',
    active: 'active',
    'active renew': 'renewing',
    'closing request-payment': 'asking',
    'closing publish': 'publishing',
    closing: 'waiting',
    disputed: 'disputed',
  },
  'client signed, late': {
    '! state': 'idle, held, closed, failed',
    '! too-late': 'reserved',
    active: 'active',
    'active fund': 'unmined',
    'active renew': 'renewing',
    'closing request-payment': 'asking',
    'closing publish': 'publishing',
    closing: 'waiting',
    disputed: 'disputed',
  },
  payment: {
    '! state': 'idle, reserved, closed, failed',
    active: 'active, unmined, renewing',
    closing: 'asking, publishing, waiting',
    disputed: 'disputed',
    held: 'held',
  },
  'payment of less': {
    '! state': 'idle, reserved, closed, failed',
    '! paid': 'active, renewing, asking, publishing, disputed, held',
    active: 'unmined',
    closing: 'waiting',
  },
  'settling less': {
    '! state': 'idle, reserved, closed, failed',
    '! settled': 'active, renewing, asking, publishing, disputed, held',
    active: 'unmined',
    closing: 'waiting',
  },
  end: {
    idle: 'idle',
    reserved: 'reserved',
    'closing request-payment': 'active, disputed',
    'closing fund request-payment': 'unmined',
    active: 'renewing',
    closing: 'asking, publishing, waiting',
    held: 'held',
    closed: 'closed',
    failed: 'failed',
  },
  'payment refused': {
    '! state': 'idle, reserved, active, unmined, renewing, disputed, held, closed, failed',
    'closing send-evidence request-payment': 'asking',
    'closing send-evidence publish': 'publishing',
    'closing send-evidence': 'waiting',
  },
  'close for what is owed': {
    '! state': 'idle, reserved, held, closed, failed',
    'closing publish': 'active, renewing, asking, publishing, waiting, disputed',
    'closing fund publish': 'unmined',
  },
  'close for less': {
    '! state': 'idle, reserved, held, closed, failed',
    'disputed refuse-close': 'active, renewing, disputed',
    'disputed refuse-close fund': 'unmined',
    'closing refuse-close request-payment': 'asking',
    'closing publish': 'publishing',
    'closing refuse-close': 'waiting',
  },
  rollover: {
    '! state': 'idle, reserved, unmined, publishing, waiting, disputed, held, closed, failed',
    'active renew': 'active, renewing, asking',
  },
  'rollover for less': {
    '! state': 'idle, reserved, unmined, renewing, publishing, waiting, disputed, held, closed, failed',
    '! owed': 'active, asking',
  },
  'nothing on the chain': {
    idle: 'idle',
    reserved: 'reserved',
    'active fund': 'active, unmined, closed',
    'active fund renew': 'renewing',
    'closing fund request-payment': 'asking',
    'closing fund publish': 'publishing',
    'closing fund': 'waiting',
    'disputed fund': 'disputed',
    'held fund': 'held',
    failed: 'failed',
  },
  funding: {
    idle: 'idle',
    held: 'reserved, held',
    active: 'active, unmined, closed',
    'active renew': 'renewing',
    'closing request-payment': 'asking',
    'closing publish': 'publishing',
    closing: 'waiting',
    disputed: 'disputed',
    failed: 'failed',
  },
  'funding dead': {
    idle: 'idle',
    reserved: 'reserved',
    failed: 'active, unmined, renewing, asking, publishing, waiting, disputed, held, closed, failed',
  },
  spent: {
    idle: 'idle',
    'closed take-payout':
      'reserved, active, unmined, renewing, asking, publishing, waiting, disputed, held, closed',
    failed: 'failed',
  },
  'spent, deep': {
    idle: 'idle',
    closed: 'reserved, active, unmined, renewing, asking, publishing, waiting, disputed, held, closed',
    failed: 'failed',
  },
  'renewal dead': {
    idle: 'idle',
    held: 'reserved, held',
    active: 'active, unmined, renewing, closed',
    'closing request-payment': 'asking',
    'closing publish': 'publishing',
    closing: 'waiting',
    disputed: 'disputed',
    failed: 'failed',
  },
  tick: {
    idle: 'idle',
    reserved: 'reserved',
    active: 'active',
    'active fund': 'unmined',
    'active renew': 'renewing',
    'closing request-payment': 'asking',
    'closing publish': 'publishing',
    closing: 'waiting',
    disputed: 'disputed',
    held: 'held',
    'closed take-payout': 'closed',
    failed: 'failed',
  },
  'tick, reservation over': {
    idle: 'idle',
    'idle release': 'reserved',
    active: 'active',
    'active fund': 'unmined',
    'active renew': 'renewing',
    'closing request-payment': 'asking',
    'closing publish': 'publishing',
    closing: 'waiting',
    disputed: 'disputed',
    held: 'held',
    'closed take-payout': 'closed',
    failed: 'failed',
  },
  'tick, four margins': {
    idle: 'idle',
    'idle release': 'reserved',
    'closing request-payment': 'active, asking, disputed',
    'closing fund request-payment': 'unmined',
    'active renew': 'renewing',
    'closing publish': 'publishing',
    closing: 'waiting',
    held: 'held',
    'closed take-payout': 'closed',
    failed: 'failed',
  },
  'tick, two margins': {
    idle: 'idle',
    'idle release': 'reserved',
    'closing request-payment': 'active, asking, disputed',
    'closing fund request-payment': 'unmined',
    'closing publish': 'renewing, publishing',
    closing: 'waiting',
    held: 'held',
    'closed take-payout': 'closed',
    failed: 'failed',
  },
  'tick, alarm, little owed': {
    idle: 'idle',
    'idle release': 'reserved',
    'closing publish': 'active, renewing, asking, publishing, disputed',
    'closing fund': 'unmined',
    closing: 'waiting',
    'held publish': 'held',
    'closed take-payout': 'closed',
    failed: 'failed',
  },
  'tick, alarm, more owed': {
    idle: 'idle',
    'idle release': 'reserved',
    'closing publish': 'active, renewing, asking, publishing, disputed',
    'closing fund': 'unmined',
    closing: 'waiting',
    'held publish': 'held',
    'closed take-payout': 'closed',
    failed: 'failed',
  },
  'tick, expired': {
    idle: 'idle',
    'idle release': 'reserved',
    'closing publish': 'active, renewing, asking, publishing, disputed',
    'closing fund refund': 'unmined',
    'closing refund': 'waiting',
    'held publish': 'held',
    'closed take-payout': 'closed',
    failed: 'failed',
  },
  restored: {
    idle: 'idle',
    reserved: 'reserved',
    held: 'active, unmined, renewing, asking, publishing, waiting, disputed, held',
    closed: 'closed',
    failed: 'failed',
  },
  exchanged: {
    idle: 'idle',
    reserved: 'reserved',
    active: 'active, unmined, renewing, held',
    closing: 'asking, publishing, waiting',
    disputed: 'disputed',
    closed: 'closed',
    failed: 'failed',
  },
}

function tableOf<S, E>(
  states: Record<string, S>,
  events: Record<string, E>,
  next: (state: S, event: E) => string,
): Table {
  const table: Table = {}
  for (const [on, event] of Object.entries(events)) {
    const row: Record<string, string> = {}
    for (const [name, state] of Object.entries(states)) {
      const result = next(state, event)
      row[result] = row[result] === undefined ? name : `${row[result]}, ${name}`
    }
    table[on] = row
  }
  return table
}

t.test('client: every event in every state', async (t) => {
  t.same(
    tableOf(clients, clientEvents, (state, event) => outcome(() => nextClient(state, event))),
    clientTable,
  )
  for (const event of Object.values(clientEvents))
    for (const state of Object.values(clients)) {
      const next = stateAfter(() => nextClient(state, event).state)
      if (next !== undefined) t.same(Client.parse(JSON.parse(JSON.stringify(next))), next)
    }
})

t.test('server: every event in every state', async (t) => {
  t.same(
    tableOf(servers, serverEvents, (state, event) => outcome(() => nextServer(state, event, policy))),
    serverTable,
  )
  for (const event of Object.values(serverEvents))
    for (const state of Object.values(servers)) {
      const next = stateAfter(() => nextServer(state, event, policy).state)
      if (next !== undefined) t.same(Server.parse(JSON.parse(JSON.stringify(next))), next)
    }
})

function stateAfter<S>(step: () => S): S | undefined {
  try {
    return step()
  } catch {
    return undefined
  }
}

/** All that happened to a machine, and what it did. */
function clientAfter(state: Client, ...events: ClientEvent[]) {
  const actions: string[] = []
  let now = state
  for (const event of events) {
    const step = nextClient(now, event)
    now = step.state
    actions.push(...step.actions.map((action) => JSON.stringify(action)))
  }
  return { state: now, actions }
}
function serverAfter(state: Server, ...events: ServerEvent[]) {
  const actions: string[] = []
  let now = state
  for (const event of events) {
    const step = nextServer(now, event, policy)
    now = step.state
    actions.push(...step.actions.map((action) => JSON.stringify(action)))
  }
  return { state: now, actions }
}

t.test('client: an honest life', async (t) => {
  const { state } = clientAfter(
    ...[
      { state: 'idle' } as Client,
      clientEvents.open!,
      clientEvents.staked!,
      clientEvents['server inputs']!,
    ],
    { on: 'chain', joint: { txid, depth: 0 }, at },
    { on: 'audited', audited: 0, reserved: 0, unproven: 0, cost: 300, at },
    { on: 'audited', audited: 250, reserved: 40, unproven: 10, cost: 0, at },
  )
  t.match(state, { state: 'active', paid: 300, settled: 250, audited: 250 })
  const asked = clientAfter(state, { on: 'request-payment', paid: 240, sig: '31', audited: 250, at })
  t.match(asked.state, { state: 'closing', offered: 240, serverSig: '31', settled: 250 })
  t.same(clientDuties(asked.state, at), [{ do: 'publish', paid: 240, sig: '31' }])
})

t.test('client: the audit bounds what is signed, whatever is asked', async (t) => {
  const asking = (audit: object) =>
    nextClient(active, { on: 'audited', audited: 0, reserved: 0, unproven: 0, cost: 0, at, ...audit })
  t.match(asking({ audited: 2000, reserved: 90_000, unproven: 90_000, cost: 90_000 }).state, {
    paid: 7000,
    settled: 2000,
  })
  t.match(asking({ audited: 900_000 }).state, { paid: 300_000, settled: 300_000 })
  t.same(asking({ audited: 400, isWanted: true }).actions, [{ do: 'pay', paid: 900, settled: 500 }])
  const closed = nextClient(active, { on: 'close', keep: 90_000, at }).state
  t.match(closed, { offered: 5500, settled: 5500 }, 'what is kept alive counts against the same limit')
  const refused = nextClient(active, { on: 'request-payment', paid: 300_000, sig: '31', audited: 700, at })
  t.same(refused.actions, [{ do: 'refuse-payment', asked: 300_000, paid: 900, settled: 700 }])
})

t.test('client: what a reorganisation undoes comes back', async (t) => {
  const closed = clientAfter(active, clientEvents.spent!)
  t.equal(closed.state.state, 'closed')
  t.match(clientAfter(closed.state, clientEvents.funding!).state, { state: 'active', depth: 1 })
  const other = { ...spend, txid: 'dd'.repeat(32), end: { kind: 'expiry' as const } }
  const joint = { txid, depth: 1 }
  t.match(clientAfter(closed.state, { on: 'chain', joint, spend: other, at }).state, { state: 'refunded' })
  const malleated = clientAfter(active, clientEvents['another txid']!)
  t.match(malleated.state, { txid: 'cc'.repeat(32) })
  t.ok(
    malleated.actions.some((action) => action.includes('"pay","paid":900,"settled":400')),
    'signed again',
  )
})

t.test('server: a payment replaces those before, and few of them are kept', async (t) => {
  let state: Server = renewedServer(terms, { txid, jitter: 10, earned: 0 })
  for (let paid = 1; paid <= 2 * mostKeptStates; paid++) {
    const payment = { paid: paid * 3, settled: paid, sig: 'aa', settledSig: 'bb' }
    state = nextServer(state, { on: 'payment', ...payment, at }, policy).state
  }
  t.match(state, { settled: { paid: 2 * mostKeptStates } })
  const kept = state as LiveServer
  t.equal(kept.progress.length, mostKeptStates)
  t.equal(kept.progress.at(-1)?.paid, 6 * mostKeptStates, 'the highest is')
  const ticked = nextServer(kept, { on: 'tick', owed: 6 * mostKeptStates + 1, at }, policy)
    .state as LiveServer
  t.equal(ticked.progress.length, 1)
})

t.test('server: closes alone before expiry, by the rule, and then nothing else', async (t) => {
  const little = serverAfter(serving, serverEvents['tick, alarm, little owed']!)
  t.match(little.state, { publish: { kind: 'settled', paid: 400, sig: '30' } })
  const more = serverAfter(serving, serverEvents['tick, alarm, more owed']!)
  t.match(more.state, { publish: { kind: 'progress', paid: 900, sig: '30' } })
  const held = serverAfter({ state: 'held', was: serving }, serverEvents['tick, alarm, more owed']!)
  t.match(held.state, { state: 'held', was: { publish: { kind: 'progress', paid: 900 } } })
  const later = serverAfter(more.state, serverEvents['close for what is owed']!, serverEvents.payment!)
  t.match(later.state, { publish: { kind: 'progress', paid: 900 } })
  const nothing = serverAfter({ ...serving, ...none }, serverEvents['tick, alarm, little owed']!)
  t.match(nothing.state, { publish: 'wait' })
  t.same(serverDuties(nothing.state, expired), [{ do: 'refund' }])
  const bare = { ...serving, ...none, terms: { ...terms, profile: 0 as const } }
  const settledNothing = { ...bare, settled: { paid: 0, sig: '32' } }
  const without = serverAfter(settledNothing, serverEvents['tick, alarm, little owed']!)
  t.match(
    without.state,
    { publish: { kind: 'settled', paid: 0, sig: '32' } },
    'without expiry nothing comes by itself',
  )
  t.same(
    serverDuties({ ...asking, ...none, terms: bare.terms, lowestSigned: 1, publish: 'wait' }, expired),
    [],
  )
})

t.test('server: what it signed itself limits what it serves', async (t) => {
  t.match(standingOf(serving, at), { paid: 900, lowestSigned: Infinity, earned: 400, depth: 6 })
  t.match(standingOf({ ...serving, lowestSigned: 300, earnedBefore: 50 }, at), {
    lowestSigned: 300,
    earned: 450,
  })
  t.equal(standingOf(serving, moment(terms.expiry - terms.closeMargin)), undefined)
  for (const [name, state] of Object.entries(servers))
    if (name !== 'active' && name !== 'unmined') t.equal(standingOf(state, at), undefined, name)
  const asked = serverAfter(
    serving,
    { on: 'end', owed: 450, at },
    { on: 'restored', at },
    serverEvents.exchanged!,
  )
  t.match(asked.state, { state: 'closing', lowestSigned: 300 })
})

t.test('server: a renewal that is not mined in time gives way to the best old state', async (t) => {
  const renewing = servers.renewing!
  t.equal(serverDeadline(renewing), terms.expiry - 2 * terms.closeMargin)
  const given = serverAfter(renewing, serverEvents['tick, two margins']!)
  t.match(given.state, { publish: { kind: 'settled', paid: 400 }, renewal: { isGivenUp: true } })
  const dead = serverAfter(renewing, serverEvents['renewal dead']!)
  t.match(dead.state, { state: 'active', renewal: null }, 'or lives on where the client took it back')
  const low = { ...asking, lowestSigned: 600 }
  const rollover = serverEvents.rollover!
  t.throws(() => nextServer(low, rollover, policy), { code: 'ERR_CONFLICT', extras: { refusal: 'settled' } })
  const other: ServerEvent = { on: 'rollover', terms, paid: 500, owed: 500, unproven: 0, at }
  t.throws(() => nextServer(renewing, other, policy), { code: 'ERR_CONFLICT', extras: { refusal: 'state' } })
})

t.test('deadlines: every state that waits for a time says which', async (t) => {
  const clientTimes = Object.entries(clients).map(([name, state]) => [name, clientDeadline(state)])
  const { expiry } = terms
  t.same(Object.fromEntries(clientTimes), {
    ...{ idle: undefined, staking: start + 660, opening: start + 660, signed: start + 660 },
    ...{ cancelling: undefined, cancelled: undefined, active: expiry, renewing: nextTerms.openBy + 60 },
    ...{ disputed: expiry, offered: expiry, complete: expiry, closed: undefined, refunded: undefined },
  })
  const serverTimes = Object.entries(servers).map(([name, state]) => [name, serverDeadline(state)])
  const request = expiry - 4 * terms.closeMargin
  t.same(Object.fromEntries(serverTimes), {
    ...{ idle: undefined, reserved: start + 200, active: request, unmined: request },
    ...{ renewing: expiry - 2 * terms.closeMargin, asking: alarmAt, publishing: expiry, waiting: expiry },
    ...{ disputed: request, held: request, closed: undefined, failed: undefined },
  })
})
