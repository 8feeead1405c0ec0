/** Signatures under states and rollovers: made by a wallet, checked as bytes, put together to what nodes take. */
import { concat, equal } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { verify } from '../../market/secp256k1.ts'
import { p2pkh, parseP2pkhUnlock, unlockP2pkh } from '../transaction/script.ts'
import { sharedHashes, sighash, sighashType } from '../transaction/sighash.ts'
import { checkScripts } from '../transaction/spend.ts'
import {
  type Outpoint,
  parseTransaction,
  serializeTransaction,
  type Transaction,
} from '../transaction/transaction.ts'
import type { Contract, State } from './contract.ts'
import { type EscrowSigner, escrowKey, type Side } from './keys.ts'
import { demand, refused } from './refusal.ts'
import { isFirst, unlockJointly } from './scripts.ts'
import { canExpire } from './terms.ts'
import { type Draft, stateDraft, withUnlocking } from './transactions.ts'

/** DER of each side, without the type of the signature. */
export type Signatures = Readonly<Partial<Record<Side, Uint8Array>>>

/** Signs input 0 of a draft, which spends the joint output, with the joint key of `side`. @returns DER */
export const signJoint = (
  contract: Contract,
  draft: Draft,
  side: Side,
  signer: EscrowSigner,
): Promise<Uint8Array> => signer.sign(escrowKey(contract.terms, 'joint', side), jointDigest(contract, draft))

export const signState = (
  contract: Contract,
  joint: Outpoint,
  state: State,
  { side, signer }: { side: Side; signer: EscrowSigner },
): Promise<Uint8Array> => signJoint(contract, stateDraft(contract, joint, state), side, signer)

/** @throws `signature` unless it is strict DER with low S, of the joint key of `side`, for the spend of the joint output */
export function checkJointSignature(contract: Contract, draft: Draft, side: Side, der: Uint8Array): void {
  const isGood = verify(der, jointDigest(contract, draft), contract.keys.joint[side])
  demand(isGood, 'signature', `not a signature of the ${side}`)
}

export const checkStateSignature = (
  contract: Contract,
  joint: Outpoint,
  state: State,
  { side, der }: { side: Side; der: Uint8Array },
): void => checkJointSignature(contract, stateDraft(contract, joint, state), side, der)

const jointDigest = (contract: Contract, { transaction }: Draft): Uint8Array =>
  sighash(transaction, 0, contract.joint)

/** The script of input 0, with an empty slot for who has not signed. */
export function jointUnlocking({ keys, terms }: Contract, signatures: Signatures): Uint8Array {
  const typed = ({ client, server }: Signatures) =>
    [client, server].map((der) => der && concat(der, Uint8Array.of(sighashType)))
  const [client, server] = typed(signatures)
  const isClientFirst = isFirst(keys.joint.client, keys.joint.server)
  return unlockJointly(isClientFirst ? [client, server] : [server, client], canExpire(terms))
}

/** A state that one side has signed, as it is sent: the other's slot is empty. */
export const halfSigned = (
  contract: Contract,
  joint: Outpoint,
  state: State,
  signatures: Signatures,
): Transaction =>
  withUnlocking(stateDraft(contract, joint, state).transaction, [jointUnlocking(contract, signatures)])

/**
 * The signature in a half-signed state that the other side sent.
 * @throws refusals unless the bytes are exactly what `halfSigned` gives for a good signature of `side`
 */
export function readHalfSigned(
  contract: Contract,
  joint: Outpoint,
  state: State,
  { side, bytes }: { side: Side; bytes: Uint8Array },
): Uint8Array {
  const der = soleSignature(contract, parseOther(bytes).inputs[0]!.script) // parsed ones have an input
  const expected = halfSigned(contract, joint, state, { [side]: der })
  demand(equal(serializeTransaction(expected), bytes), 'differs', 'not the transaction of this state')
  checkStateSignature(contract, joint, state, { side, der })
  return der
}

/** DER of a script in which one side has signed: `OP_0 <signature or OP_0> <OP_0 or signature> [OP_1]`. @throws refusals */
export function soleSignature({ terms }: Contract, script: Uint8Array): Uint8Array {
  const at = script[1] === 0 ? 2 : 1
  const length = script[at] ?? 0
  const signature = script.subarray(at + 1, at + 1 + length)
  const isWhole = length >= 9 && length <= 73 && script.length === length + (canExpire(terms) ? 4 : 3)
  demand(isWhole, 'unlocking', 'not a script with one signature')
  demand(signature.at(-1) === sighashType, 'sighash-type', 'a signature of another type')
  return signature.subarray(0, -1)
}

/**
 * A state with both signatures, as nodes take it.
 * @throws refusals; nothing that this returns is refused by the script of the joint output
 */
export async function completeState(
  contract: Contract,
  joint: Outpoint,
  state: State,
  signatures: Required<Signatures>,
): Promise<Transaction> {
  const { spent } = stateDraft(contract, joint, state)
  const transaction = halfSigned(contract, joint, state, signatures)
  await checkUnlocking(transaction, spent)
  return transaction
}

/** Signs the inputs of a draft that spend stakes of `side` with its stake key. @param range of inputs, its end excluded */
export async function signStakes(
  contract: Contract,
  { transaction, spent }: Draft,
  [from, end]: readonly [number, number],
  { side, signer }: { side: Side; signer: EscrowSigner },
): Promise<Transaction> {
  const key = escrowKey(contract.terms, 'stake', side)
  const scripts: (Uint8Array | undefined)[] = []
  for (let index = from; index < end; index++) {
    const der = await signer.sign(key, sighash(transaction, index, spent[index]!)) // an input for each stake
    const signature = concat(der, Uint8Array.of(sighashType))
    scripts[index] = unlockP2pkh(signature, contract.keys.stake[side])
  }
  return withUnlocking(transaction, scripts)
}

/**
 * Inputs that spend P2PKH outputs: each script is a signature of everything, with fork id, and the key; nothing else.
 * @param range of inputs, its end excluded @throws `unlocking`, `sighash-type`, `signature`
 */
export function checkStakeInputs(
  transaction: Transaction,
  spent: Draft['spent'],
  [from, end]: readonly [number, number],
): void {
  const shared = sharedHashes(transaction)
  for (let index = from; index < end; index++) {
    const output = spent[index]! // an input for each
    const unlock = parseP2pkhUnlock(transaction.inputs[index]!.script)
    if (unlock === undefined) throw refused('unlocking', 'not a signature and a key')
    const { signature, publicKey } = unlock
    demand(signature.at(-1) === sighashType, 'sighash-type', 'a signature of another type')
    const digest = sighash(transaction, index, output, { shared })
    const isOwner = equal(p2pkh(publicKey), output.script)
    demand(isOwner && verify(signature.subarray(0, -1), digest, publicKey), 'signature', 'not of the stake')
  }
}

/** Every input, under the rules of nodes. @throws `signature` */
export async function checkUnlocking(transaction: Transaction, spent: Draft['spent']): Promise<void> {
  try {
    await checkScripts(transaction, spent, 'policy')
  } catch (cause) {
    throw refused('signature', 'nodes would refuse a signature', cause)
  }
}

/** What the other side sent as a transaction. @throws `differs` for bytes that are none, or more than one */
export function parseOther(bytes: Uint8Array): Transaction {
  try {
    return parseTransaction(bytes)
  } catch (cause) {
    if (cause instanceof MarketError) throw refused('differs', 'not one transaction', cause)
    throw cause
  }
}
