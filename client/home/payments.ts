/**
 * Money on its way between this home and a relay, kept until its end is known: a payment is on disk before the relay sees it,
 * and a request to be paid back before it is sent, so that whatever is lost is asked for again in the same words. There is
 * at most one of each at a relay.
 */
import { z } from 'zod'
import { WithdrawRequest } from '../../contracts/api.ts'
import { Withdrawal } from '../../contracts/payment.ts'
import { Address, parseAddress, type RelayAddress } from '../../market/address.ts'
import { decode, messageSchema, type Sealed } from '../../market/envelope.ts'
import { Hash, type Key } from '../../market/units.ts'
import { readJson, readWhole, remove, writeDurably } from './durable.ts'
import type { Home } from './home.ts'

const OpenDeposit = z.strictObject({
  relay: Address,
  satoshis: z.int().min(1),
  /** The wallet finds the payment by it. */
  label: z.string(),
  derivationPrefix: z.string(),
  derivationSuffix: z.string(),
  /** Atomic BEEF, base64. Absent: nothing was signed yet, or it was not seen by anybody. */
  signed: z.strictObject({ txid: Hash, tx: z.base64(), fee: z.int().min(0).nullable() }).optional(),
})
/** A payment that the relay did not confirm yet. */
export type OpenDeposit = z.infer<typeof OpenDeposit>

const OpenWithdrawal = z.strictObject({
  relay: Address,
  /** The sealed request. */
  request: z.string(),
  /** What the relay paid, until it is in the wallet. */
  paid: Withdrawal.optional(),
})

const WithdrawEnvelope = messageSchema(WithdrawRequest)
export interface OpenWithdrawal {
  readonly request: Sealed<z.infer<typeof WithdrawRequest>>
  readonly paid?: Withdrawal | undefined
}

export const openDeposit = (home: Home, relay: Key): Promise<OpenDeposit | undefined> =>
  readJson(depositFile(home, relay), OpenDeposit)

export const saveDeposit = (home: Home, deposit: OpenDeposit): Promise<void> =>
  writeDurably(depositFile(home, parseAddress(deposit.relay).key), JSON.stringify(deposit))

export const forgetDeposit = (home: Home, relay: Key): Promise<void> => remove(depositFile(home, relay))

export async function openWithdrawal(home: Home, relay: Key): Promise<OpenWithdrawal | undefined> {
  const file = withdrawalFile(home, relay)
  const kept = await readJson(file, OpenWithdrawal)
  if (kept === undefined) return undefined
  const request = readWhole(file, () =>
    decode<z.infer<typeof WithdrawRequest>>(kept.request, WithdrawEnvelope),
  )
  return { request, paid: kept.paid }
}

export function saveWithdrawal(home: Home, relay: RelayAddress, open: OpenWithdrawal): Promise<void> {
  const { request, paid } = open
  const kept = { relay: `${relay.url}#${relay.key}`, request: request.text, ...(paid && { paid }) }
  return writeDurably(withdrawalFile(home, relay.key), JSON.stringify(kept))
}

export const forgetWithdrawal = (home: Home, relay: Key): Promise<void> => remove(withdrawalFile(home, relay))

const depositFile = (home: Home, relay: Key) => home.path('payments', `deposit-${relay}.json`)
const withdrawalFile = (home: Home, relay: Key) => home.path('payments', `withdrawal-${relay}.json`)
