/** Whether friends were seen on a relay: each has a record there and nowhere else, and either acknowledges it or is billed for. */
import { readFault } from '../../contracts/audit/signed.ts'
import { formatAddress } from '../../market/address.ts'
import { parsePath } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { codeOf } from '../errors.ts'
import type { Migration } from '../home/migration.ts'
import { entries, recordOf } from '../home/outbox.ts'
import { deliver, post } from '../mail/post.ts'
import { accounts } from '../money/account.ts'
import { aheadMs, usagePages } from '../money/audit-pages.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { connectionLimits } from '../wire/info.ts'

type Friends = Migration['friends']

/** It is acknowledged, unlike other news of relays. */
const greetingTag = 'moved'
/** Who is away for longer is not waited for either. */
const greetingTtlSeconds = 30 * 86_400

/** Puts what is to be read there, for each who has not got it yet: the own identity file, which changes nothing. */
export async function greet(
  ctx: Context,
  { address }: Connection,
  friends: Friends,
  options: CallOptions,
): Promise<void> {
  const known = await entries(ctx.home)
  const payload = { type: 'identity' as const, identity: JSON.parse((await ctx.home.me()).text) as unknown }
  for (const { key: to, greeting: recordId } of friends) {
    const entry = known.get(recordId)
    const held = entry && (await recordOf(ctx.home, entry))
    const place = { relays: [address], quorum: 1 }
    const draft = { to, payload, recordId, tag: greetingTag, ttlSeconds: greetingTtlSeconds, ...place }
    if (held === undefined) await post(ctx, draft, options)
    else if (!entry?.accepted.has(address.key)) await deliver(ctx, { record: held, ...place }, options)
  }
}

/** Those of them who have read something on that relay: by their acks, or by reads they signed, as the relay reports them. */
export async function seenOn(
  ctx: Context,
  connection: Connection,
  { friends, startedMs }: Pick<Migration, 'friends' | 'startedMs'>,
  options: CallOptions,
): Promise<Set<Key>> {
  const { key: relay } = connection.address
  const wanted = new Set(friends.map(({ key }) => key))
  const seen = new Set<Key>()
  for (const { to, pulledFrom } of (await entries(ctx.home)).values())
    if (wanted.has(to) && pulledFrom.has(relay)) seen.add(to)
  if (seen.size === wanted.size) return seen
  for (const { receiver, path, re, text } of await readsAt(ctx, connection, startedMs, options))
    if (wanted.has(receiver) && !seen.has(receiver) && readFault(text, { path, re }, relay) === undefined)
      seen.add(receiver)
  return seen
}

/** The reads since then that the relay has for what it bills. None where it bills nothing, or does not say. */
async function readsAt(ctx: Context, connection: Connection, startedMs: number, options: CallOptions) {
  const found: { receiver: Key; path: string; re: string; text: string }[] = []
  const [account] = await accounts(ctx, formatAddress(connection.address), { ...options, entries: 1 })
  if (account === undefined || 'error' in account) return found
  const { now } = connection.clock
  const between = [Math.max(0, startedMs - connectionLimits.clockOffsetMs), now + aheadMs] as const
  const call = { between, signal: options.signal }
  for (const { purse } of account.purses) {
    try {
      for await (const { report } of usagePages(connection, purse, call)) {
        for (const [index, { path, re }] of report.pulls.entries()) {
          const text = report.reads?.[index]
          const { receiver } = parsePath(path)
          if (re !== null && typeof text === 'string') found.push({ receiver, path, re, text })
        }
      }
    } catch (error) {
      options.signal?.throwIfAborted()
      // Then only acks say who was there.
      if (codeOf(error) === undefined) throw error
    }
  }
  return found
}
