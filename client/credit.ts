/** Paying a relay and being paid by it, with the coins of this identity, which are open no longer than that takes. */
import { coinsOf } from './coins.ts'
import type { Context } from './context.ts'
import {
  type Cancelled,
  cancelDeposit,
  creditAt,
  type Deposit,
  deposit,
  type DepositOptions,
} from './money/deposit.ts'
import type { Parties } from './money/payer.ts'
import type { CoinOptions } from './money/wallet.ts'
import { withdraw, type Withdrawn } from './money/withdraw.ts'
import { ownRelays, relaysNamed } from './people/relays.ts'
import type { CallOptions } from './wire/connection.ts'

export type MoneyCall = CallOptions & CoinOptions
export type DepositCall = DepositOptions & CoinOptions

export async function depositAt(
  ctx: Context,
  reference: string,
  { satoshis, ...options }: DepositCall & { satoshis: number | undefined },
): Promise<Deposit | undefined> {
  const pay = (parties: Parties) => deposit(ctx, { ...parties, satoshis }, options)
  const paid = await funded(ctx, { reference, options }, pay)
  return paid === undefined ? undefined : { ...paid, ...(await afterBackup(ctx, paid, options)) }
}

/** Own relays get a backup of the coins when those close. What cannot be asked now is not said: the payment stands. */
async function afterBackup(
  ctx: Context,
  { relay, available }: Deposit,
  { signal }: CallOptions,
): Promise<Pick<Deposit, 'afterBackup'>> {
  const isOwn = (await ownRelays(ctx)).some(({ key }) => key === relay.key)
  const left = isOwn ? await creditAt(ctx, relay, { signal, attempts: 1 }).catch(() => available) : available
  return Number(left) < Number(available) ? { afterBackup: left } : {}
}

export const cancelAt = (ctx: Context, reference: string, options: MoneyCall): Promise<Cancelled> =>
  funded(ctx, { reference, options }, (parties) => cancelDeposit(ctx, parties, options))

export const withdrawAt = (
  ctx: Context,
  reference: string,
  { satoshis, ...options }: MoneyCall & { satoshis?: number | undefined },
): Promise<Withdrawn> =>
  funded(ctx, { reference, options }, (parties) => withdraw(ctx, { ...parties, satoshis }, options))

async function funded<T>(
  ctx: Context,
  { reference, options }: { reference: string; options: MoneyCall },
  work: (parties: Parties) => Promise<T>,
): Promise<T> {
  const [relay] = await relaysNamed(ctx, reference, options.signal)
  const funds = coinsOf(ctx, options)
  try {
    return await work({ relay: relay!, funds }) // what is named is found, or it throws
  } finally {
    await funds.close()
  }
}
