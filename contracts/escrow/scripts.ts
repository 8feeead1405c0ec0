/** The scripts of contracts, byte for byte: nothing else is ever recognised as one. */
import { concat, fromHex, toHex, toUtf8 } from '../../market/bytes.ts'
import { doubleSha256 } from '../../market/hash.ts'
import { op, push } from '../transaction/script.ts'
import { sighashType } from '../transaction/sighash.ts'
import { type Output, serializeOutput, uint32 } from '../transaction/transaction.ts'

const [one, two, codeSeparator, checkMultisig] = [0x51, 0x52, 0xab, 0xae]
/** The sequence of an expiry spend: the script demands it, so that no other can be parked before it. */
export const expirySequence = 0xfffffffe

/** 2-of-2 in the order of the keys: `2 <K1> <K2> 2 CHECKMULTISIG`, K1 < K2. */
export const multisig = (keys: readonly [Uint8Array, Uint8Array]): Uint8Array => {
  const [first, second] = inOrder(keys)
  return concat(Uint8Array.of(two), push(first), push(second), Uint8Array.of(two, checkMultisig))
}

/** Whether the first key of a pair comes first in the script; its signature does so too. */
export const isFirst = (key: Uint8Array, other: Uint8Array): boolean => toHex(key) < toHex(other)
const inOrder = ([a, b]: readonly [Uint8Array, Uint8Array]): readonly [Uint8Array, Uint8Array] =>
  isFirst(a, b) ? [a, b] : [b, a]

/**
 * Both keys, or from `expiry` on (median time past) anybody with exactly these outputs, one input and no other sequence.
 * @param outputs of the expiry spend @param expiry unix seconds, checked by terms.ts: a number the script reads as positive
 */
export function expiringScript(
  keys: readonly [Uint8Array, Uint8Array],
  expiry: number,
  outputs: readonly Output[],
): Uint8Array {
  return concat(
    Uint8Array.of(0x63), // IF
    multisig(keys),
    Uint8Array.of(0x67), // ELSE, on the stack the preimage P of this spend
    fromHex('7601737f01247f'), // DUP, SPLIT at 115: nSequence | hashOutputs from here; SPLIT off 36: nLockTime | type
    fromHex('547f7501007e81'), // nLockTime as a positive number
    concat(Uint8Array.of(4), uint32(expiry), Uint8Array.of(0xa2, 0x69)), // at least the expiry
    push(concat(uint32(expirySequence), hashOutputs(outputs))),
    fromHex('88'), // nSequence and the outputs are these
    fromHex('01447f01247f75aa7c'), // hash of the outpoint of this input
    fromHex('01247f75547f7788'), // … is the hash of all outpoints: there is one input
    fromHex('aa517f7c8b7c7e'), // z + 2^248: of the key below and k = 1 the s of a signature of P
    push(fromHex('3044022079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f817980220')),
    Uint8Array.of(0x7c, 0x7e, 0x01, sighashType, 0x7e), // SWAP CAT, its type behind it
    push(fromHex('02b405d7f0322a89d0f9f3a98e6f938fdc1c969a8d1382a2bf66a71ae74a1e83b0')), // everybody's key: it proves P only
    Uint8Array.of(codeSeparator, op.checkSig, 0x68), // CHECKSIG ENDIF are what P has as its script
  )
}

/** What P has as its script: all behind the OP_CODESEPARATOR. */
export const expiryScriptCode: Uint8Array = Uint8Array.of(op.checkSig, 0x68)

/** What outputs are hashed to in a preimage. */
const hashOutputs = (outputs: readonly Output[]): Uint8Array =>
  doubleSha256(concat(...outputs.map(serializeOutput)))

/** Takes the deposits out of the world: an output that nobody can spend and that may hold money. */
export const burnScript: Uint8Array = concat(Uint8Array.of(op.false, op.return), push(toUtf8('relay escrow')))

/** A signature with its type, or the empty one where it is still to come. */
const slot = (signature: Uint8Array | undefined): Uint8Array =>
  signature === undefined ? Uint8Array.of(op.false) : push(signature)

/**
 * By both keys. @param signatures in the order of the keys in the script, each with its type; undefined: still to come
 * @param isExpiring of the output that is spent: it has two branches, of which this is the first
 */
export const unlockJointly = (
  signatures: readonly [Uint8Array | undefined, Uint8Array | undefined],
  isExpiring: boolean,
): Uint8Array =>
  concat(
    ...[Uint8Array.of(op.false), slot(signatures[0]), slot(signatures[1])],
    Uint8Array.of(...(isExpiring ? [one] : [])),
  )

/** By the time. @param preimage of the spend */
export const unlockByTime = (preimage: Uint8Array): Uint8Array =>
  concat(push(preimage), Uint8Array.of(op.false))
