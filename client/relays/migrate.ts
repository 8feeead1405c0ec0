/**
 * From one relay to another, so that nothing is lost and nobody is left behind (docs/protocol.md §8.4): records are copied and
 * both relays kept, until friends were seen on the new one or the time is up; then the old one is left, and its money comes back.
 * Each step is on disk before it begins and may be repeated: whatever interrupts it, the same call goes on.
 */
import { formatAddress, parseAddress, type RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import type { Hash, Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { ClientError, messageOf } from '../errors.ts'
import { isUnderWay, type Migration, migration, saveMigration } from '../home/migration.ts'
import { announce } from '../mail/announce.ts'
import { newRecordId } from '../mail/post.ts'
import { pull, type Pulled } from '../mail/pull.ts'
import { ackTag, identityTag } from '../mail/tags.ts'
import { type Friend, friendKeys, friends } from '../people/friends.ts'
import { addRelay, removeRelay } from '../people/me.ts'
import { isThere, ownRelays } from '../people/relays.ts'
import { checkRelay } from './check.ts'
import { greet, seenOn } from './greet.ts'
import { copyAll, foreignAt, type MoveOptions, takeBack, verified } from './moving.ts'

export const migrationLimits = {
  /** How long friends are waited for unless it is said. */
  waitSeconds: 7 * 86_400,
} as const

/** What is not done by records: the money at the old relay. */
export interface Money {
  /** Ends every contract with it; what fails stands with its contract. */
  close(relay: RelayAddress): Promise<readonly { contract: Hash; state: string; error: string | null }[]>
  /** Has all credit there paid back; undefined where there is none. */
  withdraw(relay: RelayAddress): Promise<{ satoshis: string; txid: Hash } | undefined>
}

interface Route {
  readonly from: RelayAddress
  readonly to: RelayAddress
  readonly waitSeconds?: number | undefined
  readonly maxCost?: number | undefined
}

/** @throws ERR_CONFLICT while another migration is under way, for one relay twice, or an old one that is none of ours */
export function beginMigration(ctx: Context, route: Route): Promise<Migration> {
  return ctx.home.lock('migration', () => begin(ctx, route))
}

async function begin(ctx: Context, route: Route): Promise<Migration> {
  const { home, now } = ctx
  const [from, to] = [formatAddress(route.from), formatAddress(route.to)]
  const known = await migration(home)
  if (isUnderWay(known)) {
    if (known.from === from && known.to === to) return widened(ctx, known, route)
    throw new MarketError('ERR_CONFLICT', `the migration from ${known.from} to ${known.to} is not over`)
  }
  if (route.from.key === route.to.key) throw new MarketError('ERR_CONFLICT', 'this is one and the same relay')
  if (!(await isOwn(ctx, route.from))) {
    // Asked once more after it was done.
    if (known?.from === from && known.to === to) return known
    throw new MarketError('ERR_CONFLICT', `${route.from.url} is none of your relays`)
  }
  const { waitSeconds = migrationLimits.waitSeconds, maxCost = null } = route
  const met = (await friends(ctx)).map(({ key }) => ({ key, greeting: newRecordId(), isSeen: false }))
  const startedMs = now()
  const state: Migration = {
    ...{ from, to, startedMs, deadlineMs: startedMs + waitSeconds * 1000, maxCost, step: 'join' },
    ...{ friends: met, copied: 0, unmoved: [], unmovedCount: 0, lost: [], contracts: [] },
    ...{ withdrawn: null, notWithdrawn: null, foreign: null },
  }
  await saveMigration(home, state)
  return state
}

/** The bounds may be others when it goes on. */
async function widened(ctx: Context, known: Migration, { waitSeconds, maxCost }: Route): Promise<Migration> {
  const next = {
    ...known,
    ...(waitSeconds !== undefined && { deadlineMs: known.startedMs + waitSeconds * 1000 }),
    ...(maxCost !== undefined && { maxCost }),
  }
  await saveMigration(ctx.home, next)
  return next
}

export interface MigrateOptions extends MoveOptions {
  readonly money: Money
}

/**
 * Does all that can be done now: until it is done, or only friends are waited for (`meet`).
 * @throws ERR_NOT_FOUND without migration; ERR_COST, ERR_PAYMENT_REQUIRED where the new relay wants more money; what keeps it
 * from a relay. The same call goes on
 */
export function goOnMigrating(ctx: Context, options: MigrateOptions): Promise<Migration> {
  const work = async () => {
    let state = await migration(ctx.home)
    if (state === undefined) throw new MarketError('ERR_NOT_FOUND', 'there is no migration')
    while (state.step !== 'done' && state.step !== 'stopped') {
      const next: Migration = await steps[state.step](ctx, state, options)
      await saveMigration(ctx.home, next)
      if (next.step === state.step) return next
      state = next
    }
    return state
  }
  return ctx.home.lock('migration', work, { signal: options.signal })
}

/** Ends what is under way where it is: both relays stay on the list, and what was copied stays where it is. */
export function stopMigrating(ctx: Context): Promise<Migration> {
  return ctx.home.lock('migration', async () => {
    const state = await migration(ctx.home)
    if (!isUnderWay(state)) throw new MarketError('ERR_NOT_FOUND', 'there is no migration under way')
    const stopped = { ...state, step: 'stopped' as const }
    await saveMigration(ctx.home, stopped)
    return stopped
  })
}

type Step = (ctx: Context, state: Migration, options: MigrateOptions) => Promise<Migration>

const steps: Record<Exclude<Migration['step'], 'done' | 'stopped'>, Step> = {
  /** The new relay is on the list, and every friend is told, by both. */
  async join(ctx, state, options) {
    const to = parseAddress(state.to)
    if (!(await isThere(ctx, to, options.signal)))
      throw new ClientError('ERR_UNREACHABLE', `nobody answers at ${to.url}`)
    if (!(await isOwn(ctx, to))) await addRelay(ctx, to, options.signal)
    await announce(ctx, { signal: options.signal, attempts: 1 })
    return { ...state, step: 'copy' }
  },

  async copy(ctx, state, options) {
    const copied = await copyAll(ctx, state, options)
    const foreign = await foreignAt(ctx, parseAddress(state.from), options)
    return { ...copied, foreign, step: 'meet' }
  },

  /** From here on everything new goes to both. */
  async meet(ctx, state, options) {
    const connection = ctx.connect(parseAddress(state.to))
    const { signal } = options
    const unseen = state.friends.filter(({ isSeen }) => !isSeen)
    await greet(ctx, connection, unseen, { signal, attempts: 1 })
    // First where they are now: their acks come through their own relays. Who does not answer does not stop it.
    await pull(ctx, { tag: identityTag, signal, attempts: 1 })
    const { failures } = await pull(ctx, { tag: ackTag, signal, attempts: 1 })
    const silent = silentOf(await friends(ctx), failures)
    const seen = await seenOn(ctx, connection, { ...state, friends: unseen }, { signal, attempts: 1 })
    const still = await friendKeys(ctx)
    const isMet = ({ key, isSeen }: (typeof state.friends)[number]) =>
      isSeen || seen.has(key) || !still.has(key)
    const met = state.friends.map((one) => ({ ...one, isSeen: isMet(one), isSilent: silent.has(one.key) }))
    const isOver = met.every(({ isSeen }) => isSeen) || ctx.now() >= state.deadlineMs
    return { ...state, friends: met, step: isOver ? 'leave' : 'meet' }
  },

  /** Once more what came since, held against the new relay's own list and some proofs: before that the old one is not left. */
  async leave(ctx, state, options) {
    const copied = await verified(ctx, await copyAll(ctx, state, options), options)
    checkHeld(copied)
    const { relay, health } = await checkRelay(ctx, parseAddress(state.to), { signal: options.signal })
    if (health === 'lying')
      throw new ClientError(
        'ERR_UNTRUSTED',
        `${relay.url} cannot prove what it lists: the old relay is not left`,
      )
    const from = parseAddress(state.from)
    if (await isOwn(ctx, from)) await removeRelay(ctx, from.key, options.signal)
    await announce(ctx, { signal: options.signal, attempts: 1 })
    return { ...copied, step: 'settle' }
  },

  /** What fails here is told, and stays possible: it stops nothing. */
  async settle(ctx, state, { money, signal }) {
    const from = parseAddress(state.from)
    // Who was not seen may still look there.
    if (state.friends.every(({ isSeen }) => isSeen)) await takeBack(ctx, state, { signal, attempts: 1 })
    const closed = await money.close(from)
    const others = state.contracts.filter((one) => !closed.some(({ contract }) => contract === one.contract))
    const contracts = [...others, ...closed]
    const back = await money.withdraw(from).catch((error: unknown) => {
      signal?.throwIfAborted()
      return { why: messageOf(error) }
    })
    const credit =
      back !== undefined && 'why' in back
        ? { notWithdrawn: back.why }
        : { withdrawn: back ?? state.withdrawn, notWithdrawn: null }
    return { ...state, contracts, ...credit, step: 'verify' }
  },

  async verify(ctx, state, options) {
    return { ...(await verified(ctx, await copyAll(ctx, state, options), options)), step: 'done' }
  },
}

/** Whose relays all failed. */
function silentOf(all: readonly Friend[], failures: Pulled['failures']): Set<Key> {
  const failed = new Set(failures.map(({ relay }) => relay))
  return new Set(all.filter(({ relays }) => relays.every(({ url }) => failed.has(url))).map(({ key }) => key))
}

/** @throws ERR_UNTRUSTED where the new relay does not list what it signed for, time and again: what it refused is told */
function checkHeld({ to, lost, unmoved }: Migration): void {
  const open = lost.filter((id) => !unmoved.some((one) => one.id === id))
  if (open.length === 0) return
  const what = `${parseAddress(to).url} signed for ${open.length} records that it does not list`
  throw new ClientError('ERR_UNTRUSTED', `${what}: the old relay is not left`)
}

const isOwn = async (ctx: Context, { key }: RelayAddress): Promise<boolean> =>
  (await ownRelays(ctx)).some((relay) => relay.key === key)
