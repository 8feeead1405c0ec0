/** What a signature in a transaction signs: the digest with fork id, of all inputs and all outputs; no other is made or taken. */
import { concat } from '../../market/bytes.ts'
import { doubleSha256 } from '../../market/hash.ts'
import {
  compactSize,
  hashOfTxid,
  type Output,
  serializeOutput,
  type Transaction,
  uint32,
  uint64,
} from './transaction.ts'

/** SIGHASH_ALL | SIGHASH_FORKID: the last byte of every signature. */
export const sighashType = 0x41

/** What all inputs of a transaction share; make it once to sign many. */
export interface SharedHashes {
  readonly prevouts: Uint8Array
  readonly sequences: Uint8Array
  readonly outputs: Uint8Array
}

export function sharedHashes({ inputs, outputs }: Transaction): SharedHashes {
  return {
    prevouts: doubleSha256(concat(...inputs.flatMap(({ txid, vout }) => [hashOfTxid(txid), uint32(vout)]))),
    sequences: doubleSha256(concat(...inputs.map(({ sequence }) => uint32(sequence)))),
    outputs: doubleSha256(concat(...outputs.map(serializeOutput))),
  }
}

/**
 * The bytes whose double SHA-256 input `index` signs, spending `spent`.
 * @param scriptCode what follows the last executed OP_CODESEPARATOR; the whole locking script where there is none
 */
export function preimage(
  transaction: Transaction,
  index: number,
  spent: Output,
  {
    shared = sharedHashes(transaction),
    scriptCode = spent.script,
  }: { shared?: SharedHashes; scriptCode?: Uint8Array } = {},
): Uint8Array {
  const { version, inputs, lockTime } = transaction
  const { txid, vout, sequence } = inputs[index]! // the caller names an input it has
  return concat(
    ...[uint32(version), shared.prevouts, shared.sequences, hashOfTxid(txid), uint32(vout)],
    ...[compactSize(scriptCode.length), scriptCode, uint64(spent.satoshis), uint32(sequence)],
    ...[shared.outputs, uint32(lockTime), uint32(sighashType)],
  )
}

/** The 32 bytes that are signed. */
export const sighash = (...args: Parameters<typeof preimage>): Uint8Array => doubleSha256(preimage(...args))
