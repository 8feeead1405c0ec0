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
const memoryBytes = 1 << 20
/** What the scripts of strangers may cost us, about 1 µs a unit: bytes that an operation may touch, and signatures. */
const mostUnits = 2_000_000
const unitsOfOperation = 2
const unitsOfSignature = 3000
/** Of a P2PKH input, which no interpreter runs. */
const unitsOfPlainInput = 200
/** After which way is given: 64 plain inputs. */
const unitsOfTurn = 64 * unitsOfPlainInput
const bytesOfUnit = 64

/** Shared by all that one caller has checked at once. */
export interface Budget {
  left: number
  /** Lets others have their turn; called about every ten milliseconds. */
  readonly giveWay?: () => Promise<unknown>
}
export const newBudget = (giveWay?: Budget['giveWay']): Budget => ({
  left: mostUnits,
  ...(giveWay && { giveWay }),
})
const tooCostly = 'the scripts cost too much to be run'

/**
 * @param spent what each input spends, in their order
 * @throws ERR_TRANSACTION_REFUSED naming the input; also for scripts that cost more than the budget
 */
export async function checkScripts(
  transaction: Transaction,
  spent: readonly Output[],
  rules: Rules = 'policy',
  budget: Budget = newBudget(),
): Promise<void> {
  const shared = sharedHashes(transaction)
  let interpreter: Interpreter | undefined
  for (const [index, output] of spent.entries()) {
    const turn = turnOf(budget)
    let isGood = spendsP2pkh(transaction, index, { spent: output, shared, budget })
    if (isGood === undefined) {
      interpreter ??= await interpreterOf(transaction, rules, budget)
      isGood = interpreter(index, output)
    }
    if (turnOf(budget) !== turn) await budget.giveWay?.()
    if (isGood === true) continue
    const why = isGood === false ? 'the signature is not valid' : isGood
    throw refused(`input ${index} may not spend ${formatOutpoint(transaction.inputs[index]!)}: ${why}`) // as many as outputs
  }
}

const turnOf = ({ left }: Budget): number => Math.floor(left / unitsOfTurn)

/** The fee in satoshi. @throws ERR_TRANSACTION_REFUSED when more goes out than comes in, or something is spent twice */
export function feeOf({ inputs, outputs }: Transaction, spent: readonly Output[]): number {
  if (new Set(inputs.map(formatOutpoint)).size !== inputs.length) throw refused('it spends an output twice')
  const sum = (amounts: readonly Output[]) => amounts.reduce((total, { satoshis }) => total + satoshis, 0)
  const fee = sum(spent) - sum(outputs)
  if (fee < 0) throw refused(`${-fee} satoshi more go out than come in`)
  return fee
}

/** The common case, thirty times faster than the interpreter: whether it may, or why not; undefined where that has to decide. */
function spendsP2pkh(
  transaction: Transaction,
  index: number,
  { spent, shared, budget }: { spent: Output; shared: SharedHashes; budget: Budget },
): boolean | string | undefined {
  const hash = p2pkhHash(spent.script)
  const unlock = parseP2pkhUnlock(transaction.inputs[index]!.script) // as many as outputs are spent
  if (hash === undefined || unlock === undefined || transaction.version !== 1) return undefined
  const { signature, publicKey } = unlock
  if (signature.at(-1) !== sighashType || !equal(hash160(publicKey), hash)) return undefined
  budget.left -= unitsOfPlainInput
  if (budget.left < 0) return tooCostly
  return verify(signature.subarray(0, -1), sighash(transaction, index, spent, { shared }), publicKey)
}

/** Runs the scripts of an input: true, or what is wrong. */
type Interpreter = (index: number, spent: Output) => true | string

async function interpreterOf(transaction: Transaction, rules: Rules, budget: Budget): Promise<Interpreter> {
  const { Spend, LockingScript, OP, Transaction: Sdk } = await loadSdk()
  const signatures: readonly number[] = [
    ...[OP.OP_CHECKSIG, OP.OP_CHECKSIGVERIFY, OP.OP_CHECKMULTISIG, OP.OP_CHECKMULTISIGVERIFY],
  ]
  /** What an operation costs is known before it is done: it touches no more than the stack, and makes no more. */
  class Metered extends Spend {
    override step(): boolean {
      const script = this.context === 'UnlockingScript' ? this.unlockingScript : this.lockingScript
      const { op } = script.chunks[this.programCounter] ?? {}
      const checks = op !== undefined && signatures.includes(op) ? Math.max(1, this.stack.length) : 0
      pay(unitsOfOperation + this.stackMem / bytesOfUnit + checks * unitsOfSignature)
      return super.step()
    }
  }
  const pay = (units: number): void => {
    budget.left -= units
    if (budget.left < 0) throw new Error(tooCostly)
  }
  // Never changed: an object of the library that is changed may keep the bytes it had.
  const parsed: SdkTransaction = Sdk.fromBinary([...serializeTransaction(transaction)])
  const flags = [
    ...epochs,
    ...(isBound(transaction) ? version1 : []),
    ...(isBound(transaction) && rules === 'policy' ? version1Policy : []),
    ...(rules === 'policy' ? policy : []),
  ]
  return (index, spent) => {
    const input = parsed.inputs[index]! // the bytes are ours
    try {
      pay(parsed.inputs.length + spent.script.length / bytesOfUnit)
      const isGood = new Metered({
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
}

const refused = (sentence: string): MarketError => new MarketError('ERR_TRANSACTION_REFUSED', sentence)
