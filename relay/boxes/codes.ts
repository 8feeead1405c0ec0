/**
 * What message boxes answer instead of success (docs/protocol.md §13.6): the codes that their clients know, beside those of
 * the protocol. What fails inside has a code of its own on some routes.
 */
import type { ErrorExtras } from '../../market/errors.ts'

export const boxCodes = {
  ERR_MESSAGE_REQUIRED: 400,
  ERR_INVALID_MESSAGEBOX: 400,
  ERR_MESSAGEBOX_TOO_LARGE: 400,
  ERR_MESSAGEBOX_REQUIRED: 400,
  ERR_INVALID_MESSAGE_BODY: 400,
  ERR_MESSAGE_BODY_TOO_LARGE: 413,
  ERR_RECIPIENT_REQUIRED: 400,
  ERR_TOO_MANY_RECIPIENTS: 400,
  ERR_DUPLICATE_RECIPIENT: 400,
  ERR_INVALID_RECIPIENT_KEY: 400,
  ERR_MESSAGEID_REQUIRED: 400,
  ERR_MESSAGEID_COUNT_MISMATCH: 400,
  ERR_INVALID_MESSAGEID: 400,
  ERR_DUPLICATE_MESSAGE: 400,
  ERR_DELIVERY_BLOCKED: 403,
  ERR_INBOX_QUOTA_EXCEEDED: 429,
  ERR_SENDER_QUOTA_EXCEEDED: 429,
  ERR_MISSING_PAYMENT_TX: 400,
  ERR_MISSING_DELIVERY_OUTPUT: 400,
  ERR_INSUFFICIENT_PAYMENT: 400,
  ERR_INSUFFICIENT_OUTPUTS: 400,
  ERR_MISSING_RECIPIENT_OUTPUTS: 400,
  ERR_INVALID_PAYMENT: 400,
  ERR_INVALID_RECIPIENT_PAYMENT: 400,
  ERR_INSUFFICIENT_RECIPIENT_PAYMENT: 400,
  ERR_PAYMENT_REPLAYED: 409,
  ERR_PAYMENT_IN_PROGRESS: 409,
  ERR_PAYMENT_CONFLICT: 409,
  ERR_INTERNALIZE_FAILED: 500,
  ERR_PAYMENT_UNAVAILABLE: 503,
  ERR_PAYMENT_VALIDATION_UNAVAILABLE: 503,
  ERR_PAYMENT_RECOVERY_UNAVAILABLE: 503,
  ERR_MESSAGE_ID_REQUIRED: 400,
  ERR_INVALID_MESSAGE_ID: 400,
  ERR_INVALID_ACKNOWLEDGMENT: 400,
  ERR_INVALID_LIMIT: 400,
  ERR_INVALID_OFFSET: 400,
  ERR_INVALID_REQUEST: 400,
  ERR_MISSING_PARAMETERS: 400,
  ERR_INVALID_PUBLIC_KEY: 400,
  ERR_INVALID_FEE_VALUE: 400,
  ERR_INVALID_MESSAGE_BOX: 400,
  ERR_UNAUTHORIZED: 403,
  ERR_INVALID_FCM_TOKEN: 400,
  ERR_INVALID_PLATFORM: 400,
  ERR_INTERNAL: 500,
  ERR_INTERNAL_ERROR: 500,
  ERR_DATABASE_ERROR: 500,
  ERR_LIST_PERMISSIONS_FAILED: 500,
  ERR_RECIPIENT_ELSEWHERE: 400,
  ERR_DELIVERY_FAILED: 502,
  ERR_SENDER_LINKAGE_VERIFICATION_FAILED: 400,
  ERR_LINKAGE_PROOF_REQUIRED: 403,
  ERR_SIGNATURE_INVALID: 400,
  ERR_INVALID_SIGNED_MESSAGE: 400,
  ERR_UNKNOWN_RECIPIENT: 404,
  ERR_INVALID_ROUTING: 400,
} as const
export type BoxCode = keyof typeof boxCodes

/** What a route says when it fails; the others say ERR_INTERNAL. */
export const failures: Readonly<Record<string, BoxCode>> = {
  '/listMessages': 'ERR_INTERNAL_ERROR',
  '/acknowledgeMessage': 'ERR_INTERNAL_ERROR',
  '/permissions/set': 'ERR_DATABASE_ERROR',
  '/permissions/get': 'ERR_DATABASE_ERROR',
  '/permissions/quote': 'ERR_DATABASE_ERROR',
  '/permissions/list': 'ERR_LIST_PERMISSIONS_FAILED',
  '/registerDevice': 'ERR_DATABASE_ERROR',
  '/devices': 'ERR_DATABASE_ERROR',
}

/** A refusal of message boxes: a code of the table, a sentence, and facts for the caller. */
export class BoxError extends Error {
  readonly code: BoxCode
  readonly extras: ErrorExtras

  constructor(code: BoxCode, message: string, extras: ErrorExtras = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'BoxError'
    this.code = code
    this.extras = extras
  }

  get status(): number {
    return boxCodes[this.code]
  }
}
