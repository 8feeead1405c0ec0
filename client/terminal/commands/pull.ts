import { command, exitCodes, sizeBytes } from '../command.ts'
import { isShown, show, showFile } from '../messages.ts'

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
    const names = await session.names()
    const options = {
      signal,
      onMessage: (message: Parameters<typeof show>[1]) => show(session, message, names),
    }
    const { messages, asked, failures } = await (strangers
      ? client.pullStrangers(options)
      : client.pull(options))
    const isAway = asked > 0 && failures.length === asked
    if (isAway) session.hold(failures[0])
    session.warn(failures)
    const rest = { signal, files: !noFiles, onProgress, maxFileBytes, retryUnpaid: true }
    const { files, flushed } = await client.finish(rest)
    for (const file of files) showFile(session, file)
    session.warn(flushed.failures)
    const isNews = messages.some(isShown) || files.length > 0 || failures.length > 0
    if (!strangers && names.size === 0) session.say('you have no friends yet: relay friend add FILE')
    else if (!isNews && !session.isJson) session.say('nothing new')
    if (flushed.queued > 0) session.say(`${flushed.queued} queued`)
    if (isAway) throw failures[0]!.error
    return exitCodes.ok
  },
})
