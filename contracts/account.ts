/** What a relay says of money: quotes before, the state and the entries of an account after (docs/protocol.md §4.7, §4.9). */
import { z } from 'zod'
import { RecordId } from '../market/record.ts'
import { Milliseconds, Prices, Satoshis } from '../market/units.ts'

/** An upper bound that is never exceeded (§4.7). Beside `ERR_PAYMENT_REQUIRED` it says what the fullest purse has. */
export const Quote = z.object({
  satoshis: Satoshis,
  prices: Prices,
  expires: Milliseconds,
  available: Satoshis.optional(),
})
export type Quote = z.infer<typeof Quote>

/** One purse of an account at `at` (§4.9): available = received − returned − owed − reserved. */
export const Purse = z.object({
  purse: z.string().min(1),
  received: Satoshis,
  returned: Satoshis,
  /** For service given up to `at`, the storage of live records included. */
  owed: Satoshis,
  /** For what live records may still come to. */
  reserved: Satoshis,
  /** For new records. Below zero where a payment was taken back. */
  available: z.string().regex(/^(?:0|-?[1-9][0-9]{0,17})$/, 'not a decimal number of satoshi'),
  /** Live records. */
  records: z.int().min(0),
  /** Billed bytes times milliseconds stored, up to `at`; billed bytes served and taken in. */
  byteMs: z.string().regex(/^[0-9]+$/),
  egress: z.string().regex(/^[0-9]+$/),
  ingress: z.string().regex(/^[0-9]+$/),
  /** When what is available lapses; null: never. */
  lapses: Milliseconds.nullable(),
})
export type Purse = z.infer<typeof Purse>

/** The columns of an entry, in the order in which they are shown. */
export const ledgerColumns = ['received', 'reserved', 'earned', 'released', 'returned'] as const

/**
 * What happened to a purse. `received` came into it; `reserved` was set aside for a record, and `released` when it cost
 * less; `earned` went from what was reserved to the relay; `returned` left it again.
 */
export const LedgerEntry = z.object({
  at: Milliseconds,
  purse: z.string().min(1),
  what: z.enum(['received', 'returned', 'write', 'pull', 'prove', 'deleted', 'expired', 'unpaid']),
  recordId: RecordId.optional(),
  /** Where the credit came from or went. */
  note: z.string().optional(),
  received: Satoshis,
  reserved: Satoshis,
  earned: Satoshis,
  released: Satoshis,
  returned: Satoshis,
})
export type LedgerEntry = z.infer<typeof LedgerEntry>

export const Account = z.object({ at: Milliseconds, purses: z.array(Purse), entries: z.array(LedgerEntry) })
export type Account = z.infer<typeof Account>
