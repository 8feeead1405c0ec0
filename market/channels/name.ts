/** What users call channels (docs/protocol.md §12.4). */
import { MarketError } from '../errors.ts'

export type ChannelKind = 'board' | 'irc' | 'overlay' | 'file' | 'url'

export interface ChannelName {
  readonly kind: ChannelKind
  /** What it is opened by: a URL, or the path of a file. `self`: the one of the relay that is asked (board, overlay). */
  readonly target: string
}

const nameLength = 512
const forms =
  'board:https://host[:port][/prefix], irc[s]://host[:port]/channel, overlay:https://host, file:PATH or https://…'

/** @throws ERR_MALFORMED */
export function parseChannel(name: string): ChannelName {
  const parsed = name.length <= nameLength ? split(name) : undefined
  if (parsed !== undefined) return parsed
  throw new MarketError('ERR_MALFORMED', `a channel is ${forms}`)
}

function split(name: string): ChannelName | undefined {
  if (name === 'board:self' || name === 'overlay:self')
    return { kind: name === 'board:self' ? 'board' : 'overlay', target: 'self' }
  const [, kind, target = ''] = /^(board|overlay|file):(.+)$/.exec(name) ?? []
  if (kind === 'file') return { kind, target }
  if (kind === 'board' || kind === 'overlay')
    return isUrl(target, /^https?:$/) ? { kind, target: target.replace(/\/+$/, '') } : undefined
  if (isUrl(name, /^ircs?:$/) && /^\/[^/]+$/.test(new URL(name).pathname + new URL(name).hash))
    return { kind: 'irc', target: name }
  return isUrl(name, /^https?:$/) ? { kind: 'url', target: name } : undefined
}

function isUrl(text: string, protocol: RegExp): boolean {
  if (!URL.canParse(text)) return false
  const { protocol: found, hostname, username, password, hash } = new URL(text)
  return protocol.test(found) && hostname !== '' && username === '' && password === '' && hash === ''
}
