/** Who has shaken hands (BRC-103 §5.3): in memory and bounded; what is forgotten costs its peer another handshake. */
import type { Key } from '../../market/units.ts'
import type { WebAuthLimits } from './limits.ts'
import { newNonce, sessionNonceBytes } from './nonces.ts'

export interface Session {
  /** Ours, 48 random bytes in base64: what the peer signs its requests to. */
  readonly nonce: string
  /** The key that every request of this session must prove. A claim until the first has. */
  readonly identity: Key
  /** The peer's, as it wrote it: what our answers are signed to. */
  readonly peerNonce: string
  /** Nonces of the requests that were accepted. */
  readonly seen: Set<string>
  /** Milliseconds since 1970. */
  usedAt: number
}

export type SessionLimits = Pick<
  WebAuthLimits,
  'newSessions' | 'newSessionMs' | 'sessions' | 'sessionIdleMs' | 'noncesPerSession' | 'nonces'
>

/** A session of nobody yet; it counts once it is kept. */
export const newSession = (identity: Key, peerNonce: string, now: number): Session => ({
  nonce: newNonce(sessionNonceBytes),
  identity,
  peerNonce,
  seen: new Set(),
  usedAt: now,
})

/**
 * Sessions by their nonces. Those whose peer has proved nothing yet are kept apart: however many strangers begin, none
 * that is in use gives way to them. Nonces are forgotten only with their session, so that no request is accepted twice.
 */
export class Sessions {
  readonly #limits: SessionLimits
  // A Map iterates in the order of insertion: what was used longest ago comes first.
  readonly #fresh = new Map<string, Session>()
  readonly #proven = new Map<string, Session>()
  #nonces = 0

  constructor(limits: SessionLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#fresh.size + this.#proven.size
  }

  /** Nonces remembered in all sessions. */
  get nonces(): number {
    return this.#nonces
  }

  keep(session: Session): void {
    const { newSessions, newSessionMs } = this.#limits
    this.#fresh.set(session.nonce, session)
    for (const oldest of this.#fresh.values()) {
      if (this.#fresh.size <= newSessions && session.usedAt - oldest.usedAt <= newSessionMs) break
      this.#fresh.delete(oldest.nonce)
    }
  }

  /** The session, unless it was never here, gave way, has been idle for too long, or has been used up. Changes no order. */
  find(nonce: string, now: number): Session | undefined {
    const proven = this.#proven.get(nonce)
    const session = proven ?? this.#fresh.get(nonce)
    if (session === undefined) return undefined
    const { sessionIdleMs, newSessionMs, noncesPerSession } = this.#limits
    const idleMs = now - session.usedAt
    if (idleMs <= (proven ? sessionIdleMs : newSessionMs) && session.seen.size < noncesPerSession)
      return session
    this.#remove(session)
    return undefined
  }

  /** Test and set: only for the first message with this nonce whose signature is good. */
  accept(session: Session, nonce: string, now: number): 'accepted' | 'replayed' {
    if (session.seen.has(nonce)) return 'replayed'
    session.seen.add(nonce)
    session.usedAt = now
    // One that gave way while its request was read is not kept again: then nothing finds it, no replay either.
    if (this.#proven.delete(session.nonce) || this.#fresh.delete(session.nonce)) {
      this.#proven.set(session.nonce, session)
      this.#nonces += 1
      this.#makeRoom(now)
    }
    return 'accepted'
  }

  #makeRoom(now: number): void {
    const { sessions, nonces, sessionIdleMs } = this.#limits
    for (const oldest of this.#proven.values()) {
      const fits = this.#proven.size <= sessions && this.#nonces <= nonces
      if (fits && now - oldest.usedAt <= sessionIdleMs) break
      this.#remove(oldest)
    }
  }

  #remove(session: Session): void {
    this.#fresh.delete(session.nonce)
    if (this.#proven.delete(session.nonce)) this.#nonces -= session.seen.size
  }
}
