/** The numbers of a relay's contracts as options: satoshi, satoshi for 1000 bytes, seconds. */
import { z } from 'zod'
import { defaultPolicy } from '../../contracts/escrow/amounts.ts'
import { termsLimits } from '../../contracts/escrow/terms.ts'
import { mostFeeRate } from '../../contracts/chain/chain.ts'
import { UsageError } from '../operator/usage.ts'

const day = 86_400
const sat = (fallback: number) => z.int().min(0).max(termsLimits.jointSatoshis).default(fallback)
const seconds = (fallback: number, least: number) =>
  z.int().min(least).max(termsLimits.mostSeconds).default(fallback)

/** See `ContractsOffer` (contracts/escrow/offer.ts), where most of it is published. */
export const Policy = z.strictObject({
  feeRate: z.int().min(1).max(mostFeeRate).default(100),
  closeFee: sat(100),
  depositServer: sat(5000),
  creditLimit: sat(50_000),
  budget: sat(100_000_000),
  closeMargin: seconds(21_600, termsLimits.leastMarginSeconds),
  leastSeconds: seconds(2 * day, 1),
  mostSeconds: seconds(120 * day, 1),
  openSeconds: seconds(600, 1),
  firstCredit: sat(defaultPolicy.firstCredit),
  zeroConfCredit: sat(defaultPolicy.zeroConfCredit),
  forgive: sat(defaultPolicy.forgive),
  /** 1: contracts without expiry are opened too. */
  withoutExpiry: z.int().min(0).max(1).default(0),
  /**
   * Stakes that lie ready, of coins beyond what customers may ask back: so many openings may be under way at once.
   * 0: no contracts are opened.
   */
  poolSize: z.int().min(0).max(1000).default(8),
  /** Out of prepaid credit, for an opening while more than half of the stakes are reserved. */
  openFee: sat(500),
  /** Openings under way of one network address: by default less than half of the stakes. */
  openingsPerAddress: z.int().min(1).default(3),
})
export type Policy = z.infer<typeof Policy>

/** @throws UsageError */
export function parsePolicy(words: readonly string[]): Policy {
  const given: Record<string, number> = {}
  for (const word of words) {
    const [name = '', value = ''] = word.split('=', 2)
    if (!Object.hasOwn(Policy.shape, name) || !/^(?:0|[1-9][0-9]{0,14})$/.test(value))
      throw new UsageError(
        `--contract takes NAME=NUMBER with a name of: ${Object.keys(Policy.shape).join(', ')}`,
      )
    given[name] = Number(value)
  }
  const parsed = Policy.safeParse(given)
  if (parsed.success) return parsed.data
  throw new UsageError(`--contract ${String(parsed.error.issues[0]?.path[0])} is out of its range`)
}
