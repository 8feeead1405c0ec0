import type { Key } from '../../../market/units.ts'
import type { Attachment, Letter, Thread } from '../../mail/letters.ts'
import { command, exitCodes, keepingOptions, usageError } from '../command.ts'
import { readInput } from '../input.ts'
import type { Session } from '../session.ts'
import { manyLines, oneLine, timeText } from '../show.ts'
import { inputBytes, sendingOf, stopped } from './send.ts'

export const mailCommand = command({
  name: 'mail',
  usage:
    '[list] | read THREAD | write FRIEND --subject S --text TEXT|- | reply THREAD --text TEXT|-  [--attach FILE …] [--ttl 7d] [--max-pulls N] [--max-cost SATOSHI]',
  summary: 'conversations with subjects, answers and files',
  help: [
    'list                conversations, the newest first; pull brings new letters in',
    'read THREAD         a conversation, by the beginning of its id',
    '--subject S         what it is about',
    '--text TEXT         what to say; `-` instead reads it from stdin',
    '--attach FILE       a file of any size to go with it; may be given several times',
    '--max-cost SATOSHI  the most that all relays together may reserve for the letter and its files; as with send',
  ],
  options: {
    subject: { type: 'string' },
    text: { type: 'string' },
    attach: { type: 'string', multiple: true },
    ...keepingOptions,
    'max-cost': { type: 'string' },
  },
  positionals: [0, 3],
  async run(session, values, [verb = 'list', reference, dash]) {
    const { subject, text, attach } = values
    if (verb === 'list' && reference === undefined) return list(session)
    if (reference === undefined || !['read', 'write', 'reply'].includes(verb))
      throw usageError('mail takes list, read THREAD, write FRIEND or reply THREAD')
    const client = await session.client()
    const { mail } = client
    if (verb === 'read') return read(session, await mail.thread(reference))
    if ((text === undefined) === (dash === undefined) || (dash !== undefined && dash !== '-'))
      throw usageError(`mail ${verb} takes exactly one of --text TEXT and -`)
    if (verb === 'reply' && subject !== undefined)
      throw usageError('an answer has the subject of its conversation')
    if (verb === 'write' && subject === undefined) throw usageError('mail write takes a --subject')
    const { terms, finish } = sendingOf(session, values)
    const options = { ...terms, onProgress: session.onProgress, attach }
    if (verb === 'reply') {
      const thread = await mail.thread(reference)
      const sending = mail.reply(thread, await wordsOf(session, text), options)
      const friend = nameOf(await session.names(), thread.peer)
      return finish(await sending.catch(stopped(session)), friend)
    }
    const friend = await client.friend(reference)
    const sending = mail.write(friend, { subject, text: await wordsOf(session, text) }, options)
    return finish(await sending.catch(stopped(session)), friend.alias)
  },
})

async function wordsOf(session: Session, text: string | undefined): Promise<string> {
  const words = text ?? (await readInput(session.io.stdin, inputBytes))
  if (words === '') throw usageError('there is nothing to send')
  return words
}

const nameOf = (names: ReadonlyMap<Key, string>, key: Key): string => names.get(key) ?? key

async function list(session: Session): Promise<number> {
  const { mail } = await session.client()
  const names = await session.names()
  const rows = (await mail.threads()).map(({ id, peer, subject, letters, unread, lastMs }) => ({
    ...{ thread: session.isJson ? id : id.slice(0, 8), with: nameOf(names, peer) },
    ...{ subject: subject ?? null, letters: letters.length, unread, last: timeText(lastMs), peer },
  }))
  session.list(
    rows,
    ['thread', 'last', 'with', 'letters', 'unread', 'subject'],
    'no mail yet: relay pull, relay mail write',
  )
  return exitCodes.ok
}

async function read(session: Session, thread: Thread): Promise<number> {
  const { mail } = await session.client()
  const name = nameOf(await session.names(), thread.peer)
  if (!session.isJson) session.print({}, `${oneLine(thread.subject ?? 'no subject')} — with ${oneLine(name)}`)
  for (const letter of thread.letters) {
    const files = await mail.attachments(thread, letter)
    const row = { event: 'letter', thread: thread.id, peer: thread.peer, ...letter, files }
    session.print(row, letterText(letter, files, name))
  }
  await mail.markRead(thread)
  return exitCodes.ok
}

function letterText({ isOwn, sentMs, text }: Letter, files: readonly Attachment[], name: string): string {
  const head = `${timeText(sentMs)}  ${isOwn ? 'you' : oneLine(name)}:`
  const lines = files.map(
    ({ id, name: file, state, file: path }) =>
      `\n    [file ${oneLine(file ?? id)}: ${path === undefined ? state : oneLine(path)}]`,
  )
  return `${head}\n    ${manyLines(text, '    ')}${lines.join('')}`
}
