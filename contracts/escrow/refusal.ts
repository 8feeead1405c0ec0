/** Why one side of a contract refuses what the other sent: a name for programs beside a code of the protocol. */
import { type Code, MarketError } from '../../market/errors.ts'

/** Every refusal of terms, transactions and signatures of contracts, and the code it has on the wire. */
export const refusals = {
  /** Terms: not of the form, or a number outside what its kind allows. */
  form: 'ERR_MALFORMED',
  'same-party': 'ERR_CONFLICT',
  'wrong-party': 'ERR_FORBIDDEN',
  'wrong-network': 'ERR_CONFLICT',
  'open-by': 'ERR_CONFLICT',
  'close-margin': 'ERR_CONFLICT',
  'expiry-range': 'ERR_CONFLICT',
  'too-long': 'ERR_CONFLICT',
  'too-much': 'ERR_CONFLICT',
  'credit-limit': 'ERR_CONFLICT',
  'client-deposit': 'ERR_CONFLICT',
  'server-deposit': 'ERR_CONFLICT',
  'close-fee': 'ERR_CONFLICT',
  /** Funding. */
  'too-late': 'ERR_EXPIRED',
  'too-many-stakes': 'ERR_LIMIT',
  'stake-script': 'ERR_TRANSACTION_REFUSED',
  'stake-amount': 'ERR_TRANSACTION_REFUSED',
  'stake-repeated': 'ERR_TRANSACTION_REFUSED',
  'stake-key': 'ERR_TRANSACTION_REFUSED',
  'stake-unproven': 'ERR_TRANSACTION_REFUSED',
  'change-script': 'ERR_TRANSACTION_REFUSED',
  balance: 'ERR_TRANSACTION_REFUSED',
  /** Transactions and signatures: other bytes than our own rebuild. */
  differs: 'ERR_TRANSACTION_REFUSED',
  unlocking: 'ERR_TRANSACTION_REFUSED',
  'sighash-type': 'ERR_TRANSACTION_REFUSED',
  signature: 'ERR_TRANSACTION_REFUSED',
  /** Amounts. */
  paid: 'ERR_CONFLICT',
  settled: 'ERR_CONFLICT',
  owed: 'ERR_PAYMENT_REQUIRED',
  /** The contract is not at the place where this is said. */
  state: 'ERR_CONFLICT',
} as const satisfies Record<string, Code>

export type Refusal = keyof typeof refusals

/** The error that says so; `extras.refusal` is the name. */
export const refused = (refusal: Refusal, sentence: string, cause?: unknown): MarketError =>
  new MarketError(refusals[refusal], sentence, { extras: { refusal }, ...(cause !== undefined && { cause }) })

/** @throws the refusal unless `isGood` */
export function demand(isGood: boolean, refusal: Refusal, sentence: string): void {
  if (!isGood) throw refused(refusal, sentence)
}
