/** What a relay signs for when it has stored a record (docs/protocol.md §4.6), and how an owner checks it. */
import { z } from 'zod'
import { toHex } from '../market/bytes.ts'
import { MarketError } from '../market/errors.ts'
import { merkleRoot } from '../market/merkle.ts'
import { ceilSatoshi, worstUnits } from '../market/price.ts'
import { Path, type SealedRecord } from '../market/record.ts'
import { Hash, Milliseconds, Prices, Satoshis } from '../market/units.ts'
import { PurseName } from './account.ts'

/** What a write costs at most and which purse bears it. A relay that charges nothing says `reserved: "0"`. */
export const Charge = z.object({ reserved: Satoshis, purse: z.string().min(1), prices: Prices })
export type Charge = z.infer<typeof Charge>

export const Receipt = z.object({
  path: Path,
  /** Length of the stored (base64-decoded) content. */
  bytes: z.int().min(1),
  /** RFC 6962 root over 1024-byte leaves of the stored bytes. */
  root: Hash,
  at: Milliseconds,
  expires: Milliseconds,
  paidUntil: Milliseconds,
  maxPulls: z.int().min(1),
  charge: Charge,
})
export type Receipt = z.infer<typeof Receipt>

export const DeleteReceipt = z.object({ path: Path, at: Milliseconds })
export type DeleteReceipt = z.infer<typeof DeleteReceipt>

/** Since a renewal, the record that arrived at `at` is paid for until `paidUntil`: its receipt says so, too, if it is asked for. */
export const Extension = z.object({ path: Path, at: Milliseconds, purse: PurseName, paidUntil: Milliseconds })
export type Extension = z.infer<typeof Extension>
export const extensionLimits = {
  /** Extensions of one page, whatever a relay's own pages are. */
  page: 1000,
} as const

/** The bounds inside which a client accepts a relay's arrival time, on the relay's clock as last signed by it. */
export interface ArrivalWindow {
  readonly firstSent: number
  readonly now: number
}
/** How far beyond these bounds an arrival is still believed. */
export const arrivalToleranceMs = 120_000

/**
 * Holds a receipt against the record it is for: same path, bytes, root, expiry and pull limit, a credible arrival.
 * @throws ERR_CONFLICT naming the field that differs
 */
export function checkReceipt(receipt: Receipt, record: SealedRecord, window: ArrivalWindow): void {
  const expected = {
    path: record.path,
    bytes: record.content.length,
    root: toHex(merkleRoot(record.content)),
    expires: record.expires,
    maxPulls: record.maxPulls,
  }
  for (const [field, value] of Object.entries(expected)) {
    const given = receipt[field as keyof typeof expected] // the keys of `expected` are fields of a receipt
    if (given !== value)
      throw new MarketError('ERR_CONFLICT', `the receipt's ${field} is ${given}, not ${value}`)
  }
  const { firstSent, now } = window
  if (receipt.at < firstSent - arrivalToleranceMs || receipt.at > now + arrivalToleranceMs) {
    throw new MarketError('ERR_CONFLICT', `the receipt's arrival time ${receipt.at} is not credible`)
  }
  if (receipt.paidUntil > receipt.expires)
    throw new MarketError('ERR_CONFLICT', 'the receipt is paid beyond its expiry')
  const reserved = String(ceilSatoshi(reservedUnits(receipt)))
  if (receipt.charge.reserved !== reserved) {
    const { reserved: given } = receipt.charge
    throw new MarketError(
      'ERR_CONFLICT',
      `the receipt reserves ${given} satoshi, its own prices give ${reserved}`,
    )
  }
}

/** The most a record can come to by its receipt, before it is rounded: where there are many they are summed first. */
export const reservedUnits = ({
  charge,
  ...service
}: Pick<Receipt, 'bytes' | 'at' | 'paidUntil' | 'maxPulls' | 'charge'>): bigint =>
  worstUnits({ ...service, prices: charge.prices })
