/** Several relays as their user sees them: how many get a record, whether they still have it, and how one takes another's place. */
import { formatAddress, parseAddress, type RelayAddress } from '../market/address.ts'
import type { Context } from './context.ts'
import { type ContractCall, Contracts } from './contracts.ts'
import { withdrawAt } from './credit.ts'
import { ClientError, messageOf } from './errors.ts'
import { isUnderWay, type Migration, migration } from './home/migration.ts'
import { openWithdrawal } from './home/payments.ts'
import { type Redundancy as Settings, redundancy, saveRedundancy } from './home/redundancy.ts'
import { accounts } from './money/account.ts'
import type { CoinOptions } from './money/wallet.ts'
import { isNamed, ownRelays, relaysNamed, resolveAddress } from './people/relays.ts'
import { type Checked, type CheckOptions, checkRelays } from './relays/check.ts'
import type { CopyOptions } from './relays/copy.ts'
import { beginMigration, goOnMigrating, type Money, stopMigrating } from './relays/migrate.ts'
import { type Repaired, repairRelays } from './relays/repair.ts'

export interface MigrateCall extends CoinOptions, Omit<CopyOptions, 'attempts'> {
  /** How long friends are waited for, from its beginning on. */
  readonly waitSeconds?: number | undefined
}

/** The relays of one identity together. */
export class Redundancy {
  readonly #ctx: Context

  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  /** How many relays get each record (null: all), and how many of them must sign for it before it is delivered. */
  settings(): Promise<Settings> {
    return redundancy(this.#ctx.home)
  }

  /**
   * Changes that, from the next opening of this home on also for the quorum. What was sent before stays where it is.
   * @throws ERR_USAGE for more than there are relays, or a quorum that the kept copies cannot reach
   */
  async choose(wish: Partial<Settings>): Promise<Settings> {
    const { keep, quorum } = { ...(await this.settings()), ...wish }
    const count = (await ownRelays(this.#ctx)).length
    if (keep !== null && keep > count)
      throw new ClientError('ERR_USAGE', `${keep} relays cannot have it: you have ${count}`)
    if (quorum > (keep ?? count))
      throw new ClientError('ERR_USAGE', `${quorum} relays cannot sign for what ${keep ?? count} get`)
    const settings = { keep, quorum }
    await saveRedundancy(this.#ctx.home, settings)
    return settings
  }

  /**
   * Holds the own relays, or one, to their receipts: each lists what it has of ours, and proves a sample of it. Costs as many
   * pulls of 1024 bytes as are proven; what fails is kept for an audit. A relay that lies is asked last for a day.
   */
  check(reference?: string, options: CheckOptions = {}): Promise<Checked[]> {
    return checkRelays(this.#ctx, reference, options)
  }

  /** Puts back what relays lost, from the outbox; `maxCost` bounds what all of them together may reserve for that. */
  repair(reference?: string, options: CopyOptions = {}): Promise<Repaired[]> {
    return repairRelays(this.#ctx, reference, options)
  }

  /** The migration that is under way, or was last; nobody is asked. */
  migration(): Promise<Migration | undefined> {
    return migration(this.#ctx.home)
  }

  /**
   * Moves from one own relay to another, or goes on with that, as far as it comes now: at `meet` only friends are waited for, and
   * the same call later, or `goOn`, finds out whether they came. Interrupted anywhere, nothing is lost by asking again.
   * @throws ERR_CONFLICT while another is under way; ERR_COST, ERR_PAYMENT_REQUIRED where the new relay needs more money
   */
  async migrate(from: string, to: string, call: MigrateCall = {}): Promise<Migration> {
    const { dialer } = this.#ctx
    const route = {
      from: await this.#old(from, call.signal),
      to: await resolveAddress(dialer, to, call.signal),
    }
    const { waitSeconds, maxCost } = call
    await beginMigration(this.#ctx, { ...route, waitSeconds, maxCost })
    return this.goOn(call)
  }

  /** Goes on with the migration that is under way; its bounds are others when they are given. @throws ERR_NOT_FOUND without one, and as `migrate` */
  async goOn(call: MigrateCall = {}): Promise<Migration> {
    const { signal, onCost, onProgress } = call
    const open = await this.migration()
    // The user named both.
    for (const address of open === undefined ? [] : [open.from, open.to])
      this.#ctx.dialer.allow(parseAddress(address).url)
    const { waitSeconds, maxCost } = call
    if (isUnderWay(open) && (waitSeconds ?? maxCost) !== undefined) {
      const [from, to] = [parseAddress(open.from), parseAddress(open.to)]
      await beginMigration(this.#ctx, { from, to, waitSeconds, maxCost })
    }
    return goOnMigrating(this.#ctx, { signal, onCost, onProgress, money: moneyOf(this.#ctx, call) })
  }

  /** Gives the migration up where it is: both relays stay on the list, with what they have. @throws ERR_NOT_FOUND */
  stop(): Promise<Migration> {
    return stopMigrating(this.#ctx)
  }

  /** It may be gone from its address, and off the list already. */
  async #old(reference: string, signal: AbortSignal | undefined): Promise<RelayAddress> {
    const open = await this.migration()
    const isOpen = isUnderWay(open) && isNamed(parseAddress(open.from), reference)
    if (isOpen) return parseAddress(open.from)
    const [relay] = await relaysNamed(this.#ctx, reference, signal)
    return relay! // what is named is found, or it throws
  }
}

/** With the coins of this identity, and only where there is any money there. */
function moneyOf(ctx: Context, call: ContractCall): Money {
  return {
    async close({ key }) {
      const contracts = new Contracts(ctx)
      const open = (await contracts.list()).filter(
        ({ server, state }) => server === key && !isOver.includes(state),
      )
      const done: Awaited<ReturnType<Money['close']>>[number][] = []
      for (const { contract, state } of open) {
        try {
          done.push({ contract, state: (await contracts.close(contract, call)).state, error: null })
        } catch (error) {
          call.signal?.throwIfAborted()
          done.push({ contract, state, error: messageOf(error) })
        }
      }
      return done
    },
    async withdraw(relay) {
      const { signal } = call
      const reference = formatAddress(relay)
      const [account] = await accounts(ctx, reference, { signal, entries: 1, attempts: 1 })
      const isOpen = (await openWithdrawal(ctx.home, relay.key)) !== undefined
      if (!isOpen && account !== undefined && 'error' in account)
        throw new ClientError('ERR_UNREACHABLE', messageOf(account.error), account.error)
      const purses = account !== undefined && 'purses' in account ? account.purses : []
      const credit = purses.find(({ purse }) => purse === 'credit')
      if (!isOpen && Number(credit?.available ?? 0) <= 0) return undefined
      const { satoshis, txid } = await withdrawAt(ctx, reference, call)
      return { satoshis, txid }
    },
  }
}

const isOver: readonly string[] = ['cancelled', 'closed', 'refunded']
