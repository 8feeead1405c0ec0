/** Message boxes of several hosts as one (BRC-34): what a running relay has for it. */
import type { Config } from '../config.ts'
import type { Core, Undo } from '../core.ts'
import type { Federation } from '../boxes/departing.ts'
import type { OpenedOverlay } from '../overlay/open.ts'
import { MarketError } from '../../market/errors.ts'
import type { Key } from '../../market/units.ts'
import type { Treasury } from '../treasury.ts'
import { HostCaller } from './caller.ts'
import { DailyBudget } from './daily-budget.ts'
import { Deliveries } from './deliveries.ts'
import { CoinFees } from './host-fees.ts'
import { Hosts } from './hosts.ts'
import type { Receiving } from './propagate.ts'
import { Way } from './way.ts'

export interface OpenedPhip {
  /** Absent where nothing is known of other hosts. */
  readonly federation: Federation | undefined
  readonly receiving: Receiving
  readonly counts: () => Deliveries['counts']
}

export async function openPhip(
  { boxes, phip }: Config,
  core: Core & { treasury: Treasury | undefined; overlay: OpenedOverlay | undefined },
  undo: Undo,
): Promise<OpenedPhip | undefined> {
  if (!boxes.isServed || !phip.isServed) return undefined
  const { store, signer: keys, means, now, monotonic, log, treasury, overlay } = core
  const { accounts, limits } = means
  const way = new Way({ reach: new Map(Object.entries(phip.reach)), named: phip.lookups })
  const caller = new HostCaller({ keys, way, now })
  const wallet = treasury && (() => treasury.desk.wallet)
  const denied = new Set(phip.denied)
  const deliveries = await Deliveries.open({
    ...{ store, keys, caller, accounts, quotas: limits, now, monotonic, log, random: Math.random },
    fees: wallet && new CoinFees({ store, wallet, monotonic }),
    checkClock: means.admitEnd,
  })
  undo.push(async () => {
    await deliveries.close()
    caller.close()
    way.close()
  })
  const hosts = new Hosts({
    ...{ own: keys.identity, denied, overlay: overlay?.host, lookups: phip.lookups, way, now, log },
    chain: () => {
      if (wallet === undefined) throw noChain()
      return wallet().chain
    },
  })
  // Where everybody may write, that alone says nothing.
  const livesHere = (user: Key) =>
    accounts.isNamed(user) || accounts.has(user) || (overlay?.isRouted(user) ?? false)
  const federation: Federation = {
    budgetOf: new DailyBudget(phip.budget, now).take,
    async routesOf(recipients, box) {
      const routes = await Promise.all(
        recipients.map(async (recipient) => {
          const others = await hosts.of(recipient, box)
          const staysHere = livesHere(recipient)
          if (others === undefined && !staysHere) throw unknown()
          if (others === undefined || others.length === 0) return []
          return [[recipient, { hosts: others, staysHere }]] as const
        }),
      )
      return new Map(routes.flat())
    },
    checkRoom: (sender, count, bytes) => deliveries.checkRoom(sender, count, bytes),
    begin: (places) => deliveries.begin(places),
  }
  const knowsOthers = overlay?.host !== undefined || phip.lookups.length > 0
  return {
    federation: knowsOthers ? federation : undefined,
    receiving: { denied, isPlainTaken: phip.isPlainTaken, livesHere },
    counts: () => deliveries.counts,
  }
}

const unknown = () =>
  new MarketError('ERR_BUSY', 'it is not known now on which host the recipient takes messages', {
    extras: { retryAfterMs: 10_000 },
  })
const noChain = () => new MarketError('ERR_CHAIN_UNAVAILABLE', 'this relay sees no chain')
