import { command, exitCodes } from '../command.ts'
import { show, showFile } from '../messages.ts'

export const pullCommand = command({
  name: 'pull',
  usage: '[--strangers] [--no-files]',
  summary: 'get what friends sent, acknowledge it, bring up what is queued',
  help: ['--strangers  get what others than friends sent instead', '--no-files   leave files for later'],
  options: { strangers: { type: 'boolean' }, 'no-files': { type: 'boolean' } },
  positionals: [0, 0],
  async run(session, { strangers, 'no-files': noFiles = false }) {
    const client = await session.client()
    const { signal, onProgress } = session
    const names = new Map((await client.friends()).map(({ key, alias }) => [key, alias]))
    const options = {
      signal,
      onMessage: (message: Parameters<typeof show>[1]) => show(session, message, names),
    }
    const { asked, failures } = await (strangers ? client.pullStrangers(options) : client.pull(options))
    session.warn(failures)
    const { files, flushed } = await client.finish({ signal, files: !noFiles, onProgress })
    for (const file of files) showFile(session, file)
    session.warn(flushed.failures)
    if (flushed.queued > 0) session.say(`${flushed.queued} queued`)
    if (asked > 0 && failures.length === asked) throw failures[0]!.error
    return exitCodes.ok
  },
})
