/** Channels by the names that users give them (docs/protocol.md §12.4). */
import { MarketError } from '../errors.ts'
import { BoardChannel } from './board.ts'
import type { AdvertChannel, Outside } from './channel.ts'
import { FileChannel } from './file.ts'
import { parseChannel } from './name.ts'
import { UrlChannel } from './url.ts'

export { type ChannelKind, type ChannelName, parseChannel } from './name.ts'

/**
 * Nothing is sent before the channel is used. An overlay is opened by whoever can read the chain (contracts/overlay/).
 * @param onProblem told of what went wrong between the calls, and will be tried again
 * @throws ERR_MALFORMED
 */
export async function openChannel(
  name: string,
  outside: Outside,
  onProblem: (problem: MarketError) => void = () => undefined,
): Promise<AdvertChannel> {
  const { kind, target } = parseChannel(name)
  if (target === 'self' || kind === 'overlay')
    throw new MarketError('ERR_MALFORMED', `${name} cannot be opened here`)
  if (kind === 'board') return new BoardChannel(target, outside)
  if (kind === 'file') return new FileChannel(target)
  if (kind === 'url') return new UrlChannel(target, outside)
  // Only where it is used: its library is large.
  const { IrcChannel } = await import('./irc.ts')
  return new IrcChannel(name, outside, { onProblem })
}
