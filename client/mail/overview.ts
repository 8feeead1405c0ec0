/** The outbox as its owner wants to see it: one line per thing sent, not per chunk. */
import { basename } from 'node:path'
import { decodePayload, type Payload } from '../../market/payload.ts'
import type { RecordId } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { codeOf, messageOf } from '../errors.ts'
import { type Entry, entries, recordOf, refusalOf } from '../home/outbox.ts'
import { outgoing, recordsOf } from '../home/outgoing.ts'

export type SentState = 'sending' | 'queued' | 'delivered' | 'acknowledged' | 'refused' | 'deleted'

export interface Sent {
  readonly id: RecordId
  readonly to: Key
  readonly type: Payload['type'] | 'unknown' | 'damaged'
  /** What it says, or the name of the file. */
  readonly summary: string
  readonly tag: string
  readonly state: SentState
  readonly sentMs: number
  readonly expires: number
  readonly accepted: readonly Key[]
  readonly queued: readonly Key[]
  readonly refused: readonly { readonly relay: Key; readonly code: string; readonly message: string }[]
  /** Relays the receiver says to have pulled it from. */
  readonly pulledFrom: readonly Key[]
}

/** Everything we sent that has not expired, oldest first. Chunks are part of their file, acks and backups nobody's business. */
export async function overview(ctx: Context): Promise<Sent[]> {
  const all = await entries(ctx.home)
  const transfers = await outgoing(ctx.home)
  const hidden = new Set(transfers.flatMap((transfer) => recordsOf(transfer).slice(0, -1)))
  const sent: Sent[] = []
  for (const entry of all.values()) {
    if (hidden.has(entry.id) || entry.expires <= ctx.now()) continue
    const one = await describe(ctx, entry).catch((error: unknown) => {
      if (codeOf(error) !== 'ERR_DAMAGED') throw error
      ctx.notify({ type: 'damaged', error: error as Error })
      return undefined
    })
    if (one !== undefined && !silent.includes(one.type)) sent.push(one)
  }
  for (const { id, to, source, tag, createdMs, ttlSeconds } of transfers) {
    if (all.has(id)) continue
    const expires = createdMs + ttlSeconds * 1000
    const about = { id, to, tag, expires, sentMs: createdMs, summary: basename(source) }
    sent.push({
      ...about,
      type: 'file',
      state: 'sending',
      accepted: [],
      queued: [],
      refused: [],
      pulledFrom: [],
    })
  }
  return sent.sort((a, b) => a.sentMs - b.sentMs)
}

/** What only machines say to each other. */
const silent: readonly Sent['type'][] = ['ack', 'chunk', 'wallet-backup']

async function describe(ctx: Context, entry: Entry): Promise<Sent | undefined> {
  const record = await recordOf(ctx.home, entry)
  if (record === undefined) return undefined
  const { id, expires, accepted, queued, pulledFrom, refused } = entry
  const { to, timestamp, request } = record.msg
  const why = [...refused].map(async (relay) => ({ relay, ...(await refusalOf(ctx.home, id, relay)) }))
  return {
    ...{ id, to, tag: request.tag, sentMs: timestamp, expires },
    ...(await content(ctx, record)),
    state: stateOf(entry, ctx.quorum),
    accepted: [...accepted],
    queued: [...queued],
    refused: (await Promise.all(why)).map(({ relay, code = '', message = '' }) => ({ relay, code, message })),
    pulledFrom: [...pulledFrom],
  }
}

function stateOf({ deleted, pulledFrom, accepted, queued, ...entry }: Entry, usual: number): SentState {
  const quorum = entry.quorum ?? usual
  if (deleted) return 'deleted'
  if (pulledFrom.size > 0) return 'acknowledged'
  if (accepted.size >= quorum) return 'delivered'
  return queued.size > 0 ? 'queued' : 'refused'
}

/** Our own records are readable to us: BRC-2 derives one key for both ends. */
async function content(
  { wallet }: Context,
  record: NonNullable<Awaited<ReturnType<typeof recordOf>>>,
): Promise<Pick<Sent, 'type' | 'summary'>> {
  try {
    const name = { recordId: record.msg.request.recordId, counterparty: record.msg.to }
    const { payload } = decodePayload(await wallet.decrypt(record.content, name))
    if (payload.type === 'text' || payload.type === 'post')
      return { type: payload.type, summary: payload.text }
    return {
      type: payload.type,
      summary: payload.type === 'file' || payload.type === 'folder' ? payload.name : '',
    }
  } catch (error) {
    if (codeOf(error) !== 'ERR_MALFORMED') throw error
    return { type: 'damaged', summary: messageOf(error) }
  }
}
