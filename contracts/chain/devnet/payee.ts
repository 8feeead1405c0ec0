/** Whom a devnet pays: addresses of test networks alone, because its coins are not those of the main network. */
import { z } from 'zod'
import { fromHex } from '../../../market/bytes.ts'
import { MarketError } from '../../../market/errors.ts'
import { parseCoinAddress } from '../../transaction/address.ts'

const mostScriptBytes = 10_000

/** An address, or a locking script in hex. */
export const Payee = z
  .string()
  .max(2 * mostScriptBytes)
  .transform((text, context) => {
    if (/^(?:[0-9a-f]{2})+$/.test(text)) return fromHex(text)
    try {
      return parseCoinAddress(text, 'devnet')
    } catch (error) {
      if (!(error instanceof MarketError)) throw error
      context.addIssue('neither an address of a test network nor a script in hex')
      return z.NEVER
    }
  })
