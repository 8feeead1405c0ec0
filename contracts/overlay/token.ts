/**
 * An advert as an output of a transaction (docs/protocol.md §12.7): a PushDrop script of the advert's text and a signature,
 * locked to a key that everybody can derive from the relay's and only the relay can sign for. Spent: revoked.
 */
import { type SealedAdvert, decodeAdvert } from '../../market/advert.ts'
import { concat, equal, fromHex, fromUtf8, toUtf8 } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'
import { childPublicKey, invoiceNumber } from '../../market/identity.ts'
import { verify } from '../../market/secp256k1.ts'
import type { Key } from '../../market/units.ts'
import type { Signer } from '../transaction/sign.ts'
import { op, push } from '../transaction/script.ts'
import { Reader } from '../transaction/transaction.ts'
import type { KeyName } from '../wallet/key-wallet.ts'

export const marketTopic = 'tm_relay_market'
export const marketService = 'ls_relay_market'

/** The relay's own key of the lock, as BRC-43 names it; others derive it `forSelf`, as `anyone`. */
export const tokenKey: KeyName & { protocolID: [2, string] } = {
  protocolID: [2, 'relay market advert'],
  keyID: '1',
  counterparty: 'anyone',
}
/** Of a token; nothing reads it as money. */
export const tokenSatoshis = 1
/** Longest script that unlocks one: a push of a DER signature and its type. */
export const unlockTokenBytes = 1 + 72 + 1

const publicKeyBytes = 33
const drop2 = 0x6d
const invoice = invoiceNumber(tokenKey.protocolID, tokenKey.keyID)

/** What locks the tokens of a relay. @throws ERR_MALFORMED for a key that is no point on the curve */
export function lockKeyOf(relay: Key): Uint8Array {
  const publicKey = fromHex(relay)
  // With counterparty `anyone`, whose private key is 1, the shared point is the relay's key itself.
  return childPublicKey(publicKey, publicKey, invoice)
}

/** @param signer of the relay's `tokenKey` */
export const tokenScript = (text: string, signer: Signer): Uint8Array =>
  concat(
    ...[push(signer.publicKey), Uint8Array.of(op.checkSig)],
    ...[push(toUtf8(text)), push(signer.sign(sha256(text))), Uint8Array.of(drop2)],
  )

/** @param signature with its type behind it */
export const unlockToken = (signature: Uint8Array): Uint8Array => push(signature)

/** The text that a script of this form carries; nothing of it is checked. Undefined for every other script. */
export function textOfScript(script: Uint8Array): string | undefined {
  try {
    return fromUtf8(fieldsOf(script).text)
  } catch (error) {
    if (error instanceof MarketError) return undefined
    throw error
  }
}

/**
 * The advert of a token that its relay made: form, lock and signature. Stamp, times and the advert's own signature are for
 * `checkAdvert`.
 * @throws ERR_MALFORMED, ERR_TOO_LARGE, ERR_BAD_SIGNATURE
 */
export function readToken(script: Uint8Array): SealedAdvert {
  const { lock, text, signature } = fieldsOf(script)
  const sealed = decodeAdvert(fromUtf8(text))
  if (!equal(lock, lockKeyOf(sealed.advert.serverPubKey)))
    throw new MarketError('ERR_BAD_SIGNATURE', 'the token is not locked to a key of its relay')
  if (!verify(signature, sha256(text), lock))
    throw new MarketError('ERR_BAD_SIGNATURE', 'the signature of the token does not verify')
  return sealed
}

/** One form, every byte of it: a second script for the same token would be a second token. */
function fieldsOf(script: Uint8Array) {
  const reader = new Reader(script)
  const lock = readPush(reader)
  if (lock.length !== publicKeyBytes || reader.uint8() !== op.checkSig) throw malformed()
  const text = readPush(reader)
  const signature = readPush(reader)
  if (reader.uint8() !== drop2 || reader.at !== script.length) throw malformed()
  if (
    !equal(
      script,
      concat(push(lock), Uint8Array.of(op.checkSig), push(text), push(signature), Uint8Array.of(drop2)),
    )
  )
    throw malformed()
  return { lock, text, signature }
}

function readPush(reader: Reader): Uint8Array {
  const first = reader.uint8()
  if (first > 0 && first < op.pushData1) return reader.bytes(first)
  if (first === op.pushData1) return reader.bytes(reader.uint8())
  if (first === op.pushData2) return reader.bytes(reader.uint8() + 256 * reader.uint8())
  throw malformed()
}

const malformed = (): MarketError => new MarketError('ERR_MALFORMED', 'not the script of an advert')
