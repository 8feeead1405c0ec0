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

/** A contract id is the longest name there is. */
export const PurseName = z.string().min(1).max(64)
/** Far beyond all bytes times milliseconds that a relay can ever have kept. */
export const Count = z.string().regex(/^[0-9]{1,40}$/, 'not a decimal number')
const noteLength = 256
/** More than a page of entries, or the contracts of one owner, ever are. */
const mostRows = 10_000

/** One purse of an account at `at` (§4.9): available = received − returned − owed − reserved. */
export const Purse = z.object({
  purse: PurseName,
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
  byteMs: Count,
  egress: Count,
  ingress: Count,
  /** When what is available lapses; null: never. */
  lapses: Milliseconds.nullable(),
})
export type Purse = z.infer<typeof Purse>

/** The columns of an entry, in the order in which they are shown. */
export const ledgerColumns = ['received', 'reserved', 'earned', 'released', 'returned'] as const

/** What an entry books. New ones come last: relays store the number of each. */
export const entryTypes = [
  'received',
  'returned',
  'write',
  'pull',
  'prove',
  'deleted',
  'expired',
  'unpaid',
  'bought',
  'extended',
] as const

/**
 * What happened to a purse. `received` came into it; `reserved` was set aside for a record, and `released` when it cost
 * less; `earned` went from what was reserved to the relay; `returned` left it again. `bought` is a read that its reader
 * pays for: of another owner's record, whose key is the `note`. `extended`: a renewal pays for the record longer.
 */
export const LedgerEntry = z.object({
  at: Milliseconds,
  purse: PurseName,
  what: z.enum(entryTypes),
  recordId: RecordId.optional(),
  /** Where the credit came from or went; of `bought` the owner of the record. */
  note: z.string().max(noteLength).optional(),
  received: Satoshis,
  reserved: Satoshis,
  earned: Satoshis,
  released: Satoshis,
  returned: Satoshis,
})
export type LedgerEntry = z.infer<typeof LedgerEntry>

export const Account = z.object({
  at: Milliseconds,
  purses: z.array(Purse).max(mostRows),
  entries: z.array(LedgerEntry).max(mostRows),
})
export type Account = z.infer<typeof Account>

/** Whether what a purse says adds up (§4.9). */
export function addsUp({ received, returned, owed, reserved, available }: Purse): boolean {
  return BigInt(available) === BigInt(received) - BigInt(returned) - BigInt(owed) - BigInt(reserved)
}
