/** Which channels the user reads, and how they are reached: by the client's own way out (docs/protocol.md §12.4). */
import { connect as connectPlain, isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectSecure } from 'node:tls'
import type { AdvertChannel, Endpoint, Outside } from '../../market/channels/channel.ts'
import { openChannel, parseChannel } from '../../market/channels/open.ts'
import { MarketError } from '../../market/errors.ts'
import type { Context } from '../context.ts'
import { ClientError } from '../errors.ts'
import { marketLimits, marketSettings, saveMarketSettings } from '../home/market.ts'
import { ownRelays } from '../people/relays.ts'
import type { Dialer } from '../wire/dialer.ts'
import { fetchText } from '../wire/http.ts'

/** Until a connection is made, its TLS included. */
const connectMs = 10_000
const ports: Readonly<Record<string, number>> = { 'https:': 443, 'http:': 80, 'irc:': 6667, 'ircs:': 6697 }

/** Those that were named, else the boards of the own relays. */
export async function channelNames(ctx: Pick<Context, 'home'>): Promise<readonly string[]> {
  const { channels } = await marketSettings(ctx.home)
  return channels ?? [...new Set((await ownRelays(ctx)).map(({ url }) => `board:${url}`))]
}

/** From the first one named on, boards of own relays are read only where they are named too. @throws ERR_MALFORMED, ERR_LIMIT */
export async function addChannel(ctx: Context, name: string): Promise<readonly string[]> {
  if (parseChannel(name).target === 'self')
    throw new MarketError('ERR_MALFORMED', `${name} is for relays: name the relay, as in board:https://host`)
  return changeChannels(ctx, (channels) => {
    if (channels.length >= marketLimits.channels)
      throw new MarketError('ERR_LIMIT', `at most ${marketLimits.channels} channels are read`)
    return [...channels.filter((known) => known !== name), name]
  })
}

/** Without any left, the boards of the own relays are read again. @throws ERR_NOT_FOUND */
export async function removeChannel(ctx: Context, name: string): Promise<readonly string[]> {
  return changeChannels(ctx, (channels) => {
    if (!channels.includes(name)) throw new MarketError('ERR_NOT_FOUND', `you do not read ${name}`)
    return channels.filter((known) => known !== name)
  })
}

async function changeChannels(
  ctx: Context,
  change: (channels: readonly string[]) => string[],
): Promise<readonly string[]> {
  await ctx.home.lock('market-settings', async () => {
    const settings = await marketSettings(ctx.home)
    const channels = change(await channelNames(ctx))
    await saveMarketSettings(ctx.home, { ...settings, channels: channels.length === 0 ? null : channels })
  })
  return channelNames(ctx)
}

/** The user named them: they may be anywhere, whether or not they are read now. */
export async function allowNamed(ctx: Context): Promise<void> {
  const { channels } = await marketSettings(ctx.home)
  for (const name of channels ?? []) allowChannel(ctx, name)
}

function allowChannel({ dialer }: Pick<Context, 'dialer'>, name: string): void {
  const { kind, target } = parseChannel(name)
  if (kind !== 'file' && target !== 'self') dialer.allow(reachedAt(target))
}

/** Nothing is sent before it is read. Who named the channel, or has a relay there, may have it anywhere. @throws ERR_MALFORMED */
export async function openNamed(ctx: Context, name: string): Promise<AdvertChannel> {
  const { dialer, now } = ctx
  const { kind, target } = parseChannel(name)
  allowChannel(ctx, name)
  const outside = outsideOf(dialer, now)
  if (kind !== 'overlay') return openChannel(name, outside)
  const { OverlayChannel } = await import('../../contracts/overlay/channel.ts')
  return new OverlayChannel(target, outside)
}

/** Of whatever kind it is, as an http URL of the same host and port. */
function reachedAt(target: string): string {
  const { protocol, hostname, port } = new URL(target)
  const scheme = protocol === 'https:' || protocol === 'ircs:' ? 'https' : 'http'
  return `${scheme}://${hostname}:${port === '' ? ports[protocol] : port}`
}

const outsideOf = (dialer: Dialer, now: () => number): Outside => ({
  fetch: (request) => fetchText(dialer, { ...request, shown: request.url }),
  connect: (to, signal) => connect(dialer, to, signal),
  now,
  random: Math.random,
})

/** By the way that the dialer gives, and no other. */
async function connect(
  dialer: Dialer,
  { host, port, isSecure }: Endpoint,
  signal?: AbortSignal,
): Promise<Duplex> {
  const way = await dialer.route({ host, port })
  const there = 'socket' in way ? way.socket : connectPlain({ host: way.addresses[0]!, port }) // there is one at least
  const socket = isSecure
    ? connectSecure({ socket: there, host, ...(isIP(host) === 0 && { servername: host }) })
    : there
  const isOpen = 'socket' in way && !isSecure
  const timeout = AbortSignal.timeout(connectMs)
  const limit = signal === undefined ? timeout : AbortSignal.any([signal, timeout])
  const abort = () => there.destroy(new ClientError('ERR_UNREACHABLE', `${host}:${port} does not answer`))
  limit.addEventListener('abort', abort, { once: true })
  try {
    if (!isOpen)
      await new Promise<void>((resolve, reject) => {
        socket.once(isSecure ? 'secureConnect' : 'connect', () => resolve())
        socket.once('error', reject)
        there.once('error', reject)
        if (limit.aborted) abort()
      })
    return socket
  } finally {
    limit.removeEventListener('abort', abort)
  }
}
