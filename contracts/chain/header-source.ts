/** Where an adapter that is not a node has its headers from, and what else of the chain. */
import type { MerklePath } from '../transaction/merkle-path.ts'
import type { Headers } from '../transaction/beef.ts'
import type { Outpoint, Txid } from '../transaction/transaction.ts'
import type { Place, Tip } from './chain.ts'

/** As in `Chain`, all of it. */
export interface HeaderSource extends Headers {
  /** For people. */
  readonly shown: string
  tip(): Promise<Tip>
  placeAt(height: number): Promise<Place | undefined>
  header(height: number): Promise<Uint8Array | undefined>
  /** Undefined where the service has headers only. */
  readonly facts?: Facts
  close(): void
}

export interface Facts {
  transaction(txid: Txid): Promise<Uint8Array | undefined>
  proof(txid: Txid): Promise<MerklePath | undefined>
  isUnspent(outpoint: Outpoint): Promise<boolean>
}
