/**
 * What an embedded wallet refuses, as BRC-100 wallets say it: `name`, `isError` and the fields are those of the sdk's
 * classes, which its substrates carry over HTTP; `code` is ours, as everywhere in this project.
 */
import type * as sdk from '@bsv/sdk'
import { type Code, MarketError } from '../../../market/errors.ts'

export class WalletRefusal extends MarketError {
  readonly isError = true
}

function refusal<T extends object>(
  name: string,
  { code, message, cause }: { code: Code; message: string; cause?: unknown },
  fields: T,
): WalletRefusal & T {
  return Object.assign(new WalletRefusal(code, message, { cause }), { name }, fields)
}

/** @param totalSatoshisNeeded with the fee, after what was given; `moreSatoshisNeeded` of them are missing */
export const insufficientFunds = (totalSatoshisNeeded: number, moreSatoshisNeeded: number) =>
  refusal(
    'WERR_INSUFFICIENT_FUNDS',
    {
      code: 'ERR_INSUFFICIENT_FUNDS',
      message: `${moreSatoshisNeeded} satoshi are missing of ${totalSatoshisNeeded} that are needed, fee included`,
    },
    { totalSatoshisNeeded, moreSatoshisNeeded },
  )

export const invalidParameter = (parameter: string, mustBe: string) =>
  refusal(
    'WERR_INVALID_PARAMETER',
    { code: 'ERR_MALFORMED', message: `The ${parameter} parameter must be ${mustBe}` },
    { parameter },
  )

export interface Review {
  readonly reviewActionResults: sdk.ReviewActionResult[]
  readonly sendWithResults: sdk.SendWithResult[]
  readonly txid: string
  readonly tx?: number[]
}

/** A transaction was made and kept, and did not reach the network: refused for good, or it will be sent again. */
export const needsReview = (
  { status, error }: { status: 'sending' | 'failed'; error: MarketError },
  review: Review,
) => {
  const isKept = status === 'sending'
  // Whoever hears of a refusal pays anew: what is kept is not called one.
  const code = isKept && error.code === 'ERR_TRANSACTION_REFUSED' ? 'ERR_CHAIN_UNAVAILABLE' : error.code
  const became = isKept
    ? 'is kept and will be sent again; whether the network has it, or takes it yet, is not known'
    : 'was refused'
  const message = `the transaction ${review.txid} ${became}: ${error.message}`
  return refusal('WERR_REVIEW_ACTIONS', { code, message, cause: error }, review)
}
