/** What makes a topic of this overlay: one file that gives this, and a line in topics.ts. */
import type { LookupService } from '@bsv/overlay/LookupService.ts'
import type { TopicManager } from '@bsv/overlay/TopicManager.ts'
import type { Outpoint, Transaction } from '../../contracts/transaction/transaction.ts'

export interface Topic {
  /** BRC-87: `tm_…`, and of its service `ls_…`. */
  readonly name: string
  readonly service: string
  /** Other names of the service. */
  readonly aliases?: readonly string[] | undefined
  readonly manager: TopicManager
  readonly lookup: LookupService
  /** Whether the topic might admit an output of it: of what it does not, nothing is verified, sent or kept. Costs little. */
  concerns(transaction: Transaction): boolean
  /** All outputs that it holds. */
  held(): readonly Outpoint[]
  /** Forgets what is over at `now`. */
  sweep(now: number): void
}
