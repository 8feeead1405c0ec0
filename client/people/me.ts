/** Who the user is to others: the identity file and its chain (docs/protocol.md §8.2). */
import { formatAddress, parseAddress, type RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { sealIdentity } from '../../market/identity-file.ts'
import type { Context } from '../context.ts'
import { codeOf } from '../errors.ts'
import { forget } from '../home/kept.ts'
import { entries, requeue, unqueue } from '../home/outbox.ts'
import { isNamed, isThere, ownRelays } from './relays.ts'

/** @throws ERR_CONFLICT when it is listed already, ERR_UNTRUSTED when another relay, or none, answers there */
export async function addRelay(ctx: Context, address: RelayAddress, signal?: AbortSignal): Promise<void> {
  const checkNew = (relays: readonly RelayAddress[]) => {
    if (relays.some(({ key }) => key === address.key))
      throw new MarketError('ERR_CONFLICT', `${address.url} is one of your relays already`)
  }
  checkNew(await ownRelays(ctx))
  const isChecked = await isThere(ctx, address, signal)
  if (!isChecked) await ctx.home.noticeOnce(unchecked(address))
  await changeRelays(ctx, (relays) => {
    checkNew(relays)
    return [...relays, address]
  })
  if (!isChecked) ctx.notify({ type: 'relay-unchecked', relay: address.url })
}

/**
 * Takes a relay off the list, by address, URL or key. From one that never was ours nothing is awaited any more: returns
 * how many records waited for it alone and are dropped.
 * @throws ERR_NOT_FOUND
 */
export async function removeRelay(ctx: Context, reference: string, signal?: AbortSignal): Promise<number> {
  const named = (await ownRelays(ctx)).filter((address) => isNamed(address, reference))
  const foreign = new Set<string>()
  for (const address of named) if (await isForeign(ctx, address, signal)) foreign.add(address.key)
  return changeRelays(
    ctx,
    (relays) => {
      const kept = relays.filter((address) => !isNamed(address, reference))
      if (kept.length === relays.length)
        throw new MarketError('ERR_NOT_FOUND', `${reference} is none of your relays`)
      return kept
    },
    foreign,
  )
}

/** It holds nothing of ours, and another relay is at its address, or it was never seen there. */
async function isForeign(ctx: Context, address: RelayAddress, signal?: AbortSignal): Promise<boolean> {
  for (const { accepted } of (await entries(ctx.home)).values()) if (accepted.has(address.key)) return false
  try {
    return !(await isThere(ctx, address, signal)) && (await ctx.home.isNoticed(unchecked(address)))
  } catch (error) {
    if (codeOf(error) !== 'ERR_UNTRUSTED') throw error
    return true
  }
}

const unchecked = (address: RelayAddress): string => `unchecked ${formatAddress(address)}`

/** Changes the list, and notes that friends are to be told: `announce` does that. Returns how many records are dropped. */
async function changeRelays(
  ctx: Context,
  change: (relays: readonly RelayAddress[]) => readonly RelayAddress[],
  foreign: ReadonlySet<string> = new Set(),
): Promise<number> {
  const { home, wallet, now } = ctx
  return home.lock('me', async () => {
    const previous = await home.me()
    const { label, relays } = previous.msg.request
    const old = relays.map(parseAddress)
    const next = change(old)
    const file = await sealIdentity({ label, relays: next.map(formatAddress), now: now(), previous }, wallet)
    const ours = old.filter(({ key }) => !foreign.has(key)).map(formatAddress)
    // Those of a change that nobody was told of yet stay: there friends still look.
    const untold = (await home.announcement()).filter((text) => !foreign.has(parseAddress(text).key))
    const everywhere = [...new Set([...untold, ...ours, ...file.msg.request.relays])]
    // Noted before the change, so that a crash after it cannot leave friends without the news.
    await home.saveAnnouncement(everywhere)
    const left = old.filter((address) => !next.some(({ key }) => key === address.key))
    for (const address of left) if (!foreign.has(address.key)) await home.retire(formatAddress(address))
    await home.saveMe(file)
    return moveQueue(ctx, { left, next, foreign })
  })
}

interface Move {
  readonly left: readonly RelayAddress[]
  readonly next: readonly RelayAddress[]
  readonly foreign: ReadonlySet<string>
}

/** What waits only for a relay we left goes to one of those we have now. */
async function moveQueue({ home }: Context, { left, next, foreign }: Move): Promise<number> {
  let dropped = 0
  for (const entry of (await entries(home)).values()) {
    for (const { key } of left) {
      if (!entry.queued.has(key)) continue
      const isElsewhere = entry.accepted.size > 0 || entry.queued.size > 1
      if (!isElsewhere && next.length === 0) {
        if (!foreign.has(key)) continue
        await forget(home, entry)
        dropped += 1
        continue
      }
      if (!isElsewhere) {
        await requeue(
          home,
          entry.id,
          next.map((address) => address.key),
        )
      }
      await unqueue(home, entry.id, key)
    }
  }
  return dropped
}
