/** Hearing at once: subscriptions at all friends' relays, each push answered by a signed pull. */
import { formatAddress, type RelayAddress } from '../market/address.ts'
import type { Key } from '../market/units.ts'
import type { Context } from './context.ts'
import { friends } from './friends.ts'
import type { Message } from './inbox.ts'
import { live } from './live.ts'
import { pull } from './pull.ts'
import { coalesce } from './retry.ts'

/** How often everything is looked at without being told: new friends, moved friends, the queue, missed pushes. */
const reviewMs = 60_000
/** What a stopping listener gives its running pull to finish, because it may have been paid for. */
const graceMs = 10_000

export interface ListenOptions {
  readonly signal: AbortSignal
  readonly onMessage: (message: Message) => void
  readonly onLive?: (relay: string) => void
  /** Whatever else is to be done after a pull and at every review, none waiting for another: files, acks, the queue. */
  readonly chores?: readonly ((signal: AbortSignal) => Promise<void>)[]
}

interface Watch {
  readonly owners: string
  readonly pulls: ReturnType<typeof coalesce>
  readonly stop: AbortController
  readonly ended: Promise<void>
}

/** Brings in records as they come until `signal`; resolves when what was begun is finished. */
export async function listen(ctx: Context, options: ListenOptions): Promise<void> {
  const late = new AbortController()
  const over = new AbortController()
  const end = () => over.abort()
  options.signal.addEventListener('abort', end, { once: true })
  if (options.signal.aborted) end()
  const watches = new Map<string, Watch>()
  const fail = (relay: string) => (error: unknown) => {
    if (!late.signal.aborted) ctx.notify({ type: 'relay-failed', relay, error: error as Error })
  }
  const chores = (options.chores ?? []).map((chore) =>
    coalesce(() => chore(late.signal).catch(fail('your relays'))),
  )
  const doChores = () => {
    for (const chore of chores) chore.wake()
  }
  const review = coalesce(async () => {
    const plan = await planOf(ctx).catch((error: unknown) => over.abort(error)) // a damaged home ends it
    if (plan === undefined) return
    for (const [name, watch] of watches) {
      if (plan.get(name)?.owners.join() !== watch.owners) {
        watch.stop.abort()
        watches.delete(name)
      }
    }
    for (const [name, { address, owners }] of plan) {
      if (!watches.has(name)) watches.set(name, startWatch(address, owners))
    }
  })

  function startWatch(address: RelayAddress, owners: readonly Key[]): Watch {
    const stop = new AbortController()
    const only = (other: RelayAddress) => formatAddress(other) === formatAddress(address)
    const pulls = coalesce(async () => {
      try {
        const { messages, failures } = await pull(ctx, {
          only,
          onMessage: options.onMessage,
          signal: late.signal,
        })
        for (const { error } of failures) fail(address.url)(error)
        if (messages.length > 0) doChores()
        if (messages.some(({ payload }) => payload.type === 'identity')) review.wake()
      } catch (error) {
        fail(address.url)(error)
      }
    })
    const ended = live(ctx.connect(address), {
      owners,
      cursor: (owner) => ctx.home.cursor(address.key, owner),
      onRecords: pulls.wake,
      onLive: () => {
        pulls.wake()
        options.onLive?.(address.url)
      },
      onDown: fail(address.url),
      signal: AbortSignal.any([stop.signal, over.signal]),
    }).catch(fail(address.url))
    return { owners: owners.join(), pulls, stop, ended }
  }

  const tick = () => {
    review.wake()
    doChores()
    for (const watch of watches.values()) watch.pulls.wake()
  }
  const timer = setInterval(tick, reviewMs)
  tick()
  if (!over.signal.aborted) await new Promise((resolve) => over.signal.addEventListener('abort', resolve))
  clearInterval(timer)
  const grace = setTimeout(() => late.abort(), graceMs)
  await review.idle()
  await Promise.all([...watches.values()].map(async ({ ended, pulls }) => Promise.all([ended, pulls.idle()])))
  await Promise.all(chores.map((chore) => chore.idle()))
  clearTimeout(grace)
  options.signal.removeEventListener('abort', end)
  if (!options.signal.aborted) throw over.signal.reason
}

async function planOf({ home }: Context): Promise<Map<string, { address: RelayAddress; owners: Key[] }>> {
  const plan = new Map<string, { address: RelayAddress; owners: Key[] }>()
  for (const { key, relays } of await friends(home)) {
    for (const address of relays) {
      const owners = plan.get(formatAddress(address))?.owners ?? []
      plan.set(formatAddress(address), { address, owners: [...owners, key].sort() })
    }
  }
  return plan
}
