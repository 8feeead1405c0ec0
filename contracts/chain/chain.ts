/** A view of the chain, and a way to send transactions to it. What it says may change with the next block. */
import { z } from 'zod'
import { Hash } from '../../market/units.ts'
import type { MerklePath } from '../transaction/merkle-path.ts'
import type { Headers } from '../transaction/beef.ts'
import type { Outpoint, Txid } from '../transaction/transaction.ts'

/** Money of one network means nothing on another. */
export const Network = z.enum(['main', 'test', 'regtest', 'devnet'])
export type Network = z.infer<typeof Network>

/** A place in the best chain; `hash` is the one of the block. */
export const Place = z.strictObject({ height: z.int().min(0), hash: Hash }).readonly()
export type Place = z.infer<typeof Place>

export interface Tip extends Place {
  /** Median time past in unix seconds: locks by time compare with this. */
  readonly medianTime: number
}

export type TransactionStatus =
  /** It may still exist: not every view knows all. */
  | { readonly state: 'unknown' }
  | { readonly state: 'mempool' }
  /** `depth` is 1 in the newest block. */
  | ({ readonly state: 'mined'; readonly depth: number } & Place)

export interface BlockAt extends Place {
  /** As nodes serialise it; contracts/transaction/block.ts reads it. */
  readonly bytes: Uint8Array
}

/**
 * What wallets and contracts need of the network. Everything throws ERR_CHAIN_UNAVAILABLE when there is no answer in time,
 * and ERR_INTERNAL for an answer that is not to be believed (a wrong hash, a proof that does not lead to its header).
 */
export interface Chain extends Headers {
  readonly network: Network
  /** What it talks to, for people; without passwords. */
  readonly name: string
  /** Whether blocks can be read: without, nothing is found that nobody named (recovery, who spent an output). */
  readonly canScan: boolean

  tip(): Promise<Tip>

  /** The block of a height in the best chain, by name; undefined above its tip. */
  placeAt(height: number): Promise<Place | undefined>

  /**
   * Resolves once the network has the transaction, now or before, in its mempool or in a block. Harmless to repeat.
   * @throws ERR_TRANSACTION_REFUSED with the network's reason, for what will not be taken as it is (a double spend, a fee too
   * low, a script that fails, a lock that is not open yet), and `refusal` of the kinds below beside it;
   * ERR_CHAIN_UNAVAILABLE when it is not known whether it was taken; ERR_MALFORMED
   */
  broadcast(transaction: Uint8Array): Promise<Txid>

  status(txid: Txid): Promise<TransactionStatus>

  /** Its bytes, checked against its id; undefined when this view does not have it. */
  transaction(txid: Txid): Promise<Uint8Array | undefined>

  /** Undefined while it is not in a block, or not known; a path leads to the header of its block in the best chain. */
  proof(txid: Txid): Promise<MerklePath | undefined>

  /** False also for an output that never was; undefined where this view cannot tell. Counts what the mempool spends. */
  isUnspent(outpoint: Outpoint): Promise<boolean | undefined>

  /** In satoshi for 1000 bytes: what the network demands, or the least we pay, whichever is more. */
  feeRate(): Promise<number>

  /** The 80 bytes of a header in the best chain, as they are hashed; undefined above its tip. */
  header(height: number): Promise<Uint8Array | undefined>

  /** The block of a height in the best chain; undefined above its tip. Only where `canScan`, as the next. */
  block(height: number): Promise<BlockAt | undefined>

  /** All it has in its mempool. */
  mempool(): Promise<readonly Txid[]>

  /** Pays worthless coins to an address: only devnets have one. */
  readonly faucet?: ((address: string, satoshis: number) => Promise<Txid>) | undefined

  close(): Promise<void>
}

/** Why a transaction is refused, for programs: what the network said beside it is for people. */
export type Refusal = 'conflict' | 'missing-inputs' | 'fee' | 'non-final' | 'invalid'

/** The network minimum of 2026; nodes that ask for more are heard. */
export const leastFeeRate = 100
/** In satoshi for 1000 bytes, a thousand times the minimum: whoever asks for more is not believed. */
export const mostFeeRate = 100_000

/** What a transaction of so many bytes pays at a rate: rounded up. */
export const feeFor = (bytes: number, feeRate: number): number => Math.ceil((bytes * feeRate) / 1000)
