/**
 * What two parties of a contract say to each other. A request is the `request` of a fresh envelope to the server; an answer
 * the `result` of its reply, `type` included; what the server says unasked is an envelope in a record of its outbox.
 */
import { z } from 'zod'
import { fromHex, toHex } from '../../market/bytes.ts'
import { Hash, Key, Milliseconds, SignatureHex } from '../../market/units.ts'
import { beefLimits } from '../transaction/beef.ts'
import { Terms, termsLimits } from './terms.ts'
import { type Funding, mostStakes } from './transactions.ts'

export const messageLimits = {
  /** A funding with all the stakes there may be, signed, has less. */
  transactionBytes: 64 << 10,
} as const

const Satoshi = z.int().min(0).max(termsLimits.jointSatoshis)
const hexOf = (mostBytes: number) =>
  z
    .string()
    .regex(/^(?:[0-9a-f]{2})+$/, 'not lower-case hex')
    .max(2 * mostBytes)
/** A raw transaction (BRC-12). */
const Raw = hexOf(messageLimits.transactionBytes)
const P2pkh = hexOf(25)
/** Atomic BEEF of the stakes, so that they can be checked without the network. */
const Beef = z.base64().max(Math.ceil(beefLimits.bytes / 3) * 4)

export const StakeWire = z.strictObject({
  txid: Hash,
  vout: z.int().min(0).max(0xffffffff),
  satoshis: Satoshi,
  script: P2pkh,
})
export const FundingWire = z.strictObject({
  stakes: z.array(StakeWire).min(1).max(mostStakes),
  change: P2pkh.nullable(),
})
export type FundingWire = z.infer<typeof FundingWire>

export const readFunding = ({ stakes, change }: FundingWire): Funding => ({
  stakes: stakes.map(({ script, ...stake }) => ({ ...stake, script: fromHex(script) })),
  change: change === null ? null : fromHex(change),
})
export const writeFunding = ({ stakes, change }: Funding): FundingWire => ({
  stakes: stakes.map(({ txid, vout, satoshis, script }) => ({ txid, vout, satoshis, script: toHex(script) })),
  change: change === null ? null : toHex(change),
})

/** A reply has fields of later versions; what is sent to a relay has none. */
const request = <T extends string, S extends z.ZodRawShape>(type: T, shape: S) =>
  z.strictObject({ type: z.literal(type), ...shape })
const reply = <T extends string, S extends z.ZodRawShape>(type: T, shape: S) =>
  z.object({ type: z.literal(type), ...shape })

/** `tx`: the client's inputs, the joint output and the client's change, unsigned. */
export const ContractOpen = request('contractOpen', {
  userPubkey: Key,
  terms: Terms,
  tx: Raw,
  funding: FundingWire,
  beef: Beef,
})
/** `tx`: the whole funding, unsigned. */
export const ContractServerAddInputs = reply('ContractServerAddInputs', {
  contract: Hash,
  tx: Raw,
  funding: FundingWire,
  beef: Beef,
})
/** `tx`: the funding with the client's inputs signed. */
export const ContractClientSigned = request('ContractClientSigned', { contract: Hash, tx: Raw })
/** `tx`: as it was broadcast. `at`: from when new records are charged to this contract (after a rollover). */
export const ContractFunded = reply('ContractFunded', {
  contract: Hash,
  txid: Hash,
  tx: Raw,
  at: Milliseconds.optional(),
})

/** Ends the contract. `tx`: settled(paid) with the server's signature, the client's slot empty. */
export const ContractRequestPayment = reply('ContractRequestPayment', {
  contract: Hash,
  paid: Satoshi,
  tx: Raw,
})
/** Ends the contract. `tx`: settled(paid) with the client's signature, the server's slot empty. */
export const ContractRefundPayment = request('ContractRefundPayment', {
  contract: Hash,
  paid: Satoshi,
  tx: Raw,
})

/** Signatures under progress(paid) and settled(settled), each replacing those before. */
const payment = {
  contract: Hash,
  paid: Satoshi,
  sig: SignatureHex,
  settled: Satoshi,
  settledSig: SignatureHex,
}
export const ContractPayment = request('ContractPayment', payment)
export type ContractPayment = z.infer<typeof ContractPayment>
/** What is on disk after a payment. */
export const ContractPaid = reply('ContractPaid', {
  contract: Hash,
  paid: Satoshi,
  settled: Satoshi,
  owed: Satoshi,
  reserved: Satoshi,
})
/** The routine demand; nothing ends by it. */
export const ContractPaymentDue = reply('ContractPaymentDue', { contract: Hash, owed: Satoshi })
/** The answer to a `ContractRequestPayment` of more than was audited: its payment settles what was; the other two are for people. */
export const ContractPaymentRefused = request('ContractPaymentRefused', {
  contract: Hash,
  asked: Satoshi,
  audited: Satoshi,
  payment: ContractPayment,
})
/** Unasked: service ends then; what is to go on is renewed before. */
export const ContractEnding = reply('ContractEnding', { contract: Hash, serviceEnd: Milliseconds })
export const ContractClosed = reply('ContractClosed', { contract: Hash, txid: Hash })

/** `contract` is the old one; `tx`: the rollover with the client's inputs and half of the joint input signed. */
export const ContractRollover = request('ContractRollover', {
  contract: Hash,
  terms: Terms,
  paid: Satoshi,
  tx: Raw,
  funding: FundingWire,
  beef: Beef,
})

export const ContractState = request('ContractState', { contract: Hash })
/** What a side knows of a contract, for one that has lost something. */
export const ContractStateReply = reply('ContractState', {
  contract: Hash,
  terms: Terms,
  state: z.string().max(32),
  txid: Hash.nullable(),
  tx: Raw.nullable(),
  owed: Satoshi,
  reserved: Satoshi,
  paid: Satoshi,
  settled: Satoshi,
  payment: ContractPayment.nullable(),
})
