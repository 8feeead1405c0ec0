/** What callers of BRC-100 wallets give, and what they look for in errors. */
import { MarketError } from '../../market/errors.ts'
import { sha256 } from '../../market/hash.ts'

/** What BRC-100 lets be signed: data, or their hash. @throws ERR_MALFORMED for neither */
export function digestOf(data: number[] | undefined, hash: number[] | undefined): Uint8Array {
  if (hash !== undefined) return Uint8Array.from(hash)
  if (data !== undefined) return sha256(Uint8Array.from(data))
  throw new MarketError('ERR_MALFORMED', 'neither data nor its hash is given')
}

/** Not a MarketError: these codes belong to the BRC-100 interface, not to our protocol. */
export const walletError = (message: string, code: string): Error =>
  Object.assign(new Error(message), { code })
