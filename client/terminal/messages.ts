/** Messages and files on the screen, or as JSON lines. */
import { toBase64 } from '../../market/bytes.ts'
import type { Key } from '../../market/units.ts'
import type { Message } from '../home/inbox.ts'
import type { Incoming } from '../home/incoming.ts'
import type { Session } from './session.ts'
import { bytesText, manyLines, oneLine, timeText } from './show.ts'

/** What only the machines say to each other. */
const silent = ['ack', 'chunk', 'wallet-backup', 'folder']

/** Who reads: what he calls friends, and the channels he is in, which grow and shrink with what is shown. */
export interface Reader {
  readonly names: ReadonlyMap<Key, string>
  readonly channels: Set<string>
}

export async function readerOf(session: Session): Promise<Reader> {
  const { feeds } = await session.client()
  const channels = (await feeds.channels()).filter(({ isRemoved }) => !isRemoved)
  return {
    names: await session.names(),
    channels: new Set(channels.map(({ owner, name }) => channelOf(owner, name))),
  }
}

const channelOf = (owner: Key, name: string): string => `${owner} ${name}`

export function isShown({ isJson }: Session, { payload, from }: Message, { names }: Reader): boolean {
  // Where a friend moved to is a note of its own; the file that says so comes by each of his relays, old and new.
  const isNoted = payload.type === 'identity' && names.has(from) && !isJson
  return !isNoted && !silent.includes(payload.type)
}

/** Prints a message unless it is one for machines; true when it did. */
export function show(session: Session, message: Message, reader: Reader): boolean {
  if (!isShown(session, message, reader)) return false
  const name = reader.names.get(message.from)
  const who = oneLine(name ?? `stranger ${message.from}`)
  const tag = message.tag === '' ? '' : ` [${oneLine(message.tag)}]`
  const text = `${subjectText(message)}${bodyText(message, reader)}`
  session.print(messageRow(message, name), `${timeText(message.sentMs)}  ${who}${tag}: ${text}`)
  return true
}

/** A message as a program wants it: the payload's own fields, undamaged. */
export function messageRow(
  { bytes, payload, ...about }: Message,
  name: string | undefined,
): Record<string, unknown> {
  const isUnknown = payload.type === 'unknown'
  return {
    event: 'message',
    friend: name ?? null,
    ...about,
    payload,
    ...(isUnknown && { bytes: toBase64(bytes) }),
  }
}

/** The file a message announced is here, never will be, or is too large to be fetched unasked. */
export function showFile(session: Session, file: Incoming): void {
  const { path, name, size, state } = file
  const end =
    file.state === 'saved' ? { file: file.file } : file.state === 'failed' ? { reason: file.reason } : {}
  session.print({ event: 'file', path, name, size, state, ...end }, fileText(file))
}

function fileText(file: Incoming): string {
  const name = oneLine(file.name)
  switch (file.state) {
    case 'saved':
      return `saved ${oneLine(file.file)} (${bytesText(file.size)})`
    case 'failed':
      return `the file ${name} is lost: ${oneLine(file.reason)}`
    case 'waiting':
      return `the file ${name} (${bytesText(file.size)}) waits: get it with pull --max-file SIZE`
  }
}

/** In front of a text that has one. */
export const subjectText = ({ payload }: Pick<Message, 'payload'>): string =>
  'subject' in payload && payload.subject ? `${oneLine(payload.subject)} — ` : ''

export function bodyText({ from, payload }: Message, reader?: Reader): string {
  switch (payload.type) {
    case 'text':
    case 'post':
      return manyLines(payload.text, '    ')
    case 'file':
      return `sends the file ${oneLine(payload.name)} (${bytesText(payload.size)})`
    case 'identity':
      return 'has a new identity file'
    case 'channel':
      return channelText(channelOf(from, payload.name), oneLine(payload.name), reader)
    case 'channel-removed':
      reader?.channels.delete(channelOf(from, payload.name))
      return `removed you from the channel ${oneLine(payload.name)}`
    case 'envelope':
      return 'passes on a signed message'
    case 'damaged':
      return `sent something unreadable: ${oneLine(payload.reason)}`
    case 'unknown':
      return `sent something this version does not know: ${oneLine(JSON.stringify(payload.head)).slice(0, 200)}`
    default:
      return payload.type
  }
}

/** Every change of the members brings a key; only the first invites. */
function channelText(id: string, name: string, reader: Reader | undefined): string {
  if (reader?.channels.has(id)) return `has a new key for the channel ${name}`
  reader?.channels.add(id)
  return `invites you to the channel ${name}`
}
