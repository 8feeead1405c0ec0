/** Who the user is to others: the identity file and its chain (docs/protocol.md §8.2). */
import { formatAddress, parseAddress, type RelayAddress } from '../../market/address.ts'
import { MarketError } from '../../market/errors.ts'
import { type IdentityFile, sealIdentity } from '../../market/identity-file.ts'
import type { Context } from '../context.ts'
import { entries, requeue, unqueue } from '../home/outbox.ts'
import { isNamed } from './relays.ts'

/** @throws ERR_CONFLICT when it is listed already */
export async function addRelay(ctx: Context, address: RelayAddress): Promise<IdentityFile> {
  return changeRelays(ctx, (relays) => {
    if (relays.some(({ key }) => key === address.key))
      throw new MarketError('ERR_CONFLICT', `${address.url} is one of your relays already`)
    return [...relays, address]
  })
}

/** Takes a relay off the list, by address, URL or key. @throws ERR_NOT_FOUND */
export async function removeRelay(ctx: Context, reference: string): Promise<IdentityFile> {
  return changeRelays(ctx, (relays) => {
    const kept = relays.filter((address) => !isNamed(address, reference))
    if (kept.length === relays.length)
      throw new MarketError('ERR_NOT_FOUND', `${reference} is none of your relays`)
    return kept
  })
}

/** Changes the list, and notes that friends are to be told: `announce` does that. */
async function changeRelays(
  ctx: Context,
  change: (relays: readonly RelayAddress[]) => readonly RelayAddress[],
): Promise<IdentityFile> {
  const { home, wallet, now } = ctx
  return home.lock('me', async () => {
    const previous = await home.me()
    const { label, relays } = previous.msg.request
    const old = relays.map(parseAddress)
    const next = change(old)
    const file = await sealIdentity({ label, relays: next.map(formatAddress), now: now(), previous }, wallet)
    const everywhere = [...new Set([...relays, ...file.msg.request.relays])]
    // Noted before the change, so that a crash after it cannot leave friends without the news.
    await home.saveAnnouncement(everywhere)
    const left = old.filter((address) => !next.some(({ key }) => key === address.key))
    for (const address of left) await home.retire(formatAddress(address))
    await home.saveMe(file)
    await moveQueue(ctx, left, next)
    return file
  })
}

/** What waits only for a relay we left goes to one of those we have now. */
async function moveQueue(
  { home }: Context,
  left: readonly RelayAddress[],
  next: readonly RelayAddress[],
): Promise<void> {
  for (const entry of (await entries(home)).values()) {
    for (const { key } of left) {
      if (!entry.queued.has(key)) continue
      const isElsewhere = entry.accepted.size > 0 || entry.queued.size > 1
      if (!isElsewhere) {
        if (next.length === 0) continue
        await requeue(
          home,
          entry.id,
          next.map((address) => address.key),
        )
      }
      await unqueue(home, entry.id, key)
    }
  }
}
