/** Conversations: letters between two people, put together by what each says it answers (docs/protocol.md §5). */
import { basename } from 'node:path'
import { decodePayload, safeName } from '../../market/payload.ts'
import { formatPath, type RecordId, type SealedRecord } from '../../market/record.ts'
import type { Key } from '../../market/units.ts'
import type { Context } from '../context.ts'
import { codeOf, RefusedByAll } from '../errors.ts'
import { arrivals, openArrival } from '../home/inbox.ts'
import { incoming } from '../home/incoming.ts'
import { forgetLetter, keepLetter, markRead, readMarks, sentLetters } from '../home/letters.ts'
import { outgoing } from '../home/outgoing.ts'
import type { CallOptions } from '../wire/connection.ts'
import { type Draft, newRecordId, post, type Posted } from './post.ts'

export interface Letter {
  readonly id: RecordId
  readonly isOwn: boolean
  /** By its writer's clock. */
  readonly sentMs: number
  /** When it came here, or was sent from here. */
  readonly atMs: number
  /** Words of its writer, not fit for a terminal as they are. */
  readonly subject: string | undefined
  readonly text: string
  /** `file` records that came or went with it. */
  readonly files: readonly RecordId[]
}

/** What came with a letter: where it is now, if it is here. */
export interface Attachment {
  readonly id: RecordId
  readonly name: string | undefined
  readonly state: 'sent' | 'sending' | 'waiting' | 'saved' | 'failed' | 'unknown'
  readonly file: string | undefined
}

export interface Thread {
  /** The id of its first letter. Together with `peer` it names the thread: anybody may write to us of any id. */
  readonly id: RecordId
  readonly peer: Key
  readonly subject: string | undefined
  /** Oldest first, by when they were written. */
  readonly letters: readonly Letter[]
  readonly unread: number
  readonly lastMs: number
}

/** Seals and delivers a text, of which we keep a copy. @throws as `post` */
export async function postLetter(ctx: Context, draft: Draft, options: CallOptions): Promise<Posted> {
  const recordId = draft.recordId ?? newRecordId()
  const onSealed = (record: SealedRecord) => keepLetter(ctx.home, record)
  try {
    return await post(ctx, { ...draft, recordId, onSealed }, options)
  } catch (error) {
    if (error instanceof RefusedByAll) await forgetLetter(ctx.home, recordId)
    throw error
  }
}

/** Every conversation, the newest first: texts with a subject or files, and those that belong together. */
export async function threads(ctx: Context): Promise<Thread[]> {
  const marks = await readMarks(ctx.home)
  const groups = new Map<string, { peer: Key; id: RecordId; isMail: boolean; letters: Letter[] }>()
  for await (const { peer, root, letter } of allLetters(ctx)) {
    const id = root ?? letter.id
    const name = nameOf({ peer, id })
    const group = groups.get(name) ?? { peer, id, isMail: false, letters: [] }
    group.letters.push(letter)
    group.isMail ||= root !== undefined || letter.subject !== undefined || letter.files.length > 0
    groups.set(name, group)
  }
  return [...groups.values()]
    .filter(({ isMail }) => isMail)
    .map(({ peer, id, letters }) => threadOf({ peer, id, letters, readMs: marks[nameOf({ peer, id })] ?? 0 }))
    .sort((a, b) => b.lastMs - a.lastMs)
}

/** Everything of it was seen by the user. */
export async function markThreadRead({ home }: Context, thread: Thread): Promise<void> {
  const came = thread.letters.filter(({ isOwn }) => !isOwn).map(({ atMs }) => atMs)
  if (came.length > 0) await markRead(home, nameOf(thread), Math.max(...came))
}

const nameOf = ({ peer, id }: Pick<Thread, 'peer' | 'id'>): string => `${peer} ${id}`

type Group = Pick<Thread, 'peer' | 'id'> & { readonly letters: Letter[]; readonly readMs: number }

function threadOf({ peer, id, letters, readMs }: Group): Thread {
  letters.sort((a, b) => timeOf(a) - timeOf(b) || a.atMs - b.atMs)
  const subject = letters.find((letter) => letter.subject !== undefined)?.subject
  const last = letters.at(-1)
  const unread = letters.filter(({ isOwn, atMs }) => !isOwn && atMs > readMs).length
  return { id, peer, subject, letters, unread, lastMs: last === undefined ? 0 : timeOf(last) }
}

/** As its writer says, and never later than it came: clocks may be ahead. */
const timeOf = ({ sentMs, atMs }: Letter): number => Math.min(sentMs, atMs)

interface Found {
  readonly peer: Key
  readonly root: RecordId | undefined
  readonly letter: Letter
}

async function* allLetters(ctx: Context): AsyncGenerator<Found> {
  const onDamaged = (error: Error) => ctx.notify({ type: 'damaged', error })
  for await (const record of sentLetters(ctx.home, onDamaged)) {
    const found = await ownLetter(ctx, record)
    if (found !== undefined) yield found
  }
  for await (const arrived of arrivals(ctx.home)) {
    const { payload, id, from, sentMs, receivedMs } = await openArrival(ctx, arrived)
    if (payload.type !== 'text') continue
    const { thread: root, files = [], subject, text } = payload
    yield { peer: from, root, letter: { id, isOwn: false, sentMs, atMs: receivedMs, subject, text, files } }
  }
}

/** BRC-2 derives one key for both ends. */
async function ownLetter(
  { wallet, notify }: Context,
  { content, msg }: SealedRecord,
): Promise<Found | undefined> {
  const { to: peer, timestamp: sentMs, request } = msg
  try {
    const { recordId: id } = request
    const { payload } = decodePayload(await wallet.decrypt(content, { recordId: id, counterparty: peer }))
    if (payload.type !== 'text') return undefined
    const { thread: root, files = [], subject, text } = payload
    return { peer, root, letter: { id, isOwn: true, sentMs, atMs: sentMs, subject, text, files } }
  } catch (error) {
    if (codeOf(error) !== 'ERR_MALFORMED') throw error
    notify({ type: 'damaged', error: error as Error })
    return undefined
  }
}

/** What came with a letter, and how far it is. */
export async function attachmentsOf(
  { home, wallet }: Context,
  peer: Key,
  { isOwn, files }: Letter,
): Promise<Attachment[]> {
  const sendings = isOwn ? await outgoing(home) : []
  const all = files.map(async (id): Promise<Attachment> => {
    const sending = sendings.find((one) => one.id === id)
    if (sending !== undefined)
      return { id, name: safeName(basename(sending.source)), state: sending.state, file: sending.source }
    const path = formatPath({ owner: peer, receiver: wallet.identity, recordId: id })
    const file = isOwn ? undefined : await incoming(home, path)
    if (file === undefined) return { id, name: undefined, state: 'unknown', file: undefined }
    return { id, name: file.name, state: file.state, file: file.state === 'saved' ? file.file : undefined }
  })
  return Promise.all(all)
}
