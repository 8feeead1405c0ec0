/** What can go wrong on this side of the wire. What a relay says no to is `Refused`, a MarketError. */
import { type Code, codes, MarketError } from '../market/errors.ts'

export const clientCodes = {
  /** No relay's answer arrived: no route, no listener, time out, cut off. */
  ERR_UNREACHABLE: { retryable: true },
  /** Something answered that is not the pinned relay's answer to what was asked. */
  ERR_UNTRUSTED: { retryable: false },
  /** A stranger's word leads into a private network (docs/protocol.md §8.1). */
  ERR_PRIVATE_ADDRESS: { retryable: false },
  /** An onion address, and no proxy to reach it by. */
  ERR_NO_PROXY: { retryable: false },
  /** A file of the home does not have the form it was written in. */
  ERR_DAMAGED: { retryable: false },
  /** The source of a transfer is no longer the file the transfer began with. */
  ERR_CHANGED: { retryable: false },
  /** Another process holds what is needed and does not let go. */
  ERR_LOCKED: { retryable: true },
  /** The disk has too little room for what is to be fetched. */
  ERR_NO_SPACE: { retryable: true },
  /** The relay does not list what this needs among its features. */
  ERR_UNSUPPORTED: { retryable: false },
  /** It costs more than the user allowed, or may. */
  ERR_COST: { retryable: false },
  /** The request makes no sense as given. */
  ERR_USAGE: { retryable: false },
} as const
export type ClientCode = keyof typeof clientCodes

export class ClientError extends Error {
  readonly code: ClientCode

  constructor(code: ClientCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'ClientError'
    this.code = code
  }
}

/** A relay reserved more than was agreed for an earlier record of the same sending. */
export class BrokenWord extends ClientError {
  constructor(message: string) {
    super('ERR_COST', message)
    this.name = 'BrokenWord'
  }
}

/** A relay's no. `signed` tells whether the relay can be held to it; a clock is only believed when it is. */
export class Refused extends MarketError {
  readonly relay: string
  readonly signed: boolean

  constructor(
    relay: string,
    refusal: { code: Code; error: string; signed: boolean; extras: Record<string, unknown> },
  ) {
    super(refusal.code, refusal.error, { extras: refusal.extras })
    this.name = 'Refused'
    this.relay = relay
    this.signed = refusal.signed
  }
}

/** Every relay's signed no to one record, when all say no for good. What it says itself is one of them. */
export class RefusedByAll extends Refused {
  readonly all: readonly Refused[]

  /** One that credit would not help is the one to be heard. */
  constructor(all: readonly Refused[]) {
    const loudest = all.find((one) => !isUnpaid(one)) ?? all[0]! // nobody is not all
    const { relay, code, message, signed, extras } = loudest
    super(relay, { code, error: message, signed, extras })
    this.all = all
  }
}

/** True when nothing but credit is missing, and the relay signed for that. */
export const isUnpaid = (error: unknown): error is Refused =>
  error instanceof Refused && error.signed && error.code === 'ERR_PAYMENT_REQUIRED'

/** True when it is about money alone: credit is missing, or the user does not allow as much. */
export const isAboutMoney = (error: unknown): boolean => isUnpaid(error) || codeOf(error) === 'ERR_COST'

/** True when the same call may succeed later without anybody changing anything. */
export function isRetryable(error: unknown): boolean {
  if (error instanceof ClientError) return clientCodes[error.code].retryable
  if (!(error instanceof MarketError)) return false
  // A limit that names no time is about the request itself (§3: ttl, bytes), not about the moment.
  if (error.code === 'ERR_LIMIT') return typeof error.extras.retryAfterMs === 'number'
  return codes[error.code].retryable
}

/** The same failure, with more to say. */
export function retold(error: unknown, message: string): Error {
  if (error instanceof Refused) {
    const { relay, code, signed, extras } = error
    return new Refused(relay, { code, error: message, signed, extras })
  }
  if (error instanceof MarketError)
    return new MarketError(error.code, message, { extras: error.extras, cause: error })
  return new ClientError(error instanceof ClientError ? error.code : 'ERR_UNREACHABLE', message, error)
}

const toldCharacters = 256
const unprintable = /[\p{Cc}\p{Cf}\u2028\u2029]/gu

/** A sentence that came over the wire, fit to be shown, kept and logged: short and printable. */
export const told = (text: string): string =>
  text
    .slice(0, 4 * toldCharacters)
    .toWellFormed()
    .replaceAll(unprintable, '')
    .slice(0, toldCharacters)
    .toWellFormed()

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

export const codeOf = (error: unknown): string | undefined =>
  error instanceof ClientError || error instanceof MarketError ? error.code : undefined
