import { messageOf } from '../../errors.ts'
import { type Quoted, costQuoted } from '../../money/quotes.ts'
import { command, durationSeconds, exitCodes, keepingOptions, usageError } from '../command.ts'
import { explain } from '../explain.ts'
import type { Session } from '../session.ts'
import { bytesText, oneLine } from '../show.ts'
import { stopped, termsOf } from './send.ts'

const watchSeconds = 30

export const syncCommand = command({
  name: 'sync',
  usage:
    '[DIR FRIEND|self [--name NAME] [--watch [--every 30s]] [--ttl 30d] [--max-pulls N] [--max-cost SATOSHI]]',
  summary: 'keep a folder in step with a friend, or with your other devices',
  help: [
    'DIR FRIEND|self     both call it with a folder of the same name; without them, lists the folders',
    '--name NAME         what both call it; the name of the directory unless said',
    '--watch             goes on until it is interrupted',
    `--every ${watchSeconds}s         with --watch, how often the folder and the relays are looked at`,
    '--allow-empty       it is meant that all files are gone, which is refused otherwise where they were many',
    '--ttl 30d           how long relays keep what the other has not got; renewed by later calls',
    '--max-cost SATOSHI  the most that all relays together may reserve for what goes up now',
    'Changes on both sides are kept side by side, as NAME.conflict-…; deletions are changes too.',
  ],
  options: {
    name: { type: 'string' },
    watch: { type: 'boolean' },
    every: { type: 'string' },
    'allow-empty': { type: 'boolean' },
    ...keepingOptions,
    'max-cost': { type: 'string' },
  },
  positionals: [0, 2],
  async run(session, values, [directory, reference]) {
    if (directory === undefined) return list(session)
    if (reference === undefined) throw usageError('sync takes a directory, and a friend or self')
    const { name, watch, every, 'allow-empty': allowEmpty } = values
    const client = await session.client()
    await session.names() // whose relays they are
    const peer = reference === 'self' ? 'self' : await client.friend(reference)
    const everyMs = (every === undefined ? watchSeconds : durationSeconds(every, 'every')) * 1000
    const once = async (isQuiet = false) => {
      const { signal, onProgress } = session
      const { terms, quoted } = termsOf(session, values)
      const syncing = client.folders.sync(directory, peer, { ...terms, onProgress, name, allowEmpty })
      const done = await syncing.catch(stopped(session))
      if (!isQuiet || isNews(done)) show(session, done, quoted())
      await client.finish({ signal, files: false })
      return done
    }
    let done = await once()
    while (watch) {
      if (await session.isStoppedWithin(everyMs)) return exitCodes.ok
      // What fails now may go well next time; the first time told whether it can.
      done = await once(true).catch((error: unknown) => {
        if (session.signal.aborted) throw error
        session.say(`warning: ${explain(error)}`)
        return done
      })
    }
    return done.refused.length > 0 ? exitCodes.forged : exitCodes.ok
  },
})

type Done = Awaited<ReturnType<Awaited<ReturnType<Session['client']>>['folders']['sync']>>

/** What a watcher is to be told of. */
const isNews = ({ state, received, removed, conflicts, refused, failures }: Done): boolean =>
  state !== 'unchanged' || [received, removed, conflicts, refused, failures].some((all) => all.length > 0)

function show(session: Session, done: Done, quoted: Quoted | undefined): void {
  session.endBar()
  session.warn(done.failures)
  for (const error of done.refused)
    session.say(`WARNING: nothing was done of what another copy says: ${messageOf(error)}`)
  for (const { path, reason } of done.skipped) session.say(`skipped ${path}: ${reason}`)
  for (const path of done.conflicts) session.say(`both changed it; yours is kept as ${path}`)
  if (done.waiting.length > 0)
    session.say(
      `${done.waiting.length} files are not on the relays yet, or not any more: they come with a later sync`,
    )
  const { name, state, received, removed, conflicts, skipped, waiting, sent, fetchedBytes, reserved } = done
  const row = {
    ...{ event: 'sync', name, state, received, removed, conflicts, skipped, waiting, fetchedBytes },
    sent: { records: sent.records, bytes: sent.bytes },
    refused: done.refused.map(messageOf),
    ...(quoted !== undefined && { quoted: costQuoted(quoted) }),
    reserved,
  }
  const news = `${received.length} files came, ${removed.length} went, ${bytesText(sent.bytes)} sent, ${bytesText(fetchedBytes)} fetched`
  session.print(row, `${state} ${oneLine(name)}: ${news}`)
}

async function list(session: Session): Promise<number> {
  const client = await session.client()
  const names = await session.names()
  const rows = (await client.folders.list()).map(({ peer, ...folder }) => ({
    ...folder,
    peer,
    with: peer === client.identity ? 'self' : (names.get(peer) ?? peer),
  }))
  session.list(rows, ['name', 'with', 'directory', 'versions'], 'no folder is kept in step yet')
  return exitCodes.ok
}
