/** Tokens that are to stand exactly as long as they are wanted: what is missing is made, what is not wanted any more is spent. */
import { equal, fromHex, toHex } from '../../market/bytes.ts'
import type { Signer } from '../transaction/sign.ts'
import { parseOutpoint, type Txid } from '../transaction/transaction.ts'
import type { Coin } from '../wallet/coins/rows.ts'
import type { EmbeddedWallet } from '../wallet/embedded-wallet.ts'
import { readPushDrop } from './pushdrop.ts'
import { heldTokens, replaceTokens } from './token-coins.ts'

export const standingBasket = 'tokens of overlays'

/** Of one transaction: the next alignment goes on. */
const most = { spent: 32, made: 32 } as const

export interface Alignment {
  /** Transactions that hosts are to know: those with tokens that stand, and the one that was just made. */
  readonly txids: readonly Txid[]
  /** Nothing is missing, nothing too many. */
  readonly isAligned: boolean
}

/**
 * Harmless to repeat, one at a time: the wallet has every transaction on disk before anybody hears of it.
 * @param wanted scripts of tokens, each made the same every time
 * @param signers of everything that ever was wanted
 * @throws ERR_BUSY while one is on its way, ERR_INSUFFICIENT_FUNDS, and what else wallets throw
 */
export async function align(
  wallet: EmbeddedWallet,
  wanted: readonly Uint8Array[],
  signers: readonly Signer[],
): Promise<Alignment> {
  const missing = new Map(wanted.map((script) => [toHex(script), script]))
  const held: Coin[] = []
  const extra: Coin[] = []
  for (const coin of await heldTokens(wallet, standingBasket))
    (missing.delete(coin.script) ? held : extra).push(coin)
  const txids = new Set(held.map(({ outpoint }) => parseOutpoint(outpoint).txid))
  if (missing.size === 0 && extra.length === 0) return { txids: [...txids], isAligned: true }
  const txid = await replaceTokens(wallet, {
    basket: standingBasket,
    description: 'what this relay says of itself to overlays',
    spent: extra.slice(0, most.spent),
    scripts: [...missing.values()].slice(0, most.made),
    signerOf: ({ script }) => signerOf(fromHex(script), signers),
  })
  return {
    txids: [...txids, txid],
    isAligned: extra.length <= most.spent && missing.size <= most.made,
  }
}

function signerOf(script: Uint8Array, signers: readonly Signer[]): Signer {
  const token = readPushDrop(script)
  const signer = token && signers.find(({ publicKey }) => equal(publicKey, token.lock))
  if (signer === undefined) throw new Error('a token that this wallet did not make')
  return signer
}
