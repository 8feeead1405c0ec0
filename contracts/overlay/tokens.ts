/**
 * A relay's own token: its newest advert as an output of its wallet, in a basket of its own. Each spends those before it. The
 * wallet has a transaction on disk before anybody hears of it, so the basket alone says what there is.
 */
import { decodeAdvert, isRevocation } from '../../market/advert.ts'
import { fromHex, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { parseBeef } from '../transaction/beef.ts'
import { signatureOf } from '../transaction/sign.ts'
import { formatOutpoint, parseOutpoint } from '../transaction/transaction.ts'
import type { Coin } from '../wallet/coins/rows.ts'
import type { EmbeddedWallet } from '../wallet/embedded-wallet.ts'
import {
  readToken,
  textOfScript,
  tokenKey,
  tokenSatoshis,
  tokenScript,
  unlockToken,
  unlockTokenBytes,
} from './token.ts'

/** What is in it is no money: the wallet spends it on nothing else. */
export const tokenBasket = 'relay market adverts'

/** Inputs of one transaction; there are more only after trouble. */
const mostSpent = 32

export class AdvertTokens {
  readonly #wallet: () => EmbeddedWallet
  #last: Promise<unknown> = Promise.resolve()

  /** @param wallet of the relay whose adverts these are; it may throw ERR_BUSY while there is none */
  constructor(wallet: () => EmbeddedWallet) {
    this.#wallet = wallet
  }

  /**
   * Atomic BEEF of the transaction whose output is this advert, made and sent where there is none; undefined for a revocation
   * when there is nothing to revoke. Harmless to repeat.
   * @throws ERR_CONFLICT when there is a newer one; ERR_BUSY while one is on its way; ERR_INSUFFICIENT_FUNDS and whatever else
   * wallets throw
   */
  beefFor(text: string): Promise<Uint8Array | undefined> {
    const result = this.#last.then(() => this.#beefFor(text))
    this.#last = result.catch(() => undefined)
    return result
  }

  async #beefFor(text: string): Promise<Uint8Array | undefined> {
    const wallet = this.#wallet()
    const { advert } = decodeAdvert(text)
    if (advert.serverPubKey !== wallet.identity)
      throw new MarketError('ERR_WRONG_RELAY', 'the advert is of another relay')
    const held = await this.#held(wallet)
    const same = held.find(({ script }) => textOfScript(fromHex(script)) === text)
    if (same !== undefined) return wallet.store.beef(parseOutpoint(same.outpoint).txid)
    if (held.some(({ script }) => readToken(fromHex(script)).advert.seq >= advert.seq))
      throw new MarketError('ERR_CONFLICT', 'a newer advert is on the chain already')
    if (held.length === 0 && isRevocation(advert)) return undefined
    return wallet.store.beef(await this.#make(wallet, text, held.slice(0, mostSpent)))
  }

  /** Those that exist for others. @throws ERR_BUSY */
  async #held(wallet: EmbeddedWallet): Promise<Coin[]> {
    const found = await coinsIn(wallet)
    if (!found.some(({ state }) => state === 'expected')) return checked(found)
    await wallet.resume()
    return checked(await coinsIn(wallet))
  }

  async #make(wallet: EmbeddedWallet, text: string, held: readonly Coin[]): Promise<string> {
    const own = wallet.keys.ownKey(tokenKey)
    const options = { randomizeOutputs: false, acceptDelayedBroadcast: false }
    const { txid, signableTransaction } = await wallet.createAction({
      description: 'an advert of this relay, for overlays',
      inputs: held.map(({ outpoint }) => ({
        outpoint,
        inputDescription: 'the advert before it',
        unlockingScriptLength: unlockTokenBytes,
      })),
      outputs: [
        {
          lockingScript: toHex(tokenScript(text, own)),
          satoshis: tokenSatoshis,
          outputDescription: 'the advert',
          basket: tokenBasket,
        },
      ],
      options,
    })
    if (txid !== undefined) return txid
    const { tx, reference } = signableTransaction! // the other of the two
    const { transaction } = parseBeef(Uint8Array.from(tx)).subject
    const spent = new Map(held.map((coin) => [coin.outpoint, coin]))
    const spends: Record<number, { unlockingScript: string }> = {}
    for (const [at, input] of transaction.inputs.entries()) {
      const coin = spent.get(formatOutpoint(input))
      if (coin === undefined) continue
      const output = { satoshis: coin.satoshis, script: fromHex(coin.script) }
      const signature = signatureOf(transaction, at, { spent: output, signer: own })
      spends[at] = { unlockingScript: toHex(unlockToken(signature)) }
    }
    const signed = await wallet.signAction({ reference, spends, options })
    return signed.txid! // it was signed here
  }
}

async function coinsIn({ store }: EmbeddedWallet): Promise<Coin[]> {
  const found: Coin[] = []
  for await (const coin of store.coinsIn(tokenBasket))
    if (coin.state !== 'failed' && coin.spent === undefined) found.push(coin)
  return found
}

function checked(coins: readonly Coin[]): Coin[] {
  if (coins.some(({ state, reserved }) => state === 'expected' || reserved !== undefined))
    throw new MarketError('ERR_BUSY', 'an advert is on its way to the chain')
  return [...coins]
}
