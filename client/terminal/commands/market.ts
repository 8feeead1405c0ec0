import { resolve } from 'node:path'
import { parseChannel } from '../../../market/channels/name.ts'
import { messageOf } from '../../errors.ts'
import { command, exitCodes, usageError } from '../command.ts'
import { chooseVerb } from './market-choose.ts'
import { type Asked, callOf, nameIn, options, tellReads, tellUsage } from './market-options.ts'
import * as show from './market-text.ts'

const verbs: Record<string, (asked: Asked) => Promise<number>> = {
  async list(asked) {
    const { session, client, call } = asked
    const { all, reads, usage, limits } = await client.market.list(call)
    tellReads(session, reads, all.length)
    tellUsage(session, usage)
    if (limits.network === undefined)
      session.say('note: relays of all networks, since no chain was named yet: --network')
    const rows = all.map((why) => (session.isJson ? { event: 'relay', ...why } : show.listRow(why)))
    session.list(rows, [...show.listColumns], 'no relay advertises where you look: relay market channels')
    return exitCodes.ok
  },
  async show(asked) {
    const { sealed } = await asked.client.market.why(nameIn(asked), asked.call)
    const { advert, bits, hash } = sealed
    asked.session.print({ event: 'advert', advert, bits, hash }, show.showLines(sealed))
    return exitCodes.ok
  },
  async why(asked) {
    const { why, usage, place } = await asked.client.market.why(nameIn(asked), asked.call)
    tellUsage(asked.session, usage)
    asked.session.print({ event: 'relay', place, ...why }, show.whyLines(why, place))
    return exitCodes.ok
  },
  async probe({ session, client, call, words }) {
    const probed = await client.market.probe({ ...call, relays: words })
    const rows = probed.map((found) => (session.isJson ? show.probeLine(found) : show.probeRow(found)))
    session.list(rows, [...show.probeColumns], 'no relay that keeps your limits is known: relay market list')
    const isNobody = probed.length > 0 && probed.every(({ ms }) => ms === null)
    return isNobody ? exitCodes.unreachable : exitCodes.ok
  },
  async simulate({ session, client, call }) {
    const { all, reads, usage } = await client.market.list(call)
    tellReads(session, reads, all.length)
    tellUsage(session, usage)
    const sorted = [...all].sort((a, b) => a.monthly.satoshis - b.monthly.satoshis)
    const rows = sorted.map((why) => {
      const { relay, url, network, monthly, prices, refused } = why
      const line = { event: 'cost', relay, url, network, monthly, prices, refused, pattern: usage.pattern }
      return session.isJson ? line : show.simulateRow(why)
    })
    session.list(rows, [...show.simulateColumns], 'no relay advertises where you look: relay market channels')
    return exitCodes.ok
  },
  choose: chooseVerb,
  async channels({ session, client, words: [action, name] }) {
    const { market } = client
    if (action !== undefined && (name === undefined || (action !== 'add' && action !== 'remove')))
      throw usageError('usage: relay market channels [add | remove NAME]')
    const names = await (name === undefined
      ? market.channels()
      : action === 'add'
        ? market.addChannel(channelOf(name))
        : market.removeChannel((await market.channels()).includes(name) ? name : channelOf(name)))
    const rows = names.map((channel) => ({ channel }))
    session.list(
      rows,
      ['channel'],
      'no channels: you have no relays whose boards could be read; channels add NAME',
    )
    return exitCodes.ok
  },
  async observe({ session, client, values }) {
    const observation = await client.market.observation()
    if (values['dry-run'] && observation !== undefined) {
      session.print({ event: 'observation', ...observation }, JSON.stringify(observation, undefined, 2))
      return exitCodes.ok
    }
    const { recordId } = await client.market.observe({ signal: session.signal })
    const relays = observation?.relays.length ?? 0
    session.print(
      { event: 'observed', recordId, relays },
      `posted what you saw of ${relays} relays, for everybody to read`,
    )
    return exitCodes.ok
  },
  block: (asked) => blockVerb(asked, true),
  unblock: (asked) => blockVerb(asked, false),
}

export const marketCommand = command({
  name: 'market',
  usage:
    'list | show RELAY | why RELAY | probe [RELAY …] | simulate | choose --relays N | channels [add|remove NAME] | observe | block|unblock RELAY',
  summary: 'relays that offer themselves: what they would cost you, which to take, and why',
  help: [
    'list      reads your channels; what keeps your limits, the best first. RELAY is a URL, or a key (6 digits of it at least)',
    'why       every point of a score, and every limit that is not kept; show: the advert as it was signed',
    'probe     asks the best, or those named, for a signed quote, in a name that nobody knows',
    'simulate  what your usage would cost each month, on each relay',
    'choose    --relays 3 --budget SATOSHI a month for all: the best that answer and are no neighbours; --open takes them:',
    '          a contract with each (--contract SATOSHI, else what the term costs, or the least that the relay takes; --term 30d,',
    '          --max-spend), every number shown before, and your records there',
    'channels  which are read: board:https://host, irc://host/channel, overlay:https://host, file:PATH, https://…; boards of your relays unless said',
    'observe   tells in a public post, signed, what you saw of relays; --dry-run shows it. Posts of those you follow count, a little',
    '--channel NAME  this one for now; --offline: none; --bits N  of work in a stamp, 20 unless said',
    '--records N (a day) --bytes SIZE --ttl 7d --pulls N   your usage; unless said, that of your last 30 days',
    '--network, --feature F, --family ipv4|ipv6|name|onion, --most-storage, --most-egress, --most-ingress SATOSHI   limits',
  ],
  options,
  positionals: [1, 65],
  async run(session, values, [verb = '', ...words]) {
    const act = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (act === undefined) throw usageError(`market ${verb}: there is ${Object.keys(verbs).join(', ')}`)
    return act({ session, client: await session.client(), values, words, call: callOf(session, values) })
  },
})

/** A file is read from wherever the next command stands. @throws ERR_USAGE */
function channelOf(name: string): string {
  try {
    const { kind, target } = parseChannel(name)
    return kind === 'file' ? `file:${resolve(target)}` : name
  } catch (error) {
    throw usageError(messageOf(error))
  }
}

async function blockVerb(asked: Asked, isBlocked: boolean): Promise<number> {
  const { session, client, call } = asked
  const name = nameIn(asked)
  const isKey = /^0[23][0-9a-f]{64}$/.test(name)
  const relay = isKey ? name : (await client.market.why(name, call)).why.relay
  await client.market.block(relay, isBlocked)
  session.print(
    { event: isBlocked ? 'blocked' : 'unblocked', relay },
    `${relay} is ${isBlocked ? 'never chosen' : 'considered again'}; what lies there is read as ever`,
  )
  return exitCodes.ok
}
