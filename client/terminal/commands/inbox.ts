import { formatAddress } from '../../../market/address.ts'
import { parsePath } from '../../../market/record.ts'
import { command, exitCodes } from '../command.ts'
import { bodyText, isShown, messageRow } from '../messages.ts'
import type { Session } from '../session.ts'
import { jsonLine, timeText } from '../show.ts'

export const inboxCommand = command({
  name: 'inbox',
  usage: '[--strangers]',
  summary: 'what arrived',
  help: ['--strangers  instead, what others than friends have for you, unread; pull --strangers gets it'],
  options: { strangers: { type: 'boolean' } },
  positionals: [0, 0],
  async run(session, { strangers }) {
    if (strangers) return listStrangers(session)
    const client = await session.client()
    // Everything is told as it came, from the first invitation on.
    const reader = { names: await session.names(), channels: new Set<string>() }
    const rows: Record<string, unknown>[] = []
    for await (const message of client.inbox()) {
      if (!isShown(session, message, reader)) continue
      const name = reader.names.get(message.from)
      const file = message.payload.type === 'file' ? await client.fileOf(message) : undefined
      const details = file === undefined ? {} : { file }
      // Piped, an inbox of any length goes through line by line.
      if (session.isJson) session.io.stdout.write(jsonLine({ ...messageRow(message, name), ...details }))
      else
        rows.push({
          sent: timeText(message.sentMs),
          from: name ?? message.from,
          tag: message.tag,
          message: bodyText(message, reader),
        })
    }
    if (!session.isJson) session.list(rows, ['sent', 'from', 'tag', 'message'], 'nothing arrived yet')
    return exitCodes.ok
  },
})

async function listStrangers(session: Session): Promise<number> {
  const client = await session.client()
  const found = await client.strangers({ signal: session.signal })
  const rows = found.flatMap(({ relay, entries }) =>
    entries.map(({ path, at, bytes, tag, expires }) => {
      const { owner, recordId } = parsePath(path)
      return {
        arrived: timeText(at),
        from: owner,
        id: recordId,
        bytes,
        tag,
        expires,
        path,
        relay: formatAddress(relay),
      }
    }),
  )
  const failures = found.flatMap(({ relay, error }) =>
    error === undefined ? [] : [{ relay: relay.url, error }],
  )
  session.warn(failures)
  if (found.length > 0 && failures.length === found.length) throw failures[0]!.error
  session.list(rows, ['arrived', 'from', 'id', 'bytes', 'tag'], 'nothing from strangers')
  return exitCodes.ok
}
