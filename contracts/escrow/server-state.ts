/** What a server knows of a contract at each place it can be, what it is told, and what it then has to do. */
import { z } from 'zod'
import {
  OutpointState,
  Signed,
  Spend,
  StateSchema,
  type ChainLook,
  type Moment,
  type Step,
} from './machine.ts'
import { serviceEnd, Terms, type Terms as TermsOf } from './terms.ts'

/** States that are kept so that a close alone never takes much more than is owed; beyond, near ones are dropped. */
export const mostKeptStates = 256

const Sat = z.int().min(0)
/** A state with the client's signature under it. */
const Publication = z.strictObject({ ...StateSchema.shape, sig: z.string() })
export type Publication = z.infer<typeof Publication>
const Renewal = z.strictObject({ terms: Terms, paid: Sat, isGivenUp: z.boolean() })

const funded = {
  terms: Terms,
  joint: OutpointState,
  depth: z.int().min(0),
  /** Of the client, under progress: rising; those below what is owed are not needed but for the highest. */
  progress: z.array(Signed).max(mostKeptStates),
  /** The highest settled that the client signed. */
  settled: Signed.nullable(),
  /** The smallest settled that we signed; the client may publish it at any time. */
  lowestSigned: Sat.nullable(),
  /** When we close alone, unix seconds. */
  alarmAt: z.int(),
  /** Settled in the contract that this one renews. */
  earnedBefore: Sat,
  renewal: Renewal.nullable(),
}
const Active = z.strictObject({ state: z.literal('active'), ...funded })
/**
 * No more writes. `asked`: settled(asked) was signed by us and sent. `publish`: what we broadcast until it is mined; `wait`: we
 * close by expiry, having nothing better.
 */
const Closing = z.strictObject({
  state: z.literal('closing'),
  ...funded,
  asked: Sat.nullable(),
  publish: z.union([Publication, z.literal('wait')]).nullable(),
})
/** The client offered to close for less than is owed; its signature is kept. */
const Disputed = z.strictObject({ state: z.literal('disputed'), ...funded })
export const LiveServer = z.union([Active, Closing, Disputed])
export type LiveServer = z.infer<typeof LiveServer>

export const Server = z.union([
  z.strictObject({ state: z.literal('idle') }),
  z.strictObject({ state: z.literal('reserved'), terms: Terms, until: z.int() }),
  LiveServer,
  /** Restored from a backup: the client may have newer states than we remember. */
  z.strictObject({ state: z.literal('held'), was: LiveServer }),
  z.strictObject({ state: z.literal('closed'), spend: Spend, was: LiveServer, isHeld: z.boolean() }),
  /** The funding can never be mined. */
  z.strictObject({ state: z.literal('failed'), terms: Terms }),
])
export type Server = z.infer<typeof Server>

/** A payment whose signatures were checked. */
export interface Payment {
  readonly paid: number
  readonly sig: string
  readonly settled: number
  readonly settledSig: string
}

export type ServerEvent = {
  readonly at: Moment
} /** `contractOpen`, checked and acceptable, a stake of ours set aside. */ & (
  | { readonly on: 'open'; readonly terms: TermsOf }
  /** `ContractClientSigned`, checked. @param jitter 0 up to `alarmSeconds`, at random */
  | { readonly on: 'client-signed'; readonly txid: string; readonly jitter: number }
  | ({ readonly on: 'payment' } & Payment)
  /** The budget is used, and nothing is reserved. */
  | { readonly on: 'end'; readonly owed: number }
  /** `ContractPaymentRefused`. */
  | { readonly on: 'payment-refused'; readonly payment: Payment }
  /** `ContractRefundPayment`. */
  | { readonly on: 'refund-payment'; readonly paid: number; readonly sig: string; readonly owed: number }
  /** `ContractRollover`, checked. @param reserved for live records @param unproven what the client need not pay for yet */
  | {
      readonly on: 'rollover'
      readonly terms: TermsOf
      readonly paid: number
      readonly owed: number
      readonly reserved: number
      readonly unproven: number
    }
  | ({ readonly on: 'chain' } & ChainLook)
  /** @param reserved for live records */
  | { readonly on: 'tick'; readonly owed: number; readonly reserved: number }
  | { readonly on: 'restored' }
  /**
   * What the client has of our contract, and the payment log, were taken in: as `payment` events, those
   * whose signatures are of the joint output that the chain shows now.
   * @param lowestSigned by the log: the smallest settled we ever signed
   */
  | { readonly on: 'state-exchanged'; readonly lowestSigned: number | null }
)

export type ServerAction =
  /** `ContractServerAddInputs` is due: the relay answers it to whoever asks, of the state; the world of the tests sends it. */
  | { readonly do: 'answer-open' }
  /** Broadcast the funding, or the rollover that it is, until it is seen. */
  | { readonly do: 'fund' }
  /** Sign settled(owed) and send it as `ContractRequestPayment`: at once, then daily as a notice. */
  | { readonly do: 'request-payment'; readonly owed: number }
  /** Sign and broadcast, with the client's signature, until it is mined. */
  | ({ readonly do: 'publish' } & Publication)
  /** Tell the client that less than is owed was offered. */
  | { readonly do: 'refuse-close'; readonly owed: number }
  | { readonly do: 'refund' }
  | { readonly do: 'take-payout'; readonly spend: Spend }

export type ServerStep = Step<Server, ServerAction>

/** What a state knows of the money in a joint output; undefined before there is any, and where there never will be. */
export function fundedOf(state: Server): LiveServer | undefined {
  if ('was' in state) return state.was
  return 'joint' in state ? state : undefined
}

/** The same while nothing is known to have spent it. */
export const liveOf = (state: Server): LiveServer | undefined =>
  state.state === 'closed' ? undefined : fundedOf(state)

/** A contract as it begins. @param jitter 0 up to `alarmSeconds`, at random @param earned in the contract that it renews, or 0 */
export function newServer(
  terms: TermsOf,
  { txid, jitter, earned }: { txid: string; jitter: number; earned: number },
): LiveServer {
  const none = { progress: [], settled: null, lowestSigned: null, renewal: null }
  const alarmAt = serviceEnd(terms) - jitter
  return {
    state: 'active',
    terms,
    joint: { txid, vout: 0 },
    depth: 0,
    ...none,
    alarmAt,
    earnedBefore: earned,
  }
}
