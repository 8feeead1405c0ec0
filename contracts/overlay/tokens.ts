/**
 * A relay's own token: its newest advert as an output of its wallet, in a basket of its own. Each spends those before it. The
 * wallet has a transaction on disk before anybody hears of it, so the basket alone says what there is.
 */
import { decodeAdvert, isRevocation } from '../../market/advert.ts'
import { fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { parseOutpoint } from '../transaction/transaction.ts'
import type { EmbeddedWallet } from '../wallet/embedded-wallet.ts'
import { readToken, textOfScript, tokenKey, tokenScript } from './token.ts'
import { heldTokens, replaceTokens } from './token-coins.ts'

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
    const held = await heldTokens(wallet, tokenBasket)
    const same = held.find(({ script }) => textOfScript(fromHex(script)) === text)
    if (same !== undefined) return wallet.store.beef(parseOutpoint(same.outpoint).txid)
    if (held.some(({ script }) => readToken(fromHex(script)).advert.seq >= advert.seq))
      throw new MarketError('ERR_CONFLICT', 'a newer advert is on the chain already')
    if (held.length === 0 && isRevocation(advert)) return undefined
    const own = wallet.keys.ownKey(tokenKey)
    const txid = await replaceTokens(wallet, {
      basket: tokenBasket,
      description: 'an advert of this relay, for overlays',
      spent: held.slice(0, mostSpent),
      scripts: [tokenScript(text, own)],
      signerOf: () => own,
    })
    return wallet.store.beef(txid)
  }
}
