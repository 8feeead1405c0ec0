import { command, exitCodes, sizeBytes } from '../command.ts'
import type { Message } from '../../home/inbox.ts'
import { readerOf, show, showFile } from '../messages.ts'

export const pullCommand = command({
  name: 'pull',
  usage: '[--strangers] [--no-files] [--max-file SIZE]',
  summary: 'get what friends sent, acknowledge it, bring up what is queued',
  help: [
    '--strangers      get what others than friends sent instead',
    '--no-files       leave files for later',
    '--max-file SIZE  fetch files up to this size, e.g. 2GB (100MiB unless said); larger ones wait',
  ],
  options: {
    strangers: { type: 'boolean' },
    'no-files': { type: 'boolean' },
    'max-file': { type: 'string' },
  },
  positionals: [0, 0],
  async run(session, { strangers, 'no-files': noFiles = false, 'max-file': size }) {
    const maxFileBytes = size === undefined ? undefined : sizeBytes(size, 'max-file')
    const client = await session.client()
    const { signal, onProgress } = session
    const reader = await readerOf(session)
    const came: Message[] = []
    const onMessage = (message: Message) => {
      if (session.isJson) show(session, message, reader)
      else came.push(message)
    }
    const pulling = strangers
      ? client.pullStrangers({ signal, onMessage })
      : client.pull({ signal, onMessage })
    // For people in order, which several relays do not give them in. An interruption hides nothing: it does not come again.
    const { asked, failures } = await pulling.finally(() => {
      for (const message of came.sort(byTime)) show(session, message, reader)
    })
    const isAway = asked > 0 && failures.length === asked
    if (isAway) session.hold(failures[0])
    session.warn(failures)
    const rest = { signal, files: !noFiles, onProgress, maxFileBytes, retryUnpaid: true }
    const { files, flushed } = await client.finish(rest)
    for (const file of files) showFile(session, file)
    session.warn(flushed.failures)
    const isNews = !session.isSilent || isAway
    if (!strangers && reader.names.size === 0) session.say('you have no friends yet: relay friend add FILE')
    else if (!isNews && !session.isJson) session.say('nothing new')
    if (flushed.queued > 0)
      session.say(`${flushed.queued} queued: acks and records that are not yet on every relay meant`)
    if (isAway) throw session.errorOf(failures[0]!)
    return exitCodes.ok
  },
})

/** As their senders say, and never later than they came: clocks may be ahead. */
const byTime = (a: Message, b: Message): number => timeOf(a) - timeOf(b)
const timeOf = ({ sentMs, receivedMs }: Message): number => Math.min(sentMs, receivedMs)
