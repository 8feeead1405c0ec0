/** Handshakes and proofs of identity as BRC-103 and its predecessor BRC-31 share them; how they travel is said elsewhere. */
import type { KeyName, KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { fromHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import type { ProtocolID } from '../../market/identity.ts'
import { Key, SignatureHex } from '../../market/units.ts'
import { RateLimiter } from '../rate.ts'
import type { WebAuthLimits } from './limits.ts'
import { newSession, type Session, Sessions } from './sessions.ts'

export interface ProofsOptions {
  readonly wallet: KeyWallet
  readonly limits: WebAuthLimits
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** What a message says of itself before anything is proved. */
export interface Claim {
  readonly identity: Key
  /** Of this message. */
  readonly nonce: string
  /** Of our session. */
  readonly yourNonce: string
  /** DER. */
  readonly signature: Uint8Array
}

/** A nonce as text: base64, of 16 to 66 bytes. Its text is what is signed, so it has no second spelling. */
export const nonceForm = /^[A-Za-z0-9+/]{22,88}={0,2}$/
const retryAfterMs = 60_000

export class Proofs {
  readonly sessions: Sessions
  readonly #options: ProofsOptions
  readonly #protocolID: ProtocolID
  readonly #handshakes: RateLimiter
  readonly #failures: RateLimiter

  constructor(protocolID: ProtocolID, options: ProofsOptions) {
    this.#options = options
    this.#protocolID = protocolID
    this.sessions = new Sessions(options.limits)
    this.#handshakes = new RateLimiter(options.limits.handshakesPerMinute)
    this.#failures = new RateLimiter(options.limits.failuresPerMinute)
  }

  get identity(): Key {
    return this.#options.wallet.identity
  }

  /** Before anything of a handshake is looked at. @throws ERR_LIMIT */
  countHandshake(address: string): void {
    const now = this.#options.now()
    if (!this.#handshakes.allows(address, now)) {
      throw new MarketError('ERR_LIMIT', 'too many handshakes from this address', {
        extras: { retryAfterMs },
      })
    }
    this.#handshakes.count(address, now)
  }

  /**
   * A new session with whoever claims to be `identity`, and the signature that proves us to them.
   * @throws ERR_FORBIDDEN for our own key, ERR_MALFORMED for what is no key
   */
  open(
    identity: Key,
    peerNonce: string,
    digestOf: (session: Session) => Uint8Array,
  ): { session: Session; signature: Uint8Array } {
    // What we sign for our own key, we would accept as signed by it: our answers could be sent back as requests.
    if (identity === this.identity) {
      throw new MarketError('ERR_FORBIDDEN', 'this is the key of the relay itself')
    }
    const session = newSession(identity, peerNonce, this.#options.now())
    const signature = this.sign(session, `${peerNonce} ${session.nonce}`, digestOf(session))
    this.sessions.keep(session)
    return { session, signature }
  }

  /**
   * What can be refused before the body is read, at the cost of a look-up.
   * @throws ERR_LIMIT; ERR_STALE for an unknown session; ERR_BAD_SIGNATURE for another's; ERR_REPLAYED
   */
  begin(claim: Claim, address: string): Session {
    const now = this.#options.now()
    this.#failures.check(address, now)
    const session = this.sessions.find(claim.yourNonce, now)
    // Clients look for these words, and begin a new session.
    if (session === undefined) {
      throw new MarketError('ERR_STALE', `Session not found for nonce: ${claim.yourNonce}`, {
        extras: { time: now },
      })
    }
    if (claim.identity !== session.identity) {
      throw new MarketError('ERR_BAD_SIGNATURE', 'this session belongs to another identity')
    }
    if (session.seen.has(claim.nonce)) throw replayed()
    return session
  }

  /** Accepts a message once. What is refused here leaves only a count of failures behind. @throws ERR_BAD_SIGNATURE, ERR_REPLAYED */
  finish(
    session: Session,
    { claim, digest, address }: { claim: Claim; digest: Uint8Array; address: string },
  ): void {
    const { wallet, now } = this.#options
    const name = this.#name(session, `${claim.nonce} ${session.nonce}`)
    if (!wallet.signatures(name).verify(claim.signature, digest)) {
      this.#failures.count(address, now())
      throw new MarketError('ERR_BAD_SIGNATURE', 'the signature of the request is not valid')
    }
    if (this.sessions.accept(session, claim.nonce, now()) === 'replayed') throw replayed()
  }

  /** DER. */
  sign(session: Session, keyID: string, digest: Uint8Array): Uint8Array {
    return this.#options.wallet.signatures(this.#name(session, keyID)).sign(digest)
  }

  #name({ identity }: Session, keyID: string): KeyName {
    return { protocolID: this.#protocolID, keyID, counterparty: identity }
  }
}

const replayed = () => new MarketError('ERR_REPLAYED', 'this request was accepted before')

/** @throws ERR_MALFORMED, naming what is missing or wrong */
export function keyField(text: unknown, name: string): Key {
  const key = Key.safeParse(typeof text === 'string' ? text.toLowerCase() : undefined)
  if (key.success) return key.data
  throw new MarketError('ERR_MALFORMED', `${name} is not a compressed public key in hex`)
}

/** @throws ERR_MALFORMED */
export function nonceField(text: unknown, name: string): string {
  if (typeof text === 'string' && nonceForm.test(text)) return text
  throw new MarketError('ERR_MALFORMED', `${name} is not a nonce in base64`)
}

/** @throws ERR_MALFORMED */
export function signatureField(text: unknown, name: string): Uint8Array {
  const hex = SignatureHex.safeParse(typeof text === 'string' ? text.toLowerCase() : undefined)
  if (hex.success) return fromHex(hex.data)
  throw new MarketError('ERR_MALFORMED', `${name} is not a DER signature in hex`)
}
