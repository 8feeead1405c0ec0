/** What the two state machines of a contract share: moments, what the chain shows, and how they answer. */
import { z } from 'zod'
import { Hash } from '../../market/units.ts'
import { deepBlocks } from './amounts.ts'
import type { Terms } from './terms.ts'
import { canExpire } from './terms.ts'

/** Unix seconds: the own clock, and the median time past of the chain, which locks compare with. */
export interface Moment {
  readonly now: number
  readonly medianTime: number
}

export const machineTimes = {
  /** After `openBy`, for a funding to be seen, before the client takes its stake back. */
  fundingGraceSeconds: 60,
  /** How long the server keeps a stake for an opening. */
  reserveSeconds: 120,
  /** How long a client repeats its offer to close. */
  closeSeconds: 86_400,
  /** The server asks for the end so many margins before expiry … */
  endMargins: 4,
  /** … gives up an unmined renewal so many before … */
  renewalMargins: 2,
  /** … and closes alone one margin before, at a moment within this time that nobody can plan for. */
  alarmSeconds: 3600,
} as const

const Hex = z.string().regex(/^(?:[0-9a-f]{2})+$/)
export const OutpointState = z.strictObject({ txid: Hash, vout: z.int().min(0) })
const Sat = z.int().min(0)
export const StateSchema = z.strictObject({ kind: z.enum(['settled', 'progress']), paid: Sat })
/** A spend of the joint output that the chain shows; `unknown`: nobody should have been able to sign it. */
export const Spend = z.strictObject({
  txid: Hash,
  depth: z.int().min(0),
  end: z.union([StateSchema, z.strictObject({ kind: z.enum(['expiry', 'rollover', 'unknown']) })]),
})
export type Spend = z.infer<typeof Spend>
/** An amount and the other's signature under the state of it. */
export const Signed = z.strictObject({ paid: Sat, sig: Hex })
export type Signed = z.infer<typeof Signed>

/**
 * A look at the chain, whole: what it does not show is not there any more. So a reorganisation is only another look.
 */
export interface ChainLook {
  /** The funding, under whatever txid. */
  readonly joint?: { readonly txid: string; readonly depth: number }
  readonly spend?: Spend
  /** Something else has spent a stake of the funding, so deep: then that can never be mined. */
  readonly deadDepth?: number
  /** To the client only: its stake is its own again, so deep. */
  readonly returnedDepth?: number
  /** To the client only: its stake is unspent, and the network neither has the funding nor takes it. */
  readonly isStakeFree?: boolean
  /** As `deadDepth`, of the renewal in flight. */
  readonly renewalDeadDepth?: number
}

export interface Step<State, Action> {
  /** To be on disk before any of the actions is begun. */
  readonly state: State
  /** In their order; each may be repeated harmlessly. */
  readonly actions: readonly Action[]
}

export const isDeep = (depth: number | undefined): boolean => depth !== undefined && depth >= deepBlocks

/** Whether the spend by time is open; one that is sent earlier would be parked, or refused. */
export const isExpired = (terms: Terms, { medianTime }: Moment): boolean =>
  canExpire(terms) && medianTime > terms.expiry
