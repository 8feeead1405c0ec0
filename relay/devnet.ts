/** `relayd devnet`: a simulated node on this machine, whose coins are worth nothing. */
import { once } from 'node:events'
import { MarketError } from '../market/errors.ts'
import { parseListen } from './config.ts'
import { type Command, exitCodes } from './operator/command.ts'
import { parseWords, UsageError } from './operator/usage.ts'
import { listening } from './port.ts'

const usage = 'devnet [--listen HOST:PORT] [--data DIR] [--block-every 10s] [--user NAME --password WORD]'
const mostSeconds = 86_400

/** It has no relay, so `--data` is the folder of its chain, and RELAYD_DATA is not meant. */
export const devnet: Command = {
  usage,
  summary:
    'run a simulated node (default 127.0.0.1:8421) until it is stopped; --block-every 0: only on demand',
  heedsInterrupt: true,
  async run(io, args) {
    const { values } = parseWords({
      args: [...args],
      strict: true,
      options: {
        listen: { type: 'string', default: '127.0.0.1:8421' },
        data: { type: 'string' },
        'block-every': { type: 'string', default: '10s' },
        user: { type: 'string' },
        password: { type: 'string' },
      },
    })
    const { listen, data, 'block-every': every, user, password } = values
    if ((user === undefined) !== (password === undefined))
      throw new UsageError('--user and --password go together')
    const { host, port } = parseListen(listen, 'listen')
    // Only here: all other commands do without a chain of their own.
    const { startDevnet } = await import('../contracts/chain/devnet/local.ts')
    const blockEveryMs = millisecondsOf(every)
    const server = await listening({ option: '--listen', host, port }, () =>
      startDevnet({
        ...{ host, port, directory: data, now: Date.now, onError: broken },
        ...(blockEveryMs > 0 && { blockEveryMs }),
        ...(user !== undefined && password !== undefined && { user, password }),
      }),
    )
    try {
      const { url } = server
      io.out(JSON.stringify({ event: 'ready', devnet: true, url, chain: `devnet:${url}` }))
      if (!io.signal.aborted) await once(io.signal, 'abort')
    } finally {
      await server.close()
    }
    return exitCodes.ok
  },
}

/** Ends the program: a chain that is not written down is not the one that was promised. */
function broken(cause: unknown): void {
  throw new MarketError('ERR_INTERNAL', `no block could be mined: ${(cause as Error).message}`, { cause }) // Errors only
}

/** @throws UsageError */
function millisecondsOf(text: string): number {
  const match = /^(\d{1,8})(ms|s|m)?$/.exec(text)
  const factor = { ms: 0.001, s: 1, m: 60 }[match?.[2] ?? 's'] ?? 1
  const seconds = match === null ? Number.NaN : Number(match[1]) * factor
  if (!(seconds <= mostSeconds))
    throw new UsageError('--block-every takes a time such as 30s, or 0, up to a day')
  return Math.round(seconds * 1000)
}
