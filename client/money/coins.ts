/** What can be asked of coins, whoever keeps them. */
import type { Network } from '../../contracts/chain/chain.ts'
import { parseCoinAddress } from '../../contracts/transaction/address.ts'
import type { HistoryEntry } from '../../contracts/wallet/desk.ts'
import type { Birthday, RecoveryProgress, RecoveryReport } from '../../contracts/wallet/backup/recover.ts'
import { MarketError } from '../../market/errors.ts'

export interface CoinBalance {
  readonly network: Network
  /** All there is, in satoshi: confirmed, unconfirmed and reserved together. */
  readonly satoshis: number
  /** Null where a connected wallet does not tell them apart. */
  readonly confirmed: number | null
  readonly unconfirmed: number | null
  readonly reserved: number | null
  /** What the chain is seen through. */
  readonly chain: string
  /** Height of the best chain; null when it did not answer. */
  readonly tip: number | null
  /** Height of the last block that the coins agree with, now or earlier. */
  readonly height: number | null
  readonly isCurrent: boolean
  /** Why the chain was not heard to the end, for people. */
  readonly unavailable: string | null
}

export interface CoinPayment {
  readonly network: Network
  readonly txid: string
  readonly satoshis: number
  /** Null where a connected wallet does not tell. */
  readonly fee: number | null
  readonly to: string
  /** What is left; null where a connected wallet does not tell. */
  readonly left: number | null
}

export interface CoinHistory {
  readonly network: Network
  /** Newest first. */
  readonly entries: readonly HistoryEntry[]
  readonly unavailable: string | null
}

export interface RecoverOptions {
  /** The file of a backup; without, one is looked for on the own relays, then where the last one was kept. */
  readonly backup?: string | undefined
  /** When the wallet was used first; needed where no backup is found. */
  readonly birthday?: Birthday | undefined
  /** Looks for no backup. */
  readonly isKeyOnly?: boolean | undefined
  readonly signal: AbortSignal
  readonly onProgress?: ((progress: RecoveryProgress) => void) | undefined
}

export interface Recovered extends RecoveryReport {
  readonly network: Network
  /** A file, a relay, `key`, or `earlier`: it went on where another call stopped. */
  readonly source: string
}

/** The script that is to be paid. @throws ERR_MALFORMED, ERR_CONFLICT for the address of another network */
export function checkPayment(
  address: string,
  { satoshis, network }: { readonly satoshis: number; readonly network: Network },
): Uint8Array {
  if (satoshis < 1) throw new MarketError('ERR_MALFORMED', 'a payment is of at least one satoshi')
  return parseCoinAddress(address, network)
}
