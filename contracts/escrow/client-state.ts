/** What a user knows of a contract at each place it can be, what he is told, and what he then has to do. */
import { z } from 'zod'
import type { Audit } from './amounts.ts'
import { type ChainLook, type Moment, Signed, Spend, type Step } from './machine.ts'
import { Terms, type Terms as TermsOf } from './terms.ts'

const Sat = z.int().min(0)
/** Signed and in flight; `isTakenBack`: its stake is being spent to ourselves. */
const Renewal = z.strictObject({ terms: Terms, paid: Sat, isTakenBack: z.boolean() })

const funded = {
  terms: Terms,
  /** Of the funding, as the network has it. */
  txid: z.string(),
  depth: z.int().min(0),
  /** The highest that were ever signed: what the server can publish. */
  paid: Sat,
  settled: Sat,
  audited: Sat,
  renewal: Renewal.nullable(),
}
export const LiveClient = z.union([
  z.strictObject({ state: z.literal('active'), ...funded }),
  /** The server asked for more than was audited; its signature is kept, should evidence come. */
  z.strictObject({ state: z.literal('disputed'), ...funded, asked: Signed }),
  /** settled(offered) is signed. With `serverSig` it is complete, and ours to publish; else the server's. */
  z.strictObject({
    state: z.literal('closing'),
    ...funded,
    offered: Sat,
    since: z.int(),
    serverSig: z.string().nullable(),
  }),
])
export type LiveClient = z.infer<typeof LiveClient>

const Unfunded = z.strictObject({
  /**
   * `staking`: the stake is being made. `opening`: the server is asked. `signed`: our inputs of the funding are, from here on
   * it may be mined at any time. `cancelling`: the stake is being spent to ourselves; which of the two is mined decides.
   */
  state: z.enum(['staking', 'opening', 'signed', 'cancelling', 'cancelled']),
  terms: Terms,
})
export type Unfunded = z.infer<typeof Unfunded>

export const Client = z.union([
  z.strictObject({ state: z.literal('idle') }),
  Unfunded,
  LiveClient,
  /** Until the spend is deep, `was` may come back. `refunded`: by time. */
  z.strictObject({ state: z.enum(['closed', 'refunded']), spend: Spend, was: LiveClient }),
])
export type Client = z.infer<typeof Client>

export type ClientEvent = { readonly at: Moment } & (
  | { readonly on: 'open'; readonly terms: TermsOf }
  | { readonly on: 'staked' }
  | { readonly on: 'cancel' }
  /** `ContractServerAddInputs`, checked. */
  | { readonly on: 'server-inputs' }
  | ({ readonly on: 'chain' } & ChainLook)
  | { readonly on: 'tick' }
  /** `isWanted`: the server asks, or refuses a write; then also what was signed before is sent again. */
  | ({ readonly on: 'audited'; readonly isWanted?: boolean } & Audit)
  /** `ContractRequestPayment`, its signature checked, and audited for it just now. */
  | ({ readonly on: 'request-payment'; readonly audited: number } & Signed)
  /** The user ends it. @param keep what is paid beyond the audit so that records stay @param prepaid as of an audit */
  | { readonly on: 'close'; readonly keep: number; readonly prepaid: number }
  /** The next contract was agreed on and its stake made. @param prepaid as of an audit */
  | { readonly on: 'renew'; readonly terms: TermsOf; readonly paid: number; readonly prepaid: number }
)

export type ClientAction =
  /** Pay the stake, `contractOpen`, sign our inputs and `ContractClientSigned`. */
  | { readonly do: 'stake' | 'open' | 'sign-funding' }
  /** Spend the stake (of the renewal) to ourselves, if there is one. */
  | { readonly do: 'reclaim'; readonly terms: TermsOf }
  /** Remember the joint output where a wallet's backup has it. */
  | { readonly do: 'keep-joint' }
  /** Sign progress(paid) and settled(settled) and send them. */
  | { readonly do: 'pay'; readonly paid: number; readonly settled: number }
  | { readonly do: 'refuse-payment'; readonly asked: number; readonly paid: number; readonly settled: number }
  /** Sign settled(paid) and publish it with the server's signature. */
  | ({ readonly do: 'publish' } & Signed)
  /** Sign settled(paid) and send it as `ContractRefundPayment`. */
  | { readonly do: 'offer-close'; readonly paid: number }
  /** Sign the rollover and send it. */
  | { readonly do: 'renew'; readonly terms: TermsOf; readonly paid: number }
  /** Publish the expiry spend. */
  | { readonly do: 'refund' }
  /** Bring the payout into the wallet. */
  | { readonly do: 'take-payout'; readonly spend: Spend }

export type ClientStep = Step<Client, ClientAction>
