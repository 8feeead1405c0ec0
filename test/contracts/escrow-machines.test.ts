/** The two state machines of a contract: every event in every state, and the stories that the tables cannot tell. */
import { isDeepStrictEqual } from 'node:util'
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
  newServer,
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
const byTime: Spend = { ...spend, txid: 'ee'.repeat(32), end: { kind: 'expiry' } }

/** The next state as the tables name it and what is done, or the name of the refusal. */
function outcome(step: () => string[]): string {
  try {
    return step().filter(Boolean).join(': ')
  } catch (error) {
    if (error instanceof MarketError && error.extras.refusal !== undefined)
      return `refused: ${error.extras.refusal}`
    throw error
  }
}

/** Some states have several names in the tables, by what they hold. */
function clientName(state: Client): string {
  if (state.state === 'closing') return state.serverSig === null ? 'offered' : 'complete'
  if (state.state !== 'active' || state.renewal === null) return state.state
  return state.renewal.isTakenBack ? 'returning' : 'renewing'
}
function serverName(state: Server): string {
  if (state.state === 'closing')
    return state.publish === null ? 'asking' : state.publish === 'wait' ? 'waiting' : 'publishing'
  if (state.state !== 'active') return state.state
  return state.renewal !== null ? 'renewing' : state.depth === 0 ? 'unmined' : 'active'
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
  returning: { ...active, renewal: { terms: nextTerms, paid: 500, isTakenBack: true } },
  disputed: { ...active, state: 'disputed', asked: { paid: 800, sig: '30' } },
  offered: closing,
  complete: { ...closing, serverSig: '30' },
  closed: { state: 'closed', spend, was: active },
  refunded: { state: 'refunded', spend: byTime, was: active },
}
const audit = { on: 'audited', unproven: 0, reserved: 100, cost: 0, prepaid: 0 } as const
const clientEvents: Record<string, ClientEvent> = {
  open: { on: 'open', terms, at },
  staked: { on: 'staked', at },
  cancel: { on: 'cancel', at },
  'server inputs': { on: 'server-inputs', at },
  'server inputs, late': { on: 'server-inputs', at: late },
  'nothing on the chain': { on: 'chain', at },
  funding: { on: 'chain', joint: { txid, depth: 1 }, at },
  'another txid': { on: 'chain', joint: { txid: 'cc'.repeat(32), depth: 1 }, at },
  'stake returned': { on: 'chain', returnedDepth: 6, at },
  'stake returned, not deep': { on: 'chain', returnedDepth: 5, at },
  'stake of the server spent': { on: 'chain', deadDepth: 6, at },
  'stake free': { on: 'chain', isStakeFree: true, at: late },
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
  close: { on: 'close', keep: 200, prepaid: 0, at },
  renew: { on: 'renew', terms: nextTerms, paid: 5500, prepaid: 0, at },
  'renew further ahead': { on: 'renew', terms: nextTerms, paid: 5501, prepaid: 0, at },
  'renew late': { on: 'renew', terms: nextTerms, paid: 500, prepaid: 0, at: moment(nextTerms.openBy + 1) },
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
const tick = { on: 'tick', owed: 500, reserved: 0 } as const
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
  rollover: { on: 'rollover', terms: nextTerms, paid: 500, owed: 500, reserved: 0, unproven: 0, at },
  'rollover for less': {
    on: 'rollover',
    terms: nextTerms,
    paid: 499,
    owed: 500,
    reserved: 0,
    unproven: 0,
    at,
  },
  'rollover, too much goes over': {
    ...{ on: 'rollover', terms: nextTerms, paid: 500, owed: 500, reserved: 203, unproven: 0, at },
  },
  'nothing on the chain': { on: 'chain', at },
  funding: { on: 'chain', joint: { txid, depth: 1 }, at },
  'another txid': { on: 'chain', joint: { txid: 'cc'.repeat(32), depth: 1 }, at },
  'funding dead': { on: 'chain', deadDepth: 6, at },
  spent: { on: 'chain', joint: { txid, depth: 7 }, spend, at },
  'spent, deep': { on: 'chain', joint: { txid, depth: 9 }, spend: { ...spend, depth: 6 }, at },
  'renewal dead': { on: 'chain', joint: { txid, depth: 9 }, renewalDeadDepth: 6, at },
  tick: { ...tick, at },
  'tick, reservation over': { ...tick, at: moment(start + 201) },
  'tick, four margins': { ...tick, at: moment(terms.expiry - 4 * terms.closeMargin) },
  'tick, two margins': { ...tick, at: moment(terms.expiry - 2 * terms.closeMargin) },
  'tick, alarm, little owed': { ...tick, at: alarm },
  'tick, alarm, more owed': { ...tick, owed: 600, at: alarm },
  'tick, expired': { ...tick, at: expired },
  restored: { on: 'restored', at },
  exchanged: { on: 'state-exchanged', lowestSigned: 300, at },
}

/**
 * What docs/protocol.md says of each state and event, in its words and not in the code's: a row is an event, states, and what
 * comes of it: the next state and, behind the colon, what is done, in this order. `ignored`: nothing changes and nothing is done;
 * `goes on`: the same state, and what it has to do again; `same`: the same state, with more in it; `refused`: with that name,
 * nothing changes. A row without an event is of the one above. Every pair has exactly one row.
 */
const clientGroups = {
  unfunded: 'staking opening signed cancelling cancelled',
  waiting: 'staking opening signed cancelling',
  live: 'active renewing returning disputed offered complete',
  ended: 'closed refunded',
}
const clientDutyTable = {
  ...{ staking: 'stake', opening: 'open', signed: 'sign-funding', cancelling: 'reclaim' },
  ...{ renewing: 'renew', returning: 'reclaim', offered: 'offer-close', complete: 'publish' },
  ...{ closed: 'take-payout', refunded: 'take-payout' },
}
const clientTable = `
open                           | idle                                   | staking: stake
                               | unfunded live ended                    | refused: state
staked                         | staking                                | opening: open
                               | idle opening signed cancelling cancelled live ended | ignored
cancel                         | staking opening signed                 | cancelling: reclaim
                               | idle cancelling cancelled live ended   | refused: state
server inputs                  | opening signed                         | signed: sign-funding
                               | idle staking cancelling cancelled live ended | refused: state
server inputs, late            | opening                                | refused: too-late
                               | signed                                 | goes on
                               | idle staking cancelling cancelled live ended | refused: state
nothing on the chain           | idle unfunded                          | ignored
                               | live                                   | goes on
                               | ended                                  | active
funding                        | idle                                   | ignored
                               | unfunded                               | active: keep-joint
                               | live                                   | goes on
                               | ended                                  | active
another txid                   | idle                                   | ignored
                               | unfunded                               | active: keep-joint
                               | active ended                           | active: keep-joint pay
                               | renewing                               | renewing: keep-joint pay renew
                               | returning                              | returning: keep-joint pay reclaim
                               | disputed offered complete              | offered: keep-joint offer-close
stake returned                 | idle cancelled                         | ignored
                               | waiting                                | cancelled
                               | live ended                             | cancelling: reclaim
stake returned, not deep       | idle unfunded                          | ignored
                               | live                                   | goes on
                               | ended                                  | active
stake of the server spent      | idle cancelled                         | ignored
                               | waiting live ended                     | cancelling: reclaim
stake free                     | idle unfunded                          | ignored
                               | live                                   | goes on
                               | ended                                  | active
spent                          | idle                                   | ignored
                               | unfunded                               | closed: keep-joint take-payout
                               | active disputed offered complete ended | closed: take-payout
                               | renewing returning                     | closed: take-payout reclaim
spent, deep                    | idle                                   | ignored
                               | unfunded                               | closed: keep-joint take-payout
                               | active disputed offered complete ended | closed: take-payout
                               | renewing returning                     | closed: take-payout reclaim
spent by time                  | idle                                   | ignored
                               | unfunded                               | refunded: keep-joint take-payout
                               | active disputed offered complete ended | refunded: take-payout
                               | renewing returning                     | refunded: take-payout reclaim
renewal dead                   | idle                                   | ignored
                               | unfunded                               | active: keep-joint
                               | active renewing returning ended        | active
                               | disputed offered complete              | goes on
tick                           | idle cancelled                         | ignored
                               | waiting live ended                     | goes on
tick, late                     | idle cancelled                         | ignored
                               | waiting                                | cancelling: reclaim
                               | live ended                             | goes on
tick, after a day              | idle cancelled offered                 | ignored
                               | waiting                                | cancelling: reclaim
                               | active renewing returning disputed complete ended | goes on
tick, renewal over             | idle cancelled offered                 | ignored
                               | waiting                                | cancelling: reclaim
                               | renewing                               | returning: reclaim
                               | active returning disputed complete ended | goes on
tick, expired                  | idle cancelled                         | ignored
                               | waiting                                | cancelling: reclaim
                               | active                                 | active: refund
                               | renewing returning                     | returning: refund reclaim
                               | disputed                               | disputed: refund
                               | offered                                | offered: refund
                               | complete                               | complete: refund publish
                               | ended                                  | goes on
audited no more                | active                                 | active: pay
                               | renewing                               | renewing: pay
                               | returning                              | returning: pay
                               | idle unfunded disputed offered complete ended | ignored
audited more                   | active                                 | active: pay
                               | renewing                               | renewing: pay
                               | returning                              | returning: pay
                               | disputed                               | complete: publish
                               | offered complete                       | same
                               | idle unfunded ended                    | ignored
asked for what is audited      | active renewing disputed offered complete | complete: publish
                               | returning                              | complete: publish reclaim
                               | idle unfunded ended                    | refused: state
asked for more                 | active renewing disputed offered       | disputed: refuse-payment
                               | returning                              | disputed: refuse-payment reclaim
                               | complete                               | goes on
                               | idle unfunded ended                    | refused: state
close                          | active renewing disputed offered       | offered: offer-close
                               | returning                              | offered: offer-close reclaim
                               | complete                               | goes on
                               | idle unfunded ended                    | refused: state
renew                          | active                                 | renewing: renew
                               | idle unfunded renewing returning disputed offered complete ended | refused: state
renew further ahead            | active                                 | refused: paid
                               | idle unfunded renewing returning disputed offered complete ended | refused: state
renew late                     | active                                 | refused: too-late
                               | idle unfunded renewing returning disputed offered complete ended | refused: state
`
const serverGroups = {
  none: 'idle failed',
  paid: 'active renewing asking publishing disputed',
  live: 'active unmined renewing asking publishing waiting disputed',
}
const serverDutyTable = {
  ...{ reserved: 'answer-open', unmined: 'fund', asking: 'request-payment' },
  ...{ publishing: 'publish', closed: 'take-payout' },
}
const serverTable = `
open                           | idle                                   | reserved: answer-open
                               | reserved                               | goes on
                               | live held closed failed                | refused: state
open, late                     | idle                                   | refused: too-late
                               | reserved                               | goes on
                               | live held closed failed                | refused: state
client signed                  | reserved                               | unmined: fund
                               | live                                   | goes on
                               | idle held closed failed                | refused: state
client signed, late            | reserved                               | refused: too-late
                               | live                                   | goes on
                               | idle held closed failed                | refused: state
payment                        | live held                              | same
                               | none reserved closed                   | refused: state
payment of less                | paid held                              | refused: paid
                               | unmined waiting                        | same
                               | none reserved closed                   | refused: state
settling less                  | paid held                              | refused: settled
                               | unmined waiting                        | same
                               | none reserved closed                   | refused: state
end                            | active disputed                        | asking: request-payment
                               | unmined                                | asking: fund request-payment
                               | none reserved renewing asking publishing waiting held closed | ignored
payment refused                | asking                                 | asking: request-payment
                               | publishing                             | publishing: publish
                               | waiting                                | waiting
                               | none reserved active unmined renewing disputed held closed | refused: state
close for what is owed         | paid waiting                           | publishing: publish
                               | unmined                                | publishing: fund publish
                               | none reserved held closed              | refused: state
close for less                 | active renewing disputed               | disputed: refuse-close
                               | unmined                                | disputed: refuse-close fund
                               | asking                                 | asking: refuse-close request-payment
                               | publishing                             | goes on
                               | waiting                                | waiting: refuse-close
                               | none reserved held closed              | refused: state
rollover                       | active renewing asking                 | renewing
                               | none reserved unmined publishing waiting disputed held closed | refused: state
rollover for less              | active asking                          | refused: owed
                               | none reserved unmined renewing publishing waiting disputed held closed | refused: state
rollover, too much goes over   | active asking                          | refused: owed
                               | renewing                               | goes on
                               | none reserved unmined publishing waiting disputed held closed | refused: state
nothing on the chain           | none reserved                          | ignored
                               | active unmined closed                  | unmined: fund
                               | renewing                               | renewing: fund
                               | asking                                 | asking: fund request-payment
                               | publishing                             | publishing: fund publish
                               | waiting                                | waiting: fund
                               | disputed                               | disputed: fund
                               | held                                   | held: fund
funding                        | none                                   | ignored
                               | reserved                               | held
                               | active unmined closed                  | active
                               | renewing asking publishing waiting disputed held | goes on
another txid                   | none                                   | ignored
                               | reserved                               | held
                               | active unmined closed                  | active
                               | publishing waiting                     | asking: request-payment
                               | renewing asking disputed held          | goes on
funding dead                   | none reserved                          | ignored
                               | live held closed                       | failed
spent                          | none                                   | ignored
                               | reserved live held closed              | closed: take-payout
spent, deep                    | none                                   | ignored
                               | reserved live held closed              | closed: take-payout
renewal dead                   | none                                   | ignored
                               | reserved                               | held
                               | active unmined renewing closed         | active
                               | asking publishing waiting disputed held | goes on
tick                           | none reserved                          | ignored
                               | live held closed                       | goes on
tick, reservation over         | none                                   | ignored
                               | reserved                               | idle
                               | live held closed                       | goes on
tick, four margins             | none                                   | ignored
                               | reserved                               | idle
                               | active asking disputed                 | asking: request-payment
                               | unmined                                | asking: fund request-payment
                               | renewing publishing waiting held closed | goes on
tick, two margins              | none                                   | ignored
                               | reserved                               | idle
                               | active asking disputed                 | asking: request-payment
                               | unmined                                | asking: fund request-payment
                               | renewing                               | publishing: publish
                               | publishing waiting held closed         | goes on
tick, alarm, little owed       | none                                   | ignored
                               | reserved                               | idle
                               | paid                                   | publishing: publish
                               | unmined                                | waiting: fund
                               | held                                   | held: publish
                               | waiting closed                         | goes on
tick, alarm, more owed         | none                                   | ignored
                               | reserved                               | idle
                               | paid                                   | publishing: publish
                               | unmined                                | waiting: fund
                               | held                                   | held: publish
                               | waiting closed                         | goes on
tick, expired                  | none                                   | ignored
                               | reserved                               | idle
                               | paid                                   | publishing: publish
                               | unmined                                | waiting: fund refund
                               | waiting                                | waiting: refund
                               | held                                   | held: publish
                               | closed                                 | goes on
restored                       | none reserved held                     | ignored
                               | live                                   | held
                               | closed                                 | same
exchanged                      | held                                   | active
                               | none reserved live closed              | ignored
`

/** By event and state. @throws where a pair has no row, or two */
function rowsOf(
  text: string,
  groups: Record<string, string>,
  { states, events }: { states: readonly string[]; events: readonly string[] },
): Map<string, string> {
  const rows = new Map<string, string>()
  let event = ''
  for (const line of text.trim().split('\n')) {
    const [on = '', names = '', outcome = ''] = line.split('|').map((part) => part.trim())
    event = on || event
    for (const name of names.split(/\s+/).flatMap((name) => groups[name]?.split(' ') ?? name)) {
      const pair = `${event} | ${name}`
      if (rows.has(pair) || !states.includes(name) || !events.includes(event))
        throw new Error(`a row too many: ${pair}`)
      rows.set(pair, outcome)
    }
  }
  if (rows.size !== states.length * events.length) throw new Error(`${rows.size} pairs are decided`)
  return rows
}

/** Compares the machine with the table. @returns the pairs in which they differ */
function differences<S extends { state: string }, E>(
  table: { text: string; groups: Record<string, string>; duties: Record<string, string> },
  machine: {
    states: Record<string, S>
    events: Record<string, E>
    next: (state: S, event: E) => { state: S; actions: readonly { do: string }[] }
    nameOf: (state: S) => string
    parse: (value: unknown) => S
  },
): string[] {
  const { states, events, next, nameOf, parse } = machine
  const names = { states: Object.keys(states), events: Object.keys(events) }
  const differing: string[] = []
  for (const [pair, row] of rowsOf(table.text, table.groups, names)) {
    const [on, name] = pair.split(' | ') as [string, string]
    const state = states[name]!
    const duties = table.duties[name] === undefined ? name : `${name}: ${table.duties[name]}`
    const expected = row === 'goes on' ? duties : row === 'ignored' || row === 'same' ? name : row
    const found = outcome(() => {
      const step = next(state, events[on]!) // the pairs are of these
      const kept = parse(JSON.parse(JSON.stringify(step.state)))
      if (!isDeepStrictEqual(kept, step.state)) differing.push(`${pair}: not kept as it is`)
      if (isDeepStrictEqual(step.state, state) !== (row === 'ignored') && /ignored|same/.test(row))
        differing.push(`${pair}: is not ${row}`)
      return [nameOf(step.state), step.actions.map((action) => action.do).join(' ')]
    })
    if (found !== expected) differing.push(`${pair}: ${found}, and not ${expected}`)
  }
  return differing
}

t.test('client: every event in every state', async (t) => {
  const differing = differences(
    { text: clientTable, groups: clientGroups, duties: clientDutyTable },
    {
      ...{ states: clients, events: clientEvents, next: nextClient, nameOf: clientName },
      parse: (value) => Client.parse(value),
    },
  )
  t.same(differing, [])
})

t.test('server: every event in every state', async (t) => {
  const next = (state: Server, event: ServerEvent) => nextServer(state, event, policy)
  const differing = differences(
    { text: serverTable, groups: serverGroups, duties: serverDutyTable },
    {
      ...{ states: servers, events: serverEvents, next, nameOf: serverName },
      parse: (value) => Server.parse(value),
    },
  )
  t.same(differing, [])
})

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
    { on: 'audited', audited: 0, reserved: 0, unproven: 0, cost: 300, prepaid: 0, at },
    { on: 'audited', audited: 250, reserved: 40, unproven: 10, cost: 0, prepaid: 0, at },
  )
  t.match(state, { state: 'active', paid: 300, settled: 250, audited: 250 })
  const asked = clientAfter(state, { on: 'request-payment', paid: 240, sig: '31', audited: 250, at })
  t.match(asked.state, { state: 'closing', offered: 240, serverSig: '31', settled: 250 })
  t.same(clientDuties(asked.state, at), [{ do: 'publish', paid: 240, sig: '31' }])
})

t.test('client: the audit bounds what is signed, whatever is asked', async (t) => {
  const asking = (audit: object) =>
    nextClient(active, { ...clientEvents['audited more']!, audited: 0, reserved: 0, ...audit } as ClientEvent)
  t.match(asking({ audited: 2000, reserved: 90_000, unproven: 90_000, cost: 90_000 }).state, {
    paid: 7000,
    settled: 2000,
  })
  t.match(asking({ audited: 900_000 }).state, { paid: 300_000, settled: 300_000 })
  t.same(asking({ audited: 400, isWanted: true }).actions, [{ do: 'pay', paid: 900, settled: 500 }])
  const closed = nextClient(active, { on: 'close', keep: 90_000, prepaid: 0, at }).state
  t.match(closed, { offered: 5500, settled: 5500 }, 'what is kept alive counts against the same limit')
  const refused = nextClient(active, { on: 'request-payment', paid: 300_000, sig: '31', audited: 700, at })
  t.same(refused.actions, [{ do: 'refuse-payment', asked: 300_000, paid: 900, settled: 700 }])
  t.match(
    asking({ audited: 2000, reserved: 9000, prepaid: 1000 }).state,
    { paid: 6000 },
    'once, renewals too',
  )
  t.match(nextClient(active, { on: 'close', keep: 9000, prepaid: 1000, at }).state, { offered: 4500 })
  const renew = { ...clientEvents.renew!, paid: 501, prepaid: 5000 } as ClientEvent
  t.throws(() => nextClient(active, renew), { code: 'ERR_CONFLICT', extras: { refusal: 'paid' } })
  const young: Client = { ...active, depth: 5 }
  t.throws(() => nextClient(young, clientEvents.renew!), {
    code: 'ERR_CONFLICT',
    extras: { refusal: 'state' },
  })
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

t.test(
  'client: a funding that nothing can bring back gives the stake back, not on one look alone',
  async (t) => {
    const free = (at: Moment): ClientEvent => ({ on: 'chain', isStakeFree: true, at })
    const grace = terms.openBy + 60
    for (const [name, state] of Object.entries(clients)) {
      if (!('depth' in state)) continue
      const first = clientAfter(state, free(late)).state
      t.match(first, { state: state.state, depth: 0 }, name)
      t.match(
        clientAfter(first, { on: 'chain', at: late }).state,
        { state: state.state },
        'its stake is not free',
      )
      t.match(clientAfter(first, free(moment(grace))).state, { state: state.state }, 'it may come yet')
      const second = nextClient(first, free(moment(grace + 1)))
      t.same(second, { state: { state: 'cancelling', terms }, actions: [{ do: 'reclaim', terms }] }, name)
      t.match(clientAfter(second.state, clientEvents.funding!).state, { state: 'active' }, 'a miner had it')
    }
  },
)

t.test('server: a payment replaces those before, and few of them are kept', async (t) => {
  let state: Server = newServer(terms, { txid, jitter: 10, earned: 0 })
  for (let paid = 1; paid <= 2 * mostKeptStates; paid++) {
    const payment = { paid: paid * 3, settled: paid, sig: 'aa', settledSig: 'bb' }
    state = nextServer(state, { on: 'payment', ...payment, at }, policy).state
  }
  t.match(state, { settled: { paid: 2 * mostKeptStates } })
  const kept = state as LiveServer
  t.equal(kept.progress.length, mostKeptStates)
  t.equal(kept.progress.at(-1)?.paid, 6 * mostKeptStates, 'the highest is')
  const ticked = nextServer(kept, { on: 'tick', owed: 6 * mostKeptStates + 1, reserved: 0, at }, policy)
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
  const seen = { on: 'chain' as const, joint: { txid: (renewing as LiveServer).joint.txid, depth: 9 }, at }
  const rolled = (depth: number): ServerEvent => ({
    ...seen,
    spend: { txid: 'ee'.repeat(32), depth, end: { kind: 'rollover' } },
  })
  const stuck = serverAfter(renewing, rolled(0), serverEvents['tick, two margins']!, rolled(0))
  t.match(
    stuck.state,
    { state: 'closing', publish: { paid: 400 } },
    'also where the network has it, in no block',
  )
  t.match(serverAfter(stuck.state, rolled(1)).state, { state: 'closed' }, 'whichever is mined')
  const undone = serverAfter(renewing, rolled(1), rolled(0), serverEvents['tick, two margins']!)
  t.match(undone.state, { publish: { paid: 400 } }, 'or is mined no more')
  const dead = serverAfter(renewing, serverEvents['renewal dead']!)
  t.match(dead.state, { state: 'active', renewal: null }, 'or lives on where the client took it back')
  const low = { ...asking, lowestSigned: 600 }
  const rollover = serverEvents.rollover!
  t.throws(() => nextServer(low, rollover, policy), { code: 'ERR_CONFLICT', extras: { refusal: 'settled' } })
  t.throws(() => nextServer({ ...serving, settled: { paid: 600, sig: '32' } }, rollover, policy), {
    code: 'ERR_CONFLICT',
    extras: { refusal: 'settled' },
  })
  const four = { ...tick, at: moment(terms.expiry - 4 * terms.closeMargin) }
  t.match(
    nextServer(serving, { ...four, reserved: 1 }, policy).state,
    { state: 'active' },
    'what was promised first',
  )
  t.match(nextServer(serving, four, policy).state, { state: 'closing', asked: 500 })
  const other: ServerEvent = { on: 'rollover', terms, paid: 500, owed: 500, reserved: 0, unproven: 0, at }
  t.throws(() => nextServer(renewing, other, policy), { code: 'ERR_CONFLICT', extras: { refusal: 'state' } })
})

t.test('deadlines: every state that waits for a time says which', async (t) => {
  const clientTimes = Object.entries(clients).map(([name, state]) => [name, clientDeadline(state)])
  const { expiry } = terms
  t.same(Object.fromEntries(clientTimes), {
    ...{ idle: undefined, staking: start + 660, opening: start + 660, signed: start + 660 },
    ...{ cancelling: undefined, cancelled: undefined, active: expiry, renewing: nextTerms.openBy + 60 },
    returning: expiry,
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
