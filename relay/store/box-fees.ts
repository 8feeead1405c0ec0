/** What the operator asks for deliveries into boxes, as he set it at run time: one small row, which stays in memory. */
import { z } from 'zod'
import { MarketError } from '../../market/errors.ts'
import { mostSatoshi } from '../../market/units.ts'
import type { Batch } from './batch.ts'
import { damaged } from './codec.ts'
import { metaKey } from './keys.ts'
import type { Reader } from './postings.ts'

/** Satoshi, by box. */
export const BoxFees = z.record(z.string(), z.int().min(0).max(mostSatoshi))
export type BoxFees = z.infer<typeof BoxFees>

/** Boxes whose fee is set. */
const mostFees = 1000
const feesRow = metaKey('box fees')
const none: BoxFees = {}
/** A row that stays in memory is decoded once. */
const decoded = new WeakMap<Buffer, BoxFees>()

/** @throws ERR_INTERNAL when it does not decode */
export function boxFeesOf(from: Reader): BoxFees {
  const stored = from.get(feesRow)
  if (stored === undefined) return none
  const known = decoded.get(stored)
  if (known !== undefined) return known
  try {
    const fees = BoxFees.parse(JSON.parse(stored.toString()))
    decoded.set(stored, fees)
    return fees
  } catch (cause) {
    throw damaged('the fees of its boxes do not decode', cause)
  }
}

/** @throws ERR_LIMIT */
export function putBoxFee(batch: Batch, box: string, satoshi: number): void {
  const fees = { ...boxFeesOf(batch), [box]: satoshi }
  if (Object.keys(fees).length > mostFees)
    throw new MarketError('ERR_LIMIT', `at most ${mostFees} boxes have fees of their own`)
  batch.put(feesRow, Buffer.from(JSON.stringify(fees)))
}
