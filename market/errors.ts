/** Every error code of the protocol: its HTTP status and whether the same call may succeed later (docs/protocol.md §6). */
export const codes = {
  ERR_MALFORMED: { status: 400, retryable: false },
  ERR_TRANSACTION_REFUSED: { status: 400, retryable: false },
  ERR_MALFORMED_PAYMENT: { status: 400, retryable: false },
  ERR_INVALID_DERIVATION_PREFIX: { status: 400, retryable: false },
  ERR_INSUFFICIENT_PAYMENT: { status: 400, retryable: false },
  ERR_AUTH_REQUIRED: { status: 401, retryable: false },
  ERR_BAD_SIGNATURE: { status: 401, retryable: false },
  ERR_STALE: { status: 401, retryable: true },
  ERR_REPLAYED: { status: 401, retryable: false },
  ERR_WRONG_RELAY: { status: 401, retryable: false },
  ERR_PAYMENT_REQUIRED: { status: 402, retryable: false },
  ERR_INSUFFICIENT_FUNDS: { status: 402, retryable: false },
  ERR_FORBIDDEN: { status: 403, retryable: false },
  ERR_NO_ACCOUNT: { status: 403, retryable: false },
  ERR_NOT_FOUND: { status: 404, retryable: false },
  ERR_CONFLICT: { status: 409, retryable: false },
  ERR_PAYMENT_REPLAYED: { status: 409, retryable: false },
  ERR_PAYMENT_CONFLICT: { status: 409, retryable: false },
  ERR_EXPIRED: { status: 410, retryable: false },
  ERR_TOO_LARGE: { status: 413, retryable: false },
  ERR_LIMIT: { status: 429, retryable: true },
  ERR_INTERNAL: { status: 500, retryable: true },
  ERR_BUSY: { status: 503, retryable: true },
  ERR_CHAIN_UNAVAILABLE: { status: 503, retryable: true },
  ERR_SLOW_READER: { status: 503, retryable: true },
} as const

export type Code = keyof typeof codes

/** Facts that stand beside a code on the wire, e.g. `retryAfterMs` or `time`. JSON values only. */
export type ErrorExtras = Readonly<Record<string, unknown>>

/** The one error that crosses a boundary of this project: a code of the table, a sentence, and facts for the caller. */
export class MarketError extends Error {
  readonly code: Code
  readonly extras: ErrorExtras

  constructor(code: Code, message: string, options: { extras?: ErrorExtras; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'MarketError'
    this.code = code
    this.extras = options.extras ?? {}
  }
}

/** True for a string that is a code of this version of the protocol. */
export const isCode = (value: unknown): value is Code =>
  typeof value === 'string' && Object.hasOwn(codes, value)
