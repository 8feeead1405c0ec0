/** Who the user is to others: the identity file, its chain, and telling friends when the relays change (docs/protocol.md §8.2). */
import { z } from 'zod'
import { Address, formatAddress, parseAddress, type RelayAddress } from '../market/address.ts'
import { MarketError } from '../market/errors.ts'
import { type IdentityFile, sealIdentity } from '../market/identity-file.ts'
import { protocolLimits } from '../market/units.ts'
import type { CallOptions } from './connection.ts'
import { type Context, ownRelays } from './context.ts'
import { readJson, remove, writeDurably } from './durable.ts'
import { Refused } from './errors.ts'
import { friends } from './friends.ts'
import { fetchInfo } from './info.ts'
import { post } from './outbox.ts'
import { entries, requeue, unqueue } from './outbox-files.ts'
import { identityTag } from './tags.ts'

/** Longer than messages: who was away must still find out where everybody went. */
const announcementTtlSeconds = 30 * 86_400

const Announcement = z.array(Address)

/** A full address of what the user typed; without a key, the relay found there now is pinned (trust on first use). */
export async function resolveAddress(text: string, signal?: AbortSignal): Promise<RelayAddress> {
  if (text.includes('#')) return parseAddress(text)
  const url = (text.includes('://') ? text : `http://${text}`).replace(/\/+$/, '')
  if (!URL.canParse(url)) throw new MarketError('ERR_MALFORMED', `${text} is not the address of a relay`)
  const { key } = await fetchInfo(url, signal)
  return parseAddress(`${url}#${key}`)
}

/** The own relays that `reference` names by address, URL or key, all without one; else the relay found there. */
export async function relaysNamed(
  ctx: Context,
  reference: string | undefined,
  signal?: AbortSignal,
): Promise<RelayAddress[]> {
  const own = await ownRelays(ctx)
  if (reference === undefined) return own
  const named = own.filter((relay) => isNamed(relay, reference))
  return named.length > 0 ? named : [await resolveAddress(reference, signal)]
}

/** @throws ERR_CONFLICT when it is listed already */
export async function addRelay(
  ctx: Context,
  address: RelayAddress,
  options: CallOptions = {},
): Promise<IdentityFile> {
  return changeRelays(ctx, options, (relays) => {
    if (relays.some(({ key }) => key === address.key))
      throw new MarketError('ERR_CONFLICT', `${address.url} is one of your relays already`)
    return [...relays, address]
  })
}

/** Takes a relay off the list, by address, URL or key. @throws ERR_NOT_FOUND */
export async function removeRelay(
  ctx: Context,
  reference: string,
  options: CallOptions = {},
): Promise<IdentityFile> {
  return changeRelays(ctx, options, (relays) => {
    const kept = relays.filter((address) => !isNamed(address, reference))
    if (kept.length === relays.length)
      throw new MarketError('ERR_NOT_FOUND', `${reference} is none of your relays`)
    return kept
  })
}

export const isNamed = (address: RelayAddress, reference: string): boolean =>
  [address.key, address.url, formatAddress(address)].includes(reference.replace(/\/+$/, ''))

async function changeRelays(
  ctx: Context,
  options: CallOptions,
  change: (relays: readonly RelayAddress[]) => readonly RelayAddress[],
): Promise<IdentityFile> {
  const { home, wallet, now } = ctx
  const file = await home.lock('me', async () => {
    const previous = await home.me()
    const { label, relays } = previous.msg.request
    const old = relays.map(parseAddress)
    const next = change(old)
    const file = await sealIdentity({ label, relays: next.map(formatAddress), now: now(), previous }, wallet)
    const everywhere = [...new Set([...relays, ...file.msg.request.relays])]
    // Noted before the change, so that a crash after it cannot leave friends without the news.
    await writeDurably(announcementFile(ctx), JSON.stringify(everywhere))
    const left = old.filter((address) => !next.some(({ key }) => key === address.key))
    for (const address of left) await home.retire(formatAddress(address))
    await home.saveMe(file)
    await moveQueue(ctx, left, next)
    return file
  })
  await announce(ctx, options)
  return file
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

/** Tells every friend where we are, on the relays we had and those we have. Friends who know already see nothing new. */
export async function announce(ctx: Context, options: CallOptions = {}): Promise<void> {
  const relays = (await readJson(announcementFile(ctx), Announcement))?.map(parseAddress) ?? []
  if (relays.length === 0) return
  const { text } = await ctx.home.me()
  const payload = { type: 'identity' as const, identity: JSON.parse(text) as unknown }
  for (const { key } of await friends(ctx)) {
    // A record names only so many relays; the newest stand last.
    const draft = {
      to: key,
      payload,
      tag: identityTag,
      ttlSeconds: announcementTtlSeconds,
      relays: relays.slice(-protocolLimits.relaysPerRecord),
    }
    await post(ctx, draft, options).catch((error: unknown) => {
      if (!(error instanceof Refused)) throw error
      ctx.notify({ type: 'relay-failed', relay: error.relay, error })
    })
  }
  await remove(announcementFile(ctx))
}

const announcementFile = ({ home }: Context): string => home.path('announce.json')
