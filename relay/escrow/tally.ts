/** How all contracts of a relay stand together: for `relayd status` and for Prometheus (docs/metrics.md). */
import type { Spend } from '../../contracts/escrow/machine.ts'
import type { Server } from '../../contracts/escrow/server-state.ts'
import type { Glance } from './rota.ts'

/** A contract whose alarm is nearer than this is told of, seconds: its client has been asked for the end for long. */
const alarmNearSeconds = 6 * 3600

export const contractStates = [
  'idle',
  'reserved',
  'active',
  'closing',
  'disputed',
  'held',
  'closed',
  'failed',
] as const satisfies readonly Server['state'][]
export const endKinds = ['settled', 'progress', 'expiry', 'rollover', 'unknown', 'failed'] as const
type EndKind = Spend['end']['kind'] | 'failed'

/** What was counted since the start. */
export interface Ends {
  readonly count: Record<EndKind, number>
  /** Satoshi that ends have paid, when they were deep. */
  earned: number
  /** Contracts that are closed, or were, without their client. */
  alone: number
}
export const noEnds = (): Ends => ({
  count: { settled: 0, progress: 0, expiry: 0, rollover: 0, unknown: 0, failed: 0 },
  ...{ earned: 0, alone: 0 },
})

interface Others {
  /** Unix seconds. */
  readonly now: number
  readonly stakes: { readonly wanted: number; readonly free: number; readonly lack: string | null }
  readonly ends: Ends
  /** Passes. */
  readonly waited: number
  /** Writes to the payment log. */
  readonly logFailures: number
  readonly trouble: string | null
}

export type Tally = ReturnType<typeof tallyOf>

/** Satoshi; of what is not over. */
export function tallyOf(glances: readonly Glance[], others: Others) {
  const { now, stakes, ends, waited, logFailures, trouble } = others
  const states = Object.fromEntries(contractStates.map((state) => [state, 0])) as Record<
    Server['state'],
    number
  >
  const sums = { value: 0, owed: 0, paid: 0 }
  let [reserved, used, nearAlarm, gone] = [0, 0, 0, 0]
  for (const { state, value, owed, paid, hasStake, alarmAt, isGone } of glances) {
    states[state]++
    sums.value += value
    sums.owed += owed
    sums.paid += paid
    if (hasStake && state === 'reserved') reserved++
    else if (hasStake) used++
    if (alarmAt !== undefined && now >= alarmAt - alarmNearSeconds) nearAlarm++
    if (isGone) gone++
  }
  return {
    ...{ states, ...sums, earned: ends.earned, ends: { ...ends.count }, alone: ends.alone },
    stakes: { ...stakes, reserved, used },
    ...{ nearAlarm, gone, waited, logFailures, trouble },
  }
}
