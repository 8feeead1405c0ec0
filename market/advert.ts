/**
 * How a relay offers its service to strangers (docs/protocol.md §12): one signed, stamped text that is the same on every
 * channel. Nothing here trusts who handed it over.
 */
import { z } from 'zod'
import { parseAddress, type RelayAddress } from './address.ts'
import { fromHex, toHex, utf8Length } from './bytes.ts'
import { canonicalize, parseCanonical } from './canonical.ts'
import { firstIssue, type Signer } from './envelope.ts'
import { MarketError } from './errors.ts'
import { sha256, sha256Hex } from './hash.ts'
import { ANYONE_KEY, messageKey } from './identity.ts'
import { isFree } from './price.ts'
import { verify as verifySignature } from './secp256k1.ts'
import { leadingZeroBits, Stamp, stampDigest } from './stamp.ts'
import { dayMs, type Hash, Key, Milliseconds, type Prices, SignatureHex } from './units.ts'

export const advertLimits = {
  textBytes: 4096,
  /** Longest life of an advert; a relay that stays says so again. */
  lifeMs: 7 * dayMs,
  /** How far a stranger's clock may be ahead of ours. */
  futureMs: 600_000,
  /** What readers ask for: about a second of one core for each advert. */
  bits: 20,
  features: 64,
  featureLength: 32,
} as const

/** The networks whose coins a relay takes; relays that take none say `null`, and charge nothing. */
export const AdvertNetwork = z.enum(['main', 'test', 'regtest', 'devnet'])
export type AdvertNetwork = z.infer<typeof AdvertNetwork>

const Price = z.int().min(0).max(1_000_000_000_000)

export const Advert = z.strictObject({
  type: z.literal('serverBroadcast'),
  serverPubKey: Key,
  /** As §8.1, with or without its fragment, which must be `serverPubKey`. */
  address: z.string().min(1).max(512),
  /** Satoshi per 10^9 bytes and day. */
  storageCostPerGigPerDay: Price,
  /** Satoshi per 10^9 bytes served. */
  bandwidthCostPerGig: Price,
  /** Satoshi per 10^9 bytes accepted; absent: 0. */
  ingressCostPerGig: Price.optional(),
  network: AdvertNetwork.nullable(),
  protocol: z.literal(1),
  features: z
    .array(
      z
        .string()
        .regex(/^[A-Za-z0-9._-]+$/)
        .max(advertLimits.featureLength),
    )
    .max(advertLimits.features),
  /** Largest record in bytes, longest `ttl` in seconds. */
  limits: z.strictObject({ recordBytes: z.int().min(1), ttl: z.int().min(1) }),
  timestamp: Milliseconds,
  /** `timestamp`: a revocation. */
  expires: Milliseconds,
  seq: Milliseconds,
  proofOfWork: Stamp,
  signature: SignatureHex,
})
export type Advert = z.infer<typeof Advert>
/** What an advert says, before it is stamped and signed. */
export type AdvertClaims = Omit<Advert, 'proofOfWork' | 'signature'>

/** An advert, its one text, and what was measured of it. */
export interface SealedAdvert {
  readonly advert: Advert
  readonly text: string
  /** SHA-256 of its text: it names this advert among others. */
  readonly hash: Hash
  /** Leading zero bits of its stamp: measured, never claimed. */
  readonly bits: number
  readonly address: RelayAddress
}

/** What a reader asks of adverts. */
export interface AdvertPolicy {
  /** Milliseconds since 1970. */
  readonly now: number
  /** `advertLimits.bits` unless said. */
  readonly bits?: number | undefined
  /** Adverts of other networks are refused; those of relays that take no coins are not. */
  readonly network?: AdvertNetwork | undefined
}

/** The text that a stamp is made for: canonical, without `proofOfWork` and `signature`. @throws ERR_MALFORMED */
export const stampText = (claims: AdvertClaims): string => canonicalize(claims)

/** Signs stamped claims. @throws ERR_MALFORMED for claims that no reader would take */
export async function sealAdvert(claims: AdvertClaims, stamp: string, signer: Signer): Promise<SealedAdvert> {
  const stamped = { ...claims, proofOfWork: stamp }
  const digest = sha256(canonicalize(stamped))
  return decodeAdvert(canonicalize({ ...stamped, signature: toHex(await signer.sign(digest)) }))
}

/**
 * Parses an advert: size, canonical form, schema, consistency. Nothing is known of its stamp or signature yet.
 * @throws ERR_TOO_LARGE, ERR_MALFORMED
 */
export function decodeAdvert(text: string): SealedAdvert {
  if (utf8Length(text) > advertLimits.textBytes)
    throw new MarketError('ERR_TOO_LARGE', `an advert has at most ${advertLimits.textBytes} bytes`)
  const parsed = Advert.safeParse(parseCanonical(text))
  if (!parsed.success) throw new MarketError('ERR_MALFORMED', firstIssue(parsed.error))
  const advert = parsed.data
  const address = addressOf(advert)
  const problem = inconsistency(advert)
  if (problem !== undefined) throw new MarketError('ERR_MALFORMED', problem)
  return { advert, text, hash: sha256Hex(text), bits: bitsOf(text, advert), address }
}

/** The end of every canonical advert: its last fields in their order. */
const ending =
  /"proofOfWork":"([0-9]{1,20})","protocol":1,"seq":[0-9]{1,16},"serverPubKey":"([0-9a-f]{66})","signature":"([0-9a-f]{1,144})","storageCostPerGigPerDay":[0-9]{1,13},"timestamp":([0-9]{1,16}),"type":"serverBroadcast"}$/

/** What a text says at a glance, whether or not it is an advert: whose it is, when it was made, and how much work is in it. */
export interface Glimpse {
  readonly relay: Key
  readonly timestamp: number
  /** Measured when it is asked for. */
  readonly bits: number
}

/** Undefined for what cannot be an advert. It costs a fraction of `decodeAdvert`. */
export function glance(text: string): Glimpse | undefined {
  const [, proofOfWork = '', relay = '', signature = '', timestamp] = ending.exec(text) ?? []
  if (relay === '') return undefined
  const fields = { proofOfWork, signature }
  return {
    relay,
    timestamp: Number(timestamp),
    get bits() {
      return bitsOf(text, fields)
    },
  }
}

/**
 * Returns an advert whose stamp, network, time and signature hold, checked in this order.
 * @throws ERR_LIMIT for too few bits (`bits`: how many are asked for); ERR_FORBIDDEN for another network; ERR_STALE for one of
 * the future; ERR_EXPIRED, a revocation by the time at which all it revokes has expired; ERR_BAD_SIGNATURE
 */
export function checkAdvert<A extends SealedAdvert>(sealed: A, policy: AdvertPolicy): A {
  const { now, bits = advertLimits.bits, network } = policy
  const { advert } = sealed
  if (sealed.bits < bits)
    throw new MarketError('ERR_LIMIT', `the stamp has ${sealed.bits} bits of ${bits}`, { extras: { bits } })
  if (network !== undefined && advert.network !== null && advert.network !== network)
    throw new MarketError('ERR_FORBIDDEN', `an advert of network ${advert.network}, not ${network}`)
  if (advert.timestamp > now + advertLimits.futureMs)
    throw new MarketError('ERR_STALE', 'an advert of the future', { extras: { time: now } })
  if (forgottenAt(advert) <= now) throw new MarketError('ERR_EXPIRED', 'the advert has expired')
  if (!isSigned(sealed)) throw new MarketError('ERR_BAD_SIGNATURE', 'the signature does not verify')
  return sealed
}

/** `checkAdvert` of a text. */
export const openAdvert = (text: string, policy: AdvertPolicy): SealedAdvert =>
  checkAdvert(decodeAdvert(text), policy)

/** Says that whatever the relay advertised before holds no longer. */
export const isRevocation = ({ expires, timestamp }: Advert): boolean => expires === timestamp

/** Until then an advert must be remembered: a revocation outlives every advert that it could revoke. */
export const forgottenAt = (advert: Advert): number =>
  isRevocation(advert) ? advert.timestamp + advertLimits.lifeMs + advertLimits.futureMs : advert.expires

/** The prices of an advert, in the words of receipts and quotes. */
export const pricesOf = (advert: Advert): Prices => ({
  storageGBDay: advert.storageCostPerGigPerDay,
  egressGB: advert.bandwidthCostPerGig,
  ingressGB: advert.ingressCostPerGig ?? 0,
})

function addressOf({ address, serverPubKey }: Advert): RelayAddress {
  const parsed = parseAddress(address.includes('#') ? address : `${address}#${serverPubKey}`)
  if (parsed.key !== serverPubKey)
    throw new MarketError('ERR_MALFORMED', 'the address names another key than serverPubKey')
  return parsed
}

function inconsistency(advert: Advert): string | undefined {
  const { serverPubKey, timestamp, expires, seq, network } = advert
  if (serverPubKey === ANYONE_KEY) return "key 1 is nobody's relay"
  if (expires < timestamp) return 'it expires before it was made'
  if (expires - timestamp > advertLimits.lifeMs) return 'an advert lives at most seven days'
  // A number from the future would make every later advert of this relay an older one.
  if (seq > timestamp + advertLimits.futureMs) return 'seq is of the future'
  if (network === null && !isFree(pricesOf(advert))) return 'it has prices, and no network'
  if (new Set(advert.features).size !== advert.features.length) return 'it names a feature twice'
  return undefined
}

type Proofs = Pick<Advert, 'proofOfWork' | 'signature'>

const bitsOf = (text: string, { proofOfWork, signature }: Proofs): number =>
  leadingZeroBits(
    stampDigest(unsigned(text, signature).replace(`"proofOfWork":"${proofOfWork}",`, ''), proofOfWork),
  )

// Both stand in the canonical text once, as fields: inside of a string a quotation mark has a backslash before it.
const unsigned = (text: string, signature: string): string => text.replace(`"signature":"${signature}",`, '')

function isSigned({ advert, text }: SealedAdvert): boolean {
  const { signature, serverPubKey } = advert
  try {
    return verifySignature(fromHex(signature), sha256(unsigned(text, signature)), messageKey(serverPubKey))
  } catch {
    return false // a key that is no point on the curve has signed nothing
  }
}
