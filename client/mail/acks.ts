/** Proof of delivery: every answered read is told to its sender, by records on our own relays (docs/protocol.md §5). */
import { z } from 'zod'
import { type Ack, payloadLimits, unackedTags } from '../../market/payload.ts'
import { RecordId } from '../../market/record.ts'
import { Hash, Key, protocolLimits } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { Refused } from '../errors.ts'
import { namesIn, readJson, remove, writeDurably } from '../home/durable.ts'
import type { Arrival } from '../home/inbox.ts'
import { append, hasJournal, type LateAck } from '../home/journal.ts'
import { type Entry, entries, hashesOf, keepAcks, mayHold, recordOf } from '../home/outbox.ts'
import { ownRelays } from '../people/relays.ts'
import type { CallOptions } from '../wire/connection.ts'
import { post } from './post.ts'
import { ackTag } from './tags.ts'

const PendingAck = z.strictObject({
  owner: Key,
  recordId: RecordId,
  relay: Key,
  re: Hash,
  bytes: z.int().min(0),
})
type PendingAck = z.infer<typeof PendingAck>

/**
 * Notes that a read was answered, if its sender is to know. Not fsynced: what a power failure can take is the news, not the
 * record.
 */
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

/**
 * Marks our records as pulled: each read once, and no more reads than a relay may answer. An ack counts for a record
 * addressed to who sent it and a relay that was offered it; one for a record that is forgotten is left to the audit.
 */
export async function takeAck({ home }: Context, from: Key, { relay, pulls }: Ack): Promise<void> {
  const all = await entries(home)
  const news: { id: RecordId; re: Hash }[] = []
  const late: LateAck[] = []
  for (const [id, reads] of readsOf(pulls)) {
    const entry = all.get(id)
    if (entry === undefined) late.push(...[...reads].map((re) => ({ from, recordId: id, re })))
    if (entry?.to !== from || !mayHold(entry).has(relay)) continue
    const known = hashesOf(entry, relay, 'ack')
    const room = (await mostPulls(home, entry)) - known.length
    const fresh = [...reads].filter((re) => !known.includes(re)).slice(0, Math.max(0, room))
    news.push(...fresh.map((re) => ({ id, re })))
  }
  if (news.length > 0) await keepAcks(home, relay, news)
  // Only of relays that ever had anything: nobody else's word makes a file.
  if (late.length > 0 && (await hasJournal(home, relay))) await append(home, relay, late)
}

function readsOf(pulls: Ack['pulls']): Map<RecordId, Set<Hash>> {
  const reads = new Map<RecordId, Set<Hash>>()
  for (const { recordId, re } of pulls) reads.set(recordId, (reads.get(recordId) ?? new Set()).add(re))
  return reads
}

/** How often each relay may give it away. */
async function mostPulls(home: Context['home'], entry: Entry): Promise<number> {
  const record = await recordOf(home, entry).catch(() => undefined) // damaged: that is told elsewhere
  return record?.maxPulls ?? protocolLimits.defaultMaxPulls
}
