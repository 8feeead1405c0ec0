/** Whether a transaction may spend what it spends: scripts under the rules of nodes, and amounts. */
import type { Transaction as SdkTransaction } from '@bsv/sdk'
import { equal } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { hash160 } from '../../market/hash.ts'
import { verify } from '../../market/secp256k1.ts'
import { loadSdk } from './sdk.ts'
import { p2pkhHash, parseP2pkhUnlock } from './script.ts'
import { type SharedHashes, sharedHashes, sighash, sighashType } from './sighash.ts'
import { formatOutpoint, type Output, serializeTransaction, type Transaction } from './transaction.ts'

/** What every block obeys, or also what nodes demand of what they are sent; the latter unless said. */
export type Rules = 'consensus' | 'policy'

const epochs = [
  'GENESIS',
  'UTXO_AFTER_GENESIS',
  'UTXO_AFTER_CHRONICLE',
  'SIGHASH_FORKID',
  'STRICTENC',
  'DERSIG',
]
/** Since Chronicle only transactions of version 1 (or less: it is signed) are bound by these. */
const isBound = ({ version }: Transaction): boolean => (version | 0) <= 1
const version1 = ['LOW_S', 'NULLFAIL', 'SIGPUSHONLY']
const version1Policy = ['NULLDUMMY', 'MINIMALDATA', 'CLEANSTACK']
const policy = ['DISCOURAGE_UPGRADABLE_NOPS']

/** Of the interpreter, for each script. */
const memoryBytes = 8 << 20

/**
 * @param spent what each input spends, in their order
 * @throws ERR_TRANSACTION_REFUSED naming the input
 */
export async function checkScripts(
  transaction: Transaction,
  spent: readonly Output[],
  rules: Rules = 'policy',
): Promise<void> {
  const shared = sharedHashes(transaction)
  for (const [index, output] of spent.entries()) {
    const isGood =
      spendsP2pkh(transaction, index, { spent: output, shared }) ??
      (await interpret(transaction, index, { spent: output, rules }))
    if (isGood === true) continue
    const why = isGood === false ? 'the signature is not valid' : isGood
    throw refused(`input ${index} may not spend ${formatOutpoint(transaction.inputs[index]!)}: ${why}`) // as many as outputs
  }
}

/** The fee in satoshi. @throws ERR_TRANSACTION_REFUSED when more goes out than comes in, or something is spent twice */
export function feeOf({ inputs, outputs }: Transaction, spent: readonly Output[]): number {
  if (new Set(inputs.map(formatOutpoint)).size !== inputs.length) throw refused('it spends an output twice')
  const sum = (amounts: readonly Output[]) => amounts.reduce((total, { satoshis }) => total + satoshis, 0)
  const fee = sum(spent) - sum(outputs)
  if (fee < 0) throw refused(`${-fee} satoshi more go out than come in`)
  return fee
}

/** The common case, thirty times faster than the interpreter; undefined where that has to decide. */
function spendsP2pkh(
  transaction: Transaction,
  index: number,
  { spent, shared }: { spent: Output; shared: SharedHashes },
): boolean | undefined {
  const hash = p2pkhHash(spent.script)
  const unlock = parseP2pkhUnlock(transaction.inputs[index]!.script) // as many as outputs are spent
  if (hash === undefined || unlock === undefined || transaction.version !== 1) return undefined
  const { signature, publicKey } = unlock
  if (signature.at(-1) !== sighashType || !equal(hash160(publicKey), hash)) return undefined
  return verify(signature.subarray(0, -1), sighash(transaction, index, spent, { shared }), publicKey)
}

/** True, or what is wrong. */
async function interpret(
  transaction: Transaction,
  index: number,
  { spent, rules }: { spent: Output; rules: Rules },
): Promise<true | string> {
  const { Spend, LockingScript, Transaction: Sdk } = await loadSdk()
  // Parsed anew each time: an object of the library that was changed may keep the bytes it had.
  const parsed: SdkTransaction = Sdk.fromBinary([...serializeTransaction(transaction)])
  const input = parsed.inputs[index]! // the bytes are ours
  const flags = [
    ...epochs,
    ...(isBound(transaction) ? version1 : []),
    ...(isBound(transaction) && rules === 'policy' ? version1Policy : []),
    ...(rules === 'policy' ? policy : []),
  ]
  try {
    const isGood = new Spend({
      sourceTXID: transaction.inputs[index]!.txid,
      sourceOutputIndex: input.sourceOutputIndex,
      sourceSatoshis: spent.satoshis,
      lockingScript: LockingScript.fromBinary([...spent.script]),
      transactionVersion: transaction.version,
      otherInputs: parsed.inputs.filter((_, at) => at !== index),
      outputs: parsed.outputs,
      unlockingScript: input.unlockingScript!, // parsed inputs have one
      inputSequence: input.sequence ?? 0xffffffff,
      inputIndex: index,
      lockTime: transaction.lockTime,
      memoryLimit: memoryBytes,
      verifyFlags: flags,
    }).validate()
    return isGood || 'the script ends without success'
  } catch (error) {
    return (error as Error).message.split('\n')[0] ?? 'the script fails' // the interpreter throws Errors
  }
}

const refused = (sentence: string): MarketError => new MarketError('ERR_TRANSACTION_REFUSED', sentence)
