/** What a relay may have beside its core: coins, contracts, prices that move. Opened in this order, and undone in reverse. */
import type { Config } from './config.ts'
import type { Core, RelayDeps, Undo } from './core.ts'
import { paymentLogFile } from './data-directory.ts'
import { Contracts } from './escrow/contracts.ts'
import { PaymentLog } from './escrow/payment-log.ts'
import { PriceRule } from './market/price-rule.ts'
import type { Sockets } from './sockets.ts'
import { Till } from './till/till.ts'
import { Treasury } from './treasury.ts'

/** Its wallet, where a chain is named. It need not answer for records to be served. */
export async function openTreasury({ data, chain }: Config, core: Core, deps: RelayDeps, undo: Undo) {
  const { signer: keys, now, monotonic, log } = core
  const { devnetUrl, followEveryMs } = deps
  const treasury = await Treasury.open({
    ...{ data, keys, given: chain, now, monotonic, log },
    ...{ devnetUrl, followEveryMs, isServing: true },
  })
  if (treasury !== undefined) undo.push(() => treasury.close())
  return treasury
}

/** Where there are coins, people pay with theirs and are paid back. */
export async function openTill({ zeroConfLimit }: Config, core: Core & { treasury: Treasury }, undo: Undo) {
  const { store, signer: keys, now, log, means, treasury, useTill } = core
  const wallet = () => treasury.desk.wallet
  const till = await Till.open({ store, wallet, keys, now, zeroConfLimit, admit: means.admitWrite, log })
  useTill(till)
  undo.push(async () => {
    await treasury.hangUp()
    await till.idle()
  })
  return till
}

/** Where there are coins, contracts are opened, and those that are open are never left alone. */
export async function openContracts(config: Config, core: Core & { treasury: Treasury }, undo: Undo) {
  const { store, signer: keys, now, log, means, treasury, pricing, useContracts } = core
  const payments = await PaymentLog.open(config.paymentLog ?? paymentLogFile(config.data))
  undo.push(() => payments.close())
  const contracts = await Contracts.open({
    ...{ store, keys, now, payments, log, network: treasury.network, policy: config.contracts },
    ...{ admit: means.admitWrite, checkClock: means.admitEnd, random: Math.random },
    wallet: () => treasury.desk.wallet,
    prices: () => pricing.at(now()),
  })
  useContracts(contracts)
  undo.push(async () => {
    await treasury.hangUp()
    await contracts.idle()
  })
  return contracts
}

/** Prices that follow the load, where they are to: decided on before the relay can be reached. */
export async function openPriceRule(
  { autoPrice, limits }: Config,
  core: Core & { sockets: () => Sockets | undefined },
  undo: Undo,
) {
  const { store, pricing, capacity, sockets, now, log } = core
  if (autoPrice === undefined) {
    await PriceRule.end(store)
    return undefined
  }
  const rule = await PriceRule.open({
    ...{ store, pricing, capacity, now, log, parameters: autoPrice },
    ...{ connections: () => sockets()?.knownCount ?? 0, connectionLimit: limits.connections },
  })
  await rule.look()
  undo.push(rule.keepLooking())
  return rule
}
