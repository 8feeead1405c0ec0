/** Tokens as coins of a wallet, in a basket of their own: what is in it is no money, the wallet spends it on nothing else. */
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { parseBeef } from '../transaction/beef.ts'
import { type Signer, signatureOf } from '../transaction/sign.ts'
import { push } from '../transaction/script.ts'
import { formatOutpoint, type Txid } from '../transaction/transaction.ts'
import type { Coin } from '../wallet/coins/rows.ts'
import type { EmbeddedWallet } from '../wallet/embedded-wallet.ts'

/** Of a token; nothing reads it as money. */
const tokenSatoshis = 1
/** Longest script that unlocks one: a push of a DER signature and its type. */
const unlockTokenBytes = 1 + 72 + 1

export interface Replacement {
  readonly basket: string
  /** What the transaction and its outputs are called in the wallet. */
  readonly description: string
  readonly spent: readonly Coin[]
  readonly scripts: readonly Uint8Array[]
  readonly signerOf: (spent: Coin) => Signer
}

/** Those that exist for others. @throws ERR_BUSY while one is on its way; what `resume` of wallets throws */
export async function heldTokens(wallet: EmbeddedWallet, basket: string): Promise<Coin[]> {
  let found = await unspentIn(wallet, basket)
  if (found.some(({ state }) => state === 'expected')) {
    await wallet.resume()
    found = await unspentIn(wallet, basket)
  }
  if (found.some(({ state, reserved }) => state === 'expected' || reserved !== undefined))
    throw new MarketError('ERR_BUSY', 'a token is on its way to the chain')
  return found
}

/** Makes and sends the transaction that spends tokens and makes others; what wallets throw. */
export async function replaceTokens(
  wallet: EmbeddedWallet,
  { basket, description, spent, scripts, signerOf }: Replacement,
): Promise<Txid> {
  const options = { randomizeOutputs: false, acceptDelayedBroadcast: false }
  const { txid, signableTransaction } = await wallet.createAction({
    description,
    inputs: spent.map(({ outpoint }) => ({
      outpoint,
      inputDescription: 'a token before it',
      unlockingScriptLength: unlockTokenBytes,
    })),
    outputs: scripts.map((script) => ({
      lockingScript: toHex(script),
      satoshis: tokenSatoshis,
      outputDescription: 'a token of overlays',
      basket,
    })),
    options,
  })
  if (txid !== undefined) return txid
  const { tx, reference } = signableTransaction! // the other of the two
  const { transaction } = parseBeef(Uint8Array.from(tx)).subject
  const coins = new Map(spent.map((coin) => [coin.outpoint, coin]))
  const spends: Record<number, { unlockingScript: string }> = {}
  for (const [at, input] of transaction.inputs.entries()) {
    const coin = coins.get(formatOutpoint(input))
    if (coin === undefined) continue
    const output = { satoshis: coin.satoshis, script: fromHex(coin.script) }
    const signature = signatureOf(transaction, at, { spent: output, signer: signerOf(coin) })
    spends[at] = { unlockingScript: toHex(push(signature)) }
  }
  const signed = await wallet.signAction({ reference, spends, options })
  return signed.txid! // it was signed here
}

async function unspentIn({ store }: EmbeddedWallet, basket: string): Promise<Coin[]> {
  const found: Coin[] = []
  for await (const coin of store.coinsIn(basket))
    if (coin.state !== 'failed' && coin.spent === undefined) found.push(coin)
  return found
}
