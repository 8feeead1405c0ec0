import { command, keepingOptions, usageError } from '../command.ts'
import { readInput } from '../input.ts'
import { inputBytes, sendingOf, stopped } from './send.ts'

export const postCommand = command({
  name: 'post',
  usage:
    'TEXT | --file FILE | -  [--channel NAME] [--subject S] [--ttl 30d] [--max-pulls N] [--max-cost SATOSHI] [--max-spend SATOSHI]',
  summary: 'tell everybody who follows you, or a channel',
  help: [
    'TEXT                what to say; `-` reads it from stdin',
    '--file FILE         a file of any size instead; the same command again goes on after an interruption',
    '--channel NAME      for its members only; OWNER/NAME where several are called so',
    '--subject S         a title, of a text; a file has its name',
    '--ttl 30d           how long relays keep it',
    '--max-pulls N       how many may read it, on each relay: 100 unless said, in a channel enough for its members',
    '--max-cost SATOSHI  the most that all relays together may reserve for it, for all these readers; as with send',
  ],
  options: {
    file: { type: 'string' },
    channel: { type: 'string' },
    subject: { type: 'string' },
    ...keepingOptions,
    'max-cost': { type: 'string' },
  },
  positionals: [0, 1],
  async run(session, values, [words]) {
    const { file, channel, subject } = values
    if ((words === undefined) === (file === undefined))
      throw usageError('post takes exactly one of TEXT, --file FILE and -')
    if (file !== undefined && subject !== undefined) throw usageError('a file has no --subject')
    const { terms, finish } = sendingOf(session, values)
    const options = { ...terms, channel }
    const { feeds } = await session.client()
    const friend = channel ?? 'everybody'
    if (file !== undefined) {
      const sending = feeds.postFile(file, { ...options, onProgress: session.onProgress })
      return finish(await sending.catch(stopped(session)), friend)
    }
    const text = words === '-' ? await readInput(session.io.stdin, inputBytes) : words
    if (!text) throw usageError('there is nothing to post')
    return finish(await feeds.post(text, { ...options, subject }), friend)
  },
})
