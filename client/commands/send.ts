import { command, durationSeconds, exitCodes, positiveInteger, usageError } from '../command.ts'
import { readInput } from '../input.ts'
import type { Posted } from '../outbox.ts'
import { oneLine } from '../show.ts'
import type { Session } from '../session.ts'

const inputBytes = 512 * 1024

export const sendCommand = command({
  name: 'send',
  usage: 'FRIEND --text TEXT | --file FILE | -  [--ttl 7d] [--tag T] [--max-pulls N]',
  summary: 'send a message or a file',
  help: [
    '--text TEXT     a message; `-` instead reads it from stdin',
    '--file FILE     a file of any size; the same command again goes on after an interruption',
    '--ttl 7d        how long relays keep it: 90s, 30m, 12h, 7d',
    '--tag T         a tag, which relays can read',
    '--max-pulls N   how often each relay gives it away; 4 unless said',
  ],
  options: {
    text: { type: 'string' },
    file: { type: 'string' },
    ttl: { type: 'string' },
    tag: { type: 'string' },
    'max-pulls': { type: 'string' },
  },
  positionals: [1, 2],
  async run(session, values, [reference = '', dash]) {
    const { text, file, ttl, tag, 'max-pulls': pulls } = values
    const sources = [text, file, dash].filter((source) => source !== undefined)
    if (sources.length !== 1 || (dash !== undefined && dash !== '-'))
      throw usageError('send takes exactly one of --text TEXT, --file FILE and -')
    const options = {
      signal: session.signal,
      tag,
      ttlSeconds: ttl === undefined ? undefined : durationSeconds(ttl, 'ttl'),
      maxPulls: pulls === undefined ? undefined : positiveInteger(pulls, 'max-pulls'),
    }
    const client = await session.client()
    const friend = await client.friend(reference)
    if (file !== undefined) {
      const posted = await client.sendFile(friend, file, { ...options, onProgress: session.onProgress })
      return finish(session, posted, friend.alias)
    }
    const message = text ?? (await readInput(session.io.stdin, inputBytes))
    if (message === '') throw usageError('there is nothing to send')
    const posted = await client.send(friend, message, options)
    return finish(session, posted, friend.alias)
  },
})

/** Whatever else waits goes up with it, now that relays are known to answer or not. */
async function finish(session: Session, posted: Posted, friend: string): Promise<number> {
  const { recordId, path, state, accepted, failures } = posted
  session.endBar()
  session.warn(failures)
  if (state === 'queued')
    session.say('queued: not enough relays took it; it goes up by itself with a later command')
  session.print(
    { id: recordId, state, path, to: friend, relays: accepted },
    `${state} ${recordId} to ${oneLine(friend)}`,
  )
  if (accepted.length > 0) await (await session.client()).flush({ signal: session.signal })
  return exitCodes.ok
}
