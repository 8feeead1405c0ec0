/** What a transaction must obey: of the consensus to be in a block, and of policy besides to be taken by a node. */
import { MarketError } from '../../../market/errors.ts'
import { coinbaseMaturity } from '../../transaction/beef.ts'
import type { Next } from '../../transaction/lock-time.ts'
import { op } from '../../transaction/script.ts'
import { checkScripts } from '../../transaction/spend.ts'
import {
  allSatoshi,
  formatOutpoint,
  nullTxid,
  type Output,
  parseTransaction,
  type Transaction,
  transactionBytes,
} from '../../transaction/transaction.ts'
import { leastFeeRate } from '../chain.ts'
import { type Coin, isData } from './coins.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'
import { rejected } from './rejected.ts'

/** A version is signed; above 1 a transaction is bound by fewer rules since Chronicle. */
const leastVersion = 1

/** @throws RpcError -22 unless the bytes are one transaction, all of them */
export function decode(bytes: Uint8Array): Transaction {
  try {
    return parseTransaction(bytes)
  } catch (error) {
    if (error instanceof MarketError) throw new RpcError(rpcCodes.deserializationError, 'TX decode failed')
    throw error
  }
}

/** What the consensus says of a transaction by itself. @throws RpcError -26 */
export function checkForm({ inputs, outputs }: Transaction, size: number): void {
  if (inputs.length === 1 && isNull(inputs[0]!)) throw rejected('invalid', 'bad-tx-coinbase')
  if (size > transactionBytes) throw rejected('invalid', 'bad-txns-oversize')
  if (total(outputs) > allSatoshi) throw rejected('invalid', 'bad-txns-txouttotal-toolarge')
  if (outputs.some(isP2sh)) throw rejected('invalid', 'bad-txns-vout-p2sh')
  if (inputs.some(isNull)) throw rejected('invalid', 'bad-txns-prevout-null')
  if (new Set(inputs.map(formatOutpoint)).size < inputs.length)
    throw rejected('invalid', 'bad-txns-inputs-duplicate')
}

/** What nodes demand besides. @throws RpcError -26 */
export function checkStandard({ version, outputs }: Transaction): void {
  if ((version | 0) < leastVersion) throw rejected('nonStandard', 'version')
  if (outputs.some((output) => output.satoshis === 0 && !isData(output)))
    throw rejected('nonStandard', 'dust')
}

/** The fee in satoshi. @throws RpcError -26 for more out than in, or coins of a miner too soon */
export function checkAmounts({ outputs }: Transaction, spent: readonly Coin[], { height }: Next): number {
  if (spent.some((coin) => coin.isCoinbase && height - coin.height < coinbaseMaturity))
    throw rejected('invalid', 'bad-txns-premature-spend-of-coinbase')
  const fee = total(spent) - total(outputs)
  if (fee < 0) throw rejected('invalid', 'bad-txns-in-belowout')
  return fee
}

/**
 * The least fee of so many bytes, rounded down as nodes do. Each transaction pays it for itself: a parent that pays less is
 * refused even where a child would pay for both.
 */
export const leastFee = (size: number): number => Math.max(1, Math.floor((size * leastFeeRate) / 1000))

/** @throws RpcError -26 */
export function checkFee(fee: number, size: number): void {
  if (fee < leastFee(size)) throw rejected('insufficientFee', 'mempool min fee not met')
}

/** Every script, under the rules of nodes or only those of blocks. @throws RpcError -26 with code 16 if blocks may not have it, else 64 */
export async function checkUnlocking(
  transaction: Transaction,
  spent: readonly Output[],
  rules: 'policy' | 'consensus',
): Promise<void> {
  const why = await scriptError(transaction, spent, rules)
  if (why === undefined) return
  if (rules === 'policy' && (await scriptError(transaction, spent, 'consensus')) === undefined)
    throw rejected('nonStandard', `non-mandatory-script-verify-flag (${why})`)
  throw rejected('invalid', `mandatory-script-verify-flag-failed (${why})`)
}

async function scriptError(...args: Parameters<typeof checkScripts>): Promise<string | undefined> {
  try {
    await checkScripts(...args)
    return undefined
  } catch (error) {
    if (error instanceof MarketError && error.code === 'ERR_TRANSACTION_REFUSED') return error.message
    throw error
  }
}

const total = (outputs: readonly Output[]): number => outputs.reduce((sum, { satoshis }) => sum + satoshis, 0)

const isNull = ({ txid, vout }: { txid: string; vout: number }): boolean =>
  txid === nullTxid && vout === 0xffffffff

/** Forbidden since Genesis: OP_HASH160 <20 bytes> OP_EQUAL. */
const isP2sh = ({ script }: Output): boolean =>
  script.length === 23 && script[0] === op.hash160 && script[1] === 20 && script[22] === opEqual
const opEqual = 0x87
