/** What the fields of tokens are. */
import { fromUtf8, toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { isPublicKey } from '../../market/secp256k1.ts'
import type { Key } from '../../market/units.ts'

/** Undefined unless it is UTF-8. */
export function textField(field: Uint8Array | undefined): string | undefined {
  if (field === undefined) return undefined
  try {
    return fromUtf8(field)
  } catch (error) {
    if (error instanceof MarketError) return undefined
    throw error
  }
}

/** Undefined unless it is a compressed point on the curve. */
export const keyField = (field: Uint8Array | undefined): Key | undefined =>
  field !== undefined && isPublicKey(field) ? toHex(field) : undefined
