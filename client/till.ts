/** Paying a relay and being paid by it, with the coins of this identity, which are open no longer than that takes. */
import { coinsOf } from './coins.ts'
import type { Context } from './context.ts'
import { type Cancelled, cancelDeposit, type Deposit, deposit, type DepositOptions } from './money/deposit.ts'
import type { Funds } from './money/payer.ts'
import type { CoinOptions } from './money/wallet.ts'
import { withdraw, type Withdrawn } from './money/withdraw.ts'
import { relaysNamed } from './people/relays.ts'
import type { RelayAddress } from '../market/address.ts'
import type { CallOptions } from './wire/connection.ts'

export type MoneyCall = CallOptions & CoinOptions
export type DepositCall = DepositOptions & CoinOptions

export const depositAt = (
  ctx: Context,
  reference: string,
  { satoshis, ...options }: DepositCall & { satoshis: number | undefined },
): Promise<Deposit | undefined> =>
  funded(ctx, { reference, options }, (parties) => deposit(ctx, { ...parties, satoshis }, options))

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
  work: (parties: { relay: RelayAddress; funds: Funds }) => Promise<T>,
): Promise<T> {
  const [relay] = await relaysNamed(ctx, reference, options.signal)
  const funds = coinsOf(ctx, options)
  try {
    return await work({ relay: relay!, funds }) // what is named is found, or it throws
  } finally {
    await funds.close()
  }
}
