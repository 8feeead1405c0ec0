/**
 * Every transaction of a contract, made from its terms alone. What the other side sends is never looked into: it is
 * compared with the bytes that these functions give.
 */
import { doubleSha256 } from '../../market/hash.ts'
import { feeFor } from '../chain/chain.ts'
import { p2pkhHash, unlockP2pkhBytes } from '../transaction/script.ts'
import { preimage } from '../transaction/sighash.ts'
import {
  allSatoshi,
  finalSequence,
  formatOutpoint,
  type Outpoint,
  type Output,
  serializeOutput,
  type Transaction,
} from '../transaction/transaction.ts'
import { type Contract, outputsOf, type State } from './contract.ts'
import type { Side } from './keys.ts'
import { demand, refused } from './refusal.ts'
import { expiryScriptCode, expirySequence, unlockByTime } from './scripts.ts'
import { canExpire, type Terms } from './terms.ts'

/** A P2PKH output that one side puts in. */
export interface Stake extends Outpoint, Output {}

/** What one side puts in, and where what is too much of it goes. */
export interface Funding {
  readonly stakes: readonly Stake[]
  /** A P2PKH script; null where the stakes are exact. */
  readonly change: Uint8Array | null
}

/** A transaction without unlocking scripts, and what each of its inputs spends. */
export interface Draft {
  readonly transaction: Transaction
  readonly spent: readonly Output[]
}

/** Of each side, in one funding. */
export const mostStakes = 100
export const inputBytes = 36 + 1 + unlockP2pkhBytes + 4
export const p2pkhOutputBytes = 34
/** Version, lock time and two counts: each side pays for half. */
const halfFrameBytes = 5

/** What the funding costs one side in fees, in satoshi: by templates, so that both compute the same. */
export function feeShare({ terms, joint }: Contract, side: Side, stakes: number, hasChange = false): number {
  const own = side === 'client' ? serializeOutput(joint).length : 0
  const change = hasChange ? p2pkhOutputBytes : 0
  return feeFor(inputBytes * stakes + halfFrameBytes + own + change, terms.feeRate)
}

/** What one side puts in with this many stakes, in satoshi; without change it is their exact sum. */
export function stakeDue(contract: Contract, side: Side, stakes: number, hasChange = false): number {
  const { budget, closeFee, depositClient, depositServer } = contract.terms
  const part = side === 'client' ? budget + closeFee + depositClient : depositServer
  return part + feeShare(contract, side, stakes, hasChange)
}

/** What a server puts in with one stake and without change: of any contract with such terms. */
export const serverStakeDue = ({
  depositServer,
  feeRate,
}: Pick<Terms, 'depositServer' | 'feeRate'>): number =>
  depositServer + feeFor(inputBytes + halfFrameBytes, feeRate)

/**
 * The funding J: stakes of the client, then of the server; the joint output, then change in this order.
 * @throws refusals: stakes that are no P2PKH, that repeat, or whose sum is not exactly what is due
 */
export function fundingDraft(contract: Contract, client: Funding, server: Funding): Draft {
  const changes = [...fundingChange(contract, 'client', client), ...fundingChange(contract, 'server', server)]
  return draftOf([...client.stakes, ...server.stakes], [contract.joint, ...changes])
}

/** What the client sends before the server has named its stakes: its inputs, the joint output and its change. */
export function openingDraft(contract: Contract, client: Funding): Draft {
  return draftOf(client.stakes, [contract.joint, ...fundingChange(contract, 'client', client)])
}

function fundingChange(contract: Contract, side: Side, funding: Funding): readonly Output[] {
  const { stakes, change } = funding
  const most = stakes.length > 0 && stakes.length <= mostStakes
  demand(most, 'too-many-stakes', `a side has 1 to ${mostStakes} stakes`)
  return changeOf(funding, sumOf(funding) - stakeDue(contract, side, stakes.length, change !== null), side)
}

/** A state: the one input is the joint output, everything is final, the fee is `closeFee`. @throws `paid` */
export const stateDraft = (contract: Contract, joint: Outpoint, state: State): Draft => ({
  transaction: unsigned([joint], outputsOf(contract, state)),
  spent: [contract.joint],
})

/** A mean of 2.1 tries finds a digest that the script can make a signature of; 14 was the most of 2000. */
const mostTries = 200
const [leastFirstByte, mostFirstByte] = [0x01, 0x7d]

/**
 * What anybody may publish once median time past is beyond its lock: the lock is `expiry` or a few seconds later.
 * Complete; nobody signs it. @throws `expiry-range` for a contract without expiry
 */
export function expiryTransaction(contract: Contract, joint: Outpoint): Transaction {
  if (!canExpire(contract.terms)) throw refused('expiry-range', 'this contract has no expiry')
  const [input] = unsigned([joint], []).inputs
  const outputs = outputsOf(contract, { kind: 'expiry' })
  const { expiry } = contract.terms
  for (let lockTime = expiry; lockTime < expiry + mostTries; lockTime++) {
    const transaction = { version: 1, inputs: [{ ...input!, sequence: expirySequence }], outputs, lockTime } // of one outpoint
    const proof = preimage(transaction, 0, contract.joint, { scriptCode: expiryScriptCode })
    const first = doubleSha256(proof)[0]!
    if (first >= leastFirstByte && first <= mostFirstByte)
      return withUnlocking(transaction, [unlockByTime(proof)])
  }
  // Each try succeeds with almost one half.
  throw new Error(`no lock time of ${mostTries} gives a signature`)
}

/** The sum of what goes in, in satoshi. @throws `stake-amount` */
export function sumOf({ stakes }: Funding): number {
  let sum = 0
  for (const { satoshis } of stakes) {
    demand(Number.isSafeInteger(satoshis) && satoshis > 0, 'stake-amount', 'a stake of no amount')
    sum += satoshis
    demand(sum <= allSatoshi, 'stake-amount', 'more than all coins there will be')
  }
  return sum
}

/** What is left of stakes: exactly nothing, or an output for it. @throws refusals */
export function changeOf({ change }: Funding, left: number, side: Side): readonly Output[] {
  if (change === null) {
    demand(left === 0, 'balance', `the stakes of the ${side} are ${left} satoshi off`)
    return []
  }
  demand(p2pkhHash(change) !== undefined, 'change-script', `the change of the ${side} is no P2PKH`)
  demand(left > 0, 'balance', `the stakes of the ${side} leave ${left} satoshi of change`)
  return [{ satoshis: left, script: change }]
}

/** @throws refusals for stakes that are not some P2PKH outputs, each once */
export function draftOf(stakes: readonly Stake[], outputs: readonly Output[]): Draft {
  demand(stakes.length <= 2 * mostStakes, 'too-many-stakes', `more than ${mostStakes} stakes of a side`)
  for (const { script } of stakes)
    demand(p2pkhHash(script) !== undefined, 'stake-script', 'a stake is no P2PKH')
  const names = new Set(stakes.map(formatOutpoint))
  demand(names.size === stakes.length, 'stake-repeated', 'a stake is named twice')
  return {
    transaction: unsigned(stakes, outputs),
    spent: stakes.map(({ satoshis, script }) => ({ satoshis, script })),
  }
}

/** Version 1, final, without lock: what was signed so can be changed by nobody. */
export const unsigned = (outpoints: readonly Outpoint[], outputs: readonly Output[]): Transaction => ({
  version: 1,
  inputs: outpoints.map(({ txid, vout }) => ({ txid, vout, script: empty, sequence: finalSequence })),
  outputs,
  lockTime: 0,
})

/** @param scripts in the order of the inputs; undefined: as it is */
export const withUnlocking = (
  transaction: Transaction,
  scripts: readonly (Uint8Array | undefined)[],
): Transaction => ({
  ...transaction,
  inputs: transaction.inputs.map((input, index) => ({ ...input, script: scripts[index] ?? input.script })),
})

/** The transaction as it was before anybody signed: what a txid that may change is told by. */
export const withoutUnlocking = (transaction: Transaction): Transaction =>
  withUnlocking(
    transaction,
    transaction.inputs.map(() => empty),
  )

const empty = new Uint8Array(0)
