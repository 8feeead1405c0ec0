/** What a relay says of the contracts that it opens: `contracts` of its info document. Terms within it are accepted. */
import { z } from 'zod'
import { Prices } from '../../market/units.ts'
import { Network } from '../chain/chain.ts'

const Sat = z.int().min(0)
const Seconds = z.int().min(1)

/** Satoshi and seconds. Fields of later versions are ignored. */
export const ContractsOffer = z.object({
  v: z.literal(1),
  network: Network,
  /** False: no contract is opened or renewed now; those that are open are served to their end. */
  isOpen: z.boolean(),
  /** False: no stake of the relay lies ready now, and openings wait for one. */
  isReady: z.boolean().optional(),
  /** 1: with expiry; 0: without, as `profile` of the terms has it. */
  profiles: z.array(z.int().min(0)),
  /** Of now; those of the terms are these, and stay. */
  prices: Prices,
  /** `feeRate` and `depositServer` of the terms are exactly these, so that stakes lie ready; `closeFee` at least this. */
  feeRate: Sat,
  closeFee: Sat,
  depositServer: Sat,
  /** `creditLimit` and `budget` of the terms at most, `closeMargin` at least. */
  creditLimit: Sat,
  budget: Sat,
  closeMargin: Seconds,
  /** From `created` to `expiry`, and to `openBy` at most. */
  leastSeconds: Seconds,
  mostSeconds: Seconds,
  openSeconds: Seconds,
  /** What is lent (amounts.ts). */
  credit: z.object({ firstCredit: Sat, zeroConfCredit: Sat, forgive: Sat }),
  /** Blocks after which a funding counts whole. */
  deepBlocks: z.int().min(1),
})
export type ContractsOffer = z.infer<typeof ContractsOffer>
