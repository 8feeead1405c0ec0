/**
 * An advert as an output of a transaction (docs/protocol.md §12.7): a token (pushdrop.ts) of one field, the advert's text, that its
 * relay made.
 */
import { type SealedAdvert, advertLimits, decodeAdvert } from '../../market/advert.ts'
import { equal, toUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { invoiceNumber } from '../../market/identity.ts'
import type { Signer } from '../transaction/sign.ts'
import type { KeyName } from '../wallet/key-wallet.ts'
import { textField } from './fields.ts'
import { isLinked, type PushDrop, pushDropScript, readPushDrop } from './pushdrop.ts'

export const marketTopic = 'tm_relay_market'
export const marketService = 'ls_relay_market'

/** The relay's own key of the lock, as BRC-43 names it; others derive it `forSelf`, as `anyone`. */
export const tokenKey: KeyName & { protocolID: [2, string] } = {
  protocolID: [2, 'relay market advert'],
  keyID: '1',
  counterparty: 'anyone',
}
const invoice = invoiceNumber(tokenKey.protocolID, tokenKey.keyID)
/** Of the longest text, with all that is around it. */
const mostBytes = advertLimits.textBytes + 128

/** @param signer of the relay's `tokenKey` */
export const tokenScript = (text: string, signer: Signer): Uint8Array =>
  pushDropScript([toUtf8(text)], signer)

/** The text that a script of this form carries; nothing of it is checked. Undefined for every other script. */
export const textOfScript = (script: Uint8Array): string | undefined => textField(tokenOf(script)?.fields[0])

/**
 * The advert of a token that its relay made: form, lock and signature. Stamp, times and the advert's own signature are for
 * `checkAdvert`.
 * @throws ERR_MALFORMED, ERR_TOO_LARGE, ERR_BAD_SIGNATURE
 */
export function readToken(script: Uint8Array): SealedAdvert {
  const token = tokenOf(script)
  const text = textField(token?.fields[0])
  if (token === undefined || text === undefined)
    throw new MarketError('ERR_MALFORMED', 'not the script of an advert')
  const sealed = decodeAdvert(text)
  if (!isLinked(token, sealed.advert.serverPubKey, invoice))
    throw new MarketError('ERR_BAD_SIGNATURE', 'the token was not made by its relay')
  return sealed
}

/** Here the lock is always first. */
function tokenOf(script: Uint8Array): PushDrop | undefined {
  const token = readPushDrop(script, mostBytes)
  const isToken = token?.fields.length === 1 && equal(token.lock, script.subarray(1, 34))
  return isToken ? token : undefined
}
