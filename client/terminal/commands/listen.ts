import type { Message } from '../../home/inbox.ts'
import { command, durationSeconds, exitCodes, positiveInteger, sizeBytes } from '../command.ts'
import { namesOf, showPost } from './feed.ts'
import { readerOf, show, showFile } from '../messages.ts'

export const listenCommand = command({
  name: 'listen',
  usage: '[--for DURATION] [--count N] [--max-file SIZE]',
  summary: 'print messages, and posts of those you follow and in channels, as they come, until interrupted',
  help: [
    '--for DURATION   stop after 90s, 30m, 12h',
    '--count N        stop after N messages and posts',
    '--max-file SIZE  fetch files up to this size, e.g. 2GB (100MiB unless said); larger ones wait',
  ],
  options: { for: { type: 'string' }, count: { type: 'string' }, 'max-file': { type: 'string' } },
  positionals: [0, 0],
  async run(session, { for: duration, count, 'max-file': size }) {
    const maxFileBytes = size === undefined ? undefined : sizeBytes(size, 'max-file')
    const client = await session.client()
    const limit = count === undefined ? Number.POSITIVE_INFINITY : positiveInteger(count, 'count')
    const enough = new AbortController()
    const seconds = duration === undefined ? undefined : durationSeconds(duration, 'for')
    const timer = seconds === undefined ? undefined : setTimeout(() => enough.abort(), seconds * 1000)
    const reader = await readerOf(session)
    let seen = 0
    const writers = await namesOf(session)
    const onMessage = (message: Message) => {
      if (show(session, message, reader) && ++seen >= limit) enough.abort()
    }
    await client.listen({
      signal: AbortSignal.any([session.signal, enough.signal]),
      onMessage,
      onPost: (post) => {
        showPost(session, post, writers)
        if (++seen >= limit) enough.abort()
      },
      onLive: (relay) => {
        session.forget()
        session.say(`live on ${relay}`)
      },
      onFile: (file) => showFile(session, file),
      maxFileBytes,
    })
    clearTimeout(timer)
    return exitCodes.ok
  },
})
