/** Where the coins of a devnet come from: a key that everybody knows, which mines the first blocks and gives their coins away. */
import { sha256 } from '../../../market/hash.ts'
import { coinbaseMaturity } from '../../transaction/beef.ts'
import { p2pkh, unlockP2pkhBytes } from '../../transaction/script.ts'
import { signAll, signerOf } from '../../transaction/sign.ts'
import {
  finalSequence,
  type Output,
  parseOutpoint,
  serializeTransaction,
  type Transaction,
} from '../../transaction/transaction.ts'
import { feeFor, leastFeeRate } from '../chain.ts'
import type { Coin, CoinKey, Coins } from './coins.ts'
import type { Mempool } from './mempool.ts'
import { RpcError, rpcCodes } from '../rpc-error.ts'

const faucet = signerOf(sha256('the faucet of every devnet: these coins are worth nothing'))
export const faucetScript = p2pkh(faucet.publicKey)

/** Coinbases that are cut up at the start. */
const cutCoinbases = 4
/** Blocks after which the first coinbases can be cut up: the next block does it. */
export const blocksBeforeCut = coinbaseMaturity + cutCoinbases - 1
/** Equal coins that one coinbase becomes. */
const coinsOfCut = 250
/** With fewer coins than this, another coinbase is cut up. */
const fewCoins = 200
/** In one payment. */
const mostInputs = 500

const inputBytes = 36 + 1 + unlockP2pkhBytes + 4
const outputBytes = (script: Uint8Array): number => 8 + 3 + script.length
const otherBytes = 4 + 3 + 3 + 4

/** Transactions that cut coinbases up, as many as are old enough for a block of that height; none while there are coins enough. */
export function cuts(coins: Coins, mempool: Mempool, height: number): Uint8Array[] {
  const free = freeCoins(coins, mempool)
  if (free.filter(([, coin]) => !coin.isCoinbase).length >= fewCoins) return []
  return free
    .filter(([, coin]) => coin.isCoinbase && height - coin.height >= coinbaseMaturity)
    .slice(0, cutCoinbases)
    .map(([outpoint, coin]) => {
      const fee = feeFor(otherBytes + inputBytes + coinsOfCut * outputBytes(faucetScript), leastFeeRate)
      const satoshis = Math.floor((coin.satoshis - fee) / coinsOfCut)
      return signed([[outpoint, coin]], Array(coinsOfCut).fill({ satoshis, script: faucetScript }))
    })
}

/** Pays from coins that are mined, and no miner's. @throws RpcError -6 when there are not enough */
export function payment(coins: Coins, mempool: Mempool, output: Output): Uint8Array {
  const chosen: [CoinKey, Coin][] = []
  let change =
    -output.satoshis -
    feeFor(otherBytes + outputBytes(output.script) + outputBytes(faucetScript), leastFeeRate)
  for (const found of freeCoins(coins, mempool)) {
    if (change >= 0 || chosen.length === mostInputs) break
    if (found[1].isCoinbase) continue
    chosen.push(found)
    change += found[1].satoshis - feeFor(inputBytes, leastFeeRate)
  }
  if (change < 0)
    throw new RpcError(
      rpcCodes.walletInsufficientFunds,
      'the faucet of this devnet has not so many coins; mine a block',
    )
  return signed(chosen, [output, ...(change > 0 ? [{ satoshis: change, script: faucetScript }] : [])])
}

const freeCoins = (coins: Coins, mempool: Mempool): [CoinKey, Coin][] =>
  [...coins.watched].filter(([outpoint]) => !mempool.spends(outpoint))

function signed(spent: readonly [CoinKey, Coin][], outputs: readonly Output[]): Uint8Array {
  const inputs = spent.map(([outpoint]) => ({
    ...parseOutpoint(outpoint),
    script: new Uint8Array(0),
    sequence: finalSequence,
  }))
  const unsigned: Transaction = { version: 1, inputs, outputs, lockTime: 0 }
  const coins = spent.map(([, coin]) => coin)
  return serializeTransaction(signAll(unsigned, coins, faucet))
}
