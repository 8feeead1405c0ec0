/** The checks a message passes before anything is done for it, cheapest first (docs/protocol.md §3.1). */
import { type Request, RequestEnvelope } from '../contracts/api.ts'
import { decodeValue, type Sealed, verify } from '../market/envelope.ts'
import { MarketError } from '../market/errors.ts'
import { ANYONE_KEY } from '../market/identity.ts'
import { decodeRecord, decodeRecordValue, type SealedRecord, type Write } from '../market/record.ts'
import { type Key, protocolLimits } from '../market/units.ts'
import type { Limits } from './limits.ts'
import { RateLimiter } from './rate.ts'

/** Whose message it is and which: what a signed answer needs. */
export interface Sender {
  readonly from: Key
  readonly hash: string
}

/** A message that is well-formed, addressed to this relay, signed and fresh. */
export interface Admitted {
  readonly sealed: Sealed<Request | Write>
  /** The record itself, or the one inside a `store`, whose signature is as good. */
  readonly record?: SealedRecord
}

/** `error` without `sender` is answered unsigned: it cannot be attributed. */
export type Admission =
  | { readonly sender: Sender; readonly admitted: Admitted }
  | { readonly sender?: Sender; readonly error: MarketError }

const mayKeyOne = new Set(['read', 'inventory', 'listen', 'quote'])

export interface GateOptions {
  readonly relay: Key
  readonly limits: Limits
  /** When the store was restored from a backup: nobody knows which messages of before were answered. */
  readonly restoredAt?: number | undefined
}

export class Gate {
  readonly #relay: Key
  readonly #restoredAt: number
  readonly #failures: RateLimiter
  readonly #staleReplies: RateLimiter

  constructor({ relay, limits, restoredAt = 0 }: GateOptions) {
    this.#relay = relay
    this.#restoredAt = restoredAt
    this.#failures = new RateLimiter(limits.failuresPerMinute)
    this.#staleReplies = new RateLimiter(limits.staleRepliesPerMinute)
  }

  /** Looks at one message; `text` is the canonical text of `value`. Only unforeseen faults are thrown. */
  admit(value: unknown, text: string, caller: { address: string; now: number }): Admission {
    let admitted: Admitted
    try {
      admitted = this.#read(value, text)
      this.#verify(admitted.sealed, caller)
    } catch (error) {
      if (error instanceof MarketError) return { error }
      throw error
    }
    const { sealed } = admitted
    const sender = { from: sealed.msg.from, hash: sealed.hash }
    if (sender.from === ANYONE_KEY && !mayKeyOne.has(sealed.msg.request.type)) {
      return {
        sender,
        error: new MarketError('ERR_FORBIDDEN', 'key 1 belongs to everybody and may only look'),
      }
    }
    const admission = this.#checkFresh(sender, admitted, caller)
    if ('error' in admission || sealed.msg.request.type !== 'store') return admission
    return this.#checkInner(sender, admitted, caller)
  }

  /** Schema and addressee. */
  #read(value: unknown, text: string): Admitted {
    const type = requestOf(value)?.type
    if (type === 'write') {
      const record = decodeRecordValue(value, text)
      if (!record.msg.request.relays.includes(this.#relay)) {
        throw new MarketError('ERR_WRONG_RELAY', 'the record does not name this relay')
      }
      return { sealed: record, record }
    }
    const sealed = decodeValue<Request>(value, text, RequestEnvelope)
    if (sealed.msg.to !== this.#relay) throw new MarketError('ERR_WRONG_RELAY', 'addressed to another relay')
    if (type !== 'store') return { sealed }
    // Inside a canonical text every part is canonical, so the part's text is what its value serialises to.
    const inner = requestOf(value)?.record
    return { sealed, record: decodeRecordValue(inner, JSON.stringify(inner)) }
  }

  /**
   * A record by itself, of whatever age, at exactly this path; who brings it was told apart by other means.
   * @throws ERR_MALFORMED, ERR_BAD_SIGNATURE, ERR_LIMIT
   */
  admitRecord(textOf: () => string, path: string, caller: { address: string; now: number }): SealedRecord {
    this.checkAddress(caller)
    let record: SealedRecord
    try {
      record = decodeRecord(textOf())
      if (record.path !== path) throw new MarketError('ERR_MALFORMED', 'the record has another path')
    } catch (error) {
      this.countFailure(caller)
      throw error
    }
    this.#verify(record, caller)
    if (record.msg.timestamp <= caller.now + protocolLimits.freshFutureMs) return record
    throw new MarketError('ERR_MALFORMED', 'the record is from the future')
  }

  /** @throws ERR_LIMIT once this address has failed too often in this minute */
  checkAddress({ address, now }: { address: string; now: number }): void {
    this.#failures.check(address, now)
  }

  countFailure({ address, now }: { address: string; now: number }): void {
    this.#failures.count(address, now)
  }

  #verify(sealed: Sealed, caller: { address: string; now: number }): void {
    try {
      verify(sealed)
    } catch (error) {
      this.countFailure(caller)
      throw error
    }
  }

  /** The record inside a `store` carries its own signature; a forged one counts as any other failure. */
  #checkInner(sender: Sender, admitted: Admitted, caller: { address: string; now: number }): Admission {
    try {
      this.#verify(admitted.record!, caller) // #read made it
      return { sender, admitted }
    } catch (error) {
      if (error instanceof MarketError) return { sender, error }
      throw error
    }
  }

  #checkFresh(sender: Sender, admitted: Admitted, caller: { address: string; now: number }): Admission {
    const { address, now } = caller
    const { timestamp } = admitted.sealed.msg
    const earliest = Math.max(now - protocolLimits.freshPastMs, this.#restoredAt)
    if (timestamp >= earliest && timestamp <= now + protocolLimits.freshFutureMs) return { sender, admitted }
    const error = new MarketError('ERR_STALE', 'the message is not fresh on this relay’s clock', {
      extras: { time: now },
    })
    // A signature costs us more than it costs a replayer, so signed refusals are rationed; the rest are plain.
    if (!this.#staleReplies.allows(address, now)) return { error }
    this.#staleReplies.count(address, now)
    return { sender, error }
  }
}

function requestOf(value: unknown): { type?: unknown; record?: unknown } | undefined {
  const request = (value as { msg?: { request?: unknown } } | null)?.msg?.request
  return typeof request === 'object' && request !== null ? request : undefined
}
