/** Proof of delivery: every answered read is told to its sender, by records on our own relays (docs/protocol.md §5). */
import { z } from 'zod'
import { type Ack, payloadLimits } from '../../market/payload.ts'
import { RecordId } from '../../market/record.ts'
import { Hash, Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { Refused } from '../errors.ts'
import { namesIn, readJson, remove, writeDurably } from '../home/durable.ts'
import type { Arrival } from '../home/inbox.ts'
import { entries, keepAcks } from '../home/outbox.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'
import { post } from './post.ts'
import { ackTag, unackedTags } from './tags.ts'

const PendingAck = z.strictObject({
  owner: Key,
  recordId: RecordId,
  relay: Key,
  re: Hash,
  bytes: z.int().min(0),
})
type PendingAck = z.infer<typeof PendingAck>

/** Notes that a read was answered, if its sender is to know. Not fsynced: what a power failure can take is the news, not the record. */
export async function noteRead(
  { home }: Context,
  { record, relay, re }: Omit<Arrival, 'receivedMs'>,
): Promise<void> {
  if (unackedTags.includes(record.msg.request.tag)) return
  const pending: PendingAck = {
    owner: record.msg.from,
    recordId: record.msg.request.recordId,
    relay,
    re,
    bytes: record.content.length,
  }
  await writeDurably(home.path('acks', `${re}.json`), JSON.stringify(pending), { sync: false })
}

/** Seals what is noted, one record per sender and relay, and puts it into the outbox. A crash between may say a thing twice. */
export async function sendAcks(ctx: Context, options: CallOptions = {}): Promise<void> {
  const { home } = ctx
  if ((await namesIn(home.path('acks'))).length === 0 || (await ownRelays(ctx)).length === 0) return
  await home.lock('acks', async () => {
    const names = await namesIn(home.path('acks'))
    const groups = new Map<string, { name: string; ack: PendingAck }[]>()
    for (const name of names) {
      const ack = await readJson(home.path('acks', name), PendingAck)
      if (ack === undefined) continue
      const group = `${ack.owner} ${ack.relay}`
      groups.set(group, [...(groups.get(group) ?? []), { name, ack }])
    }
    for (const group of groups.values()) {
      for (let start = 0; start < group.length; start += payloadLimits.ackPulls) {
        await sendOne(ctx, group.slice(start, start + payloadLimits.ackPulls), options)
      }
    }
  })
}

async function sendOne(
  ctx: Context,
  group: readonly { name: string; ack: PendingAck }[],
  options: CallOptions,
): Promise<void> {
  const { owner, relay } = group[0]!.ack // groups are made by their first element
  const pulls = group.map(({ ack: { recordId, re, bytes } }) => ({ recordId, re, bytes }))
  try {
    await post(ctx, { to: owner, payload: { type: 'ack', relay, pulls }, tag: ackTag }, options)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    if (error.code === 'ERR_TOO_LARGE' && group.length > 1) {
      const half = Math.ceil(group.length / 2)
      await sendOne(ctx, group.slice(0, half), options)
      return sendOne(ctx, group.slice(half), options)
    }
    // What was pulled is here all the same; the thanks wait for relays that want them.
    ctx.notify({ type: 'relay-failed', relay: error.relay, error })
    return
  }
  await Promise.all(group.map(({ name }) => remove(ctx.home.path('acks', name))))
}

/** Marks our records as pulled. An ack counts for a record addressed to who sent it and a relay that was offered it, once. */
export async function takeAck({ home }: Context, from: Key, { relay, pulls }: Ack): Promise<void> {
  const all = await entries(home)
  const isNews = (id: RecordId): boolean => {
    const entry = all.get(id)
    if (entry?.to !== from || entry.pulledFrom.has(relay)) return false
    return [entry.accepted, entry.queued, entry.refused].some((relays) => relays.has(relay))
  }
  const ids = new Set(pulls.map(({ recordId }) => recordId).filter(isNews))
  if (ids.size > 0) await keepAcks(home, relay, ids)
}
