/** The figures of escrow contracts (docs/metrics.md): none where the relay has no chain. */
import { contractStates, endKinds, type Tally } from './escrow/tally.ts'
import type { Figure, Sample } from './figures.ts'

const of = (
  type: Figure['type'],
  name: string,
  help: string,
  at: (tally: Tally) => number | readonly Sample[],
  ...labels: string[]
): Figure => ({
  ...{ type, name, help },
  ...(labels.length > 0 && { labels }),
  at: ({ contracts }) => {
    if (contracts === undefined) return []
    const value = at(contracts)
    return typeof value === 'number' ? [{ labels: {}, value }] : value
  },
})

export const figuresOfContracts: readonly Figure[] = [
  of(
    'gauge',
    'relay_contracts',
    'Contracts that are not over, by state',
    ({ states }) => contractStates.map((state) => ({ labels: { state }, value: states[state] })),
    'state',
  ),
  of(
    'gauge',
    'relay_contracts_satoshi',
    'Of contracts with money in them: budgets, what is owed of them, what is signed',
    ({ value, owed, paid }) =>
      Object.entries({ budget: value, owed, paid }).map(([kind, value]) => ({ labels: { kind }, value })),
    'kind',
  ),
  of('counter', 'relay_contracts_earned_satoshi_total', 'Paid by ends that are deep', ({ earned }) => earned),
  of(
    'counter',
    'relay_contracts_ended_total',
    'Contracts that are over, by how they ended',
    ({ ends }) => endKinds.map((end) => ({ labels: { end }, value: ends[end] })),
    'end',
  ),
  of('counter', 'relay_contracts_alone_total', 'Contracts closed without their client', ({ alone }) => alone),
  of(
    'gauge',
    'relay_contract_stakes',
    'Stakes of the relay',
    ({ stakes: { wanted, free, reserved, used } }) =>
      Object.entries({ wanted, free, reserved, used }).map(([use, value]) => ({ labels: { use }, value })),
    'use',
  ),
  of(
    'gauge',
    'relay_contracts_near_alarm',
    'Contracts that will be closed without their client within six hours',
    ({ nearAlarm }) => nearAlarm,
  ),
  of(
    'gauge',
    'relay_contracts_gone',
    'Contracts ended by what this view of the chain does not show',
    ({ gone }) => gone,
  ),
  of(
    'gauge',
    'relay_contracts_waited_passes',
    'Passes since the last look at the contract that waits longest',
    ({ waited }) => waited,
  ),
  of(
    'gauge',
    'relay_contracts_trouble',
    '1 while contracts, or one of them, cannot be followed',
    ({ trouble }) => (trouble === null ? 0 : 1),
  ),
  of(
    'counter',
    'relay_payment_log_failures_total',
    'Writes to the payment log that failed',
    ({ logFailures }) => logFailures,
  ),
]
