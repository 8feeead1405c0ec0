import type { Key } from '../../../market/units.ts'
import type { FeedItem, FeedPost, FeedsRefreshed } from '../../feeds/feed.ts'
import { command, exitCodes, positiveInteger } from '../command.ts'
import { bodyText, subjectText, showFile } from '../messages.ts'
import type { Session } from '../session.ts'
import { oneLine, timeText } from '../show.ts'

const shown = 50

export const feedCommand = command({
  name: 'feed',
  usage: '[--channel NAME] [--limit N] [--offline] | --get POST',
  summary: 'what those you follow posted, and your channels, the newest last',
  help: [
    '--channel NAME  this channel only',
    `--limit N       so many of the newest; ${shown} unless said`,
    '--get POST      fetches the file of a post, by its id',
    '--offline       what is here already, without asking relays',
  ],
  options: {
    channel: { type: 'string' },
    limit: { type: 'string' },
    offline: { type: 'boolean' },
    get: { type: 'string' },
  },
  positionals: [0, 0],
  async run(session, { channel, limit, offline, get }) {
    if (get !== undefined) return fetchFile(session, get)
    const most = limit === undefined ? shown : positiveInteger(limit, 'limit')
    const { feeds } = await session.client()
    await session.names() // whose relays they are
    const done = offline ? undefined : await feeds.refresh({ channel, signal: session.signal, attempts: 1 })
    const isAway = done !== undefined && done.asked > 0 && done.failures.length >= done.asked
    if (isAway) session.hold(done.failures[0])
    session.warn(done?.failures ?? [])
    const names = await namesOf(session)
    const items = await feeds.items({ channel, limit: most })
    for (const item of items) showPost(session, item, names)
    if (items.length === 0)
      session.say('nothing posted yet: relay follow, relay channel; relay pull brings invitations')
    if (done !== undefined) tellLacking(session, done)
    if (channel !== undefined && (await feeds.channel(channel)).isRemoved)
      session.say(`you were removed from the channel ${channel}: nothing new comes`)
    if (isAway) throw session.errorOf(done.failures[0]!)
    return exitCodes.ok
  },
})

async function fetchFile(session: Session, id: string): Promise<number> {
  const { feeds } = await session.client()
  const file = await feeds.file(id, { signal: session.signal, onProgress: session.onProgress })
  showFile(session, file)
  return file.state === 'saved' ? exitCodes.ok : exitCodes.failed
}

/** Friends by the user's names, others by the names he follows them under. */
export async function namesOf(session: Session): Promise<Map<Key, string>> {
  const { feeds, identity } = await session.client()
  const follows = (await feeds.followed()).map(({ key, name }) => [key, name] as const)
  return new Map([...follows, ...(await session.names()), [identity, 'you']])
}

function tellLacking(session: Session, { lacking }: FeedsRefreshed): void {
  for (const { relay, posts } of lacking)
    session.say(
      `note: ${relay} does not list ${posts.length} of these posts, which other relays gave and which name it: hidden, used up, or never brought there`,
    )
}

export function showPost(session: Session, item: FeedItem, names: ReadonlyMap<Key, string>): void {
  session.print(rowOf(item, names), lineOf(item, names))
}

function rowOf(item: FeedItem, names: ReadonlyMap<Key, string>): Record<string, unknown> {
  return { event: 'post', name: names.get(item.from) ?? null, ...item }
}

function lineOf(item: FeedItem, names: ReadonlyMap<Key, string>): string {
  const who = oneLine(names.get(item.from) ?? item.from)
  const place = item.channel === undefined ? '' : ` in ${oneLine(item.channel.name)}`
  const head = `${timeText(item.sentMs)}  ${who}${place}: `
  if (item.state === 'gone') return `${head}(a post that is ${goneText[item.why]})`
  if (item.payload.type === 'file') return `${head}${bodyText(message(item))}: relay feed --get ${item.id}`
  return `${head}${subjectText(item)}${bodyText(message(item))}`
}

const message = (item: FeedPost) => ({ ...item, bytes: new Uint8Array(0) })

const goneText = {
  'used up': 'used up: as many as were paid for have read it',
  'too large': 'too large to be one',
  gone: 'gone: used up, deleted or expired',
} as const
