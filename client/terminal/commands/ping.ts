import { formatAddress } from '../../../market/address.ts'
import { codeOf, messageOf } from '../../errors.ts'
import { command, exitCodes } from '../command.ts'

export const pingCommand = command({
  name: 'ping',
  usage: '[RELAY]',
  summary: 'ask your relays, or one, for a signed answer',
  options: {},
  positionals: [0, 1],
  async run(session, _, [reference]) {
    const client = await session.client()
    const pings = await client.ping(reference, { signal: session.signal })
    const rows = pings.map(({ relay, ms, error }) => ({
      relay: session.isJson ? formatAddress(relay) : relay.url,
      ms: ms ?? null,
      ...(error !== undefined && { code: codeOf(error), error: messageOf(error) }),
    }))
    if (rows.length === 0) session.say('no relays yet: add one with relays add')
    else session.list(rows, ['relay', 'ms', 'error'], '')
    const failed = pings.find(({ error }) => error !== undefined)
    if (failed?.error !== undefined) throw failed.error
    return exitCodes.ok
  },
})
