import type { Key } from '../../../market/units.ts'
import type { Client } from '../../client.ts'
import type { ChannelView } from '../../feeds.ts'
import { codeOf } from '../../errors.ts'
import { command, exitCodes, usageError } from '../command.ts'
import { oneLine } from '../show.ts'

const mostPositionals = 64

export const channelCommand = command({
  name: 'channel',
  usage: '[list] | create NAME | invite NAME FRIEND... [--history] | remove NAME FRIEND...',
  summary: 'private channels: only members read and post there',
  help: [
    'An invitation comes with relay pull, or relay listen; from then on relay feed brings what is posted.',
    'Every invitation and removal gives all members a fresh key; who was removed is told, and reads nothing that is posted later.',
    '--history  new members may also read what was posted before',
  ],
  options: { history: { type: 'boolean' } },
  positionals: [0, mostPositionals],
  async run(session, { history }, [action = 'list', name, ...people]) {
    const client = await session.client()
    const { feeds } = client
    const { signal } = session
    const names = new Map([...(await session.names()), [client.identity, 'you']])
    if (history && action !== 'invite') throw usageError('--history goes with channel invite')
    if (action === 'list' && name === undefined) {
      const rows = (await feeds.channels()).map((channel) => rowOf(channel, names))
      session.list(rows, ['name', 'owner', 'state', 'members', 'epoch', 'untold'], 'no channels yet')
      return exitCodes.ok
    }
    if (action === 'create' && name !== undefined && people.length === 0) {
      session.print(rowOf(await feeds.createChannel(name), names), `the channel ${oneLine(name)} is yours`)
      return exitCodes.ok
    }
    if ((action === 'invite' || action === 'remove') && name !== undefined && people.length > 0) {
      const keys = await Promise.all(people.map((person) => keyOf(client, person, action)))
      const channel = await (action === 'invite'
        ? feeds.invite(name, keys, { hasHistory: history, signal })
        : feeds.removeMembers(name, keys, { signal }))
      if (channel.untold.length > 0)
        session.say(`${counted(channel.untold.length)} will get the new key with a later command`)
      const now = `${counted(channel.members.length)}, epoch ${channel.epoch}`
      session.print(rowOf(channel, names), `the channel ${oneLine(name)} has ${now}`)
      return exitCodes.ok
    }
    throw usageError(`usage: relay channel ${channelCommand.usage}`)
  },
})

const counted = (members: number): string => (members === 1 ? '1 member' : `${members} members`)

/** Who is to be removed may be a friend no longer. */
async function keyOf(client: Client, person: string, action: string): Promise<Key> {
  try {
    return (await client.friend(person)).key
  } catch (error) {
    if (action === 'remove' && codeOf(error) === 'ERR_NOT_FOUND') return person
    throw error
  }
}

const rowOf = (channel: ChannelView, names: ReadonlyMap<Key, string>) => ({
  ...channel,
  state: channel.isRemoved ? 'removed' : channel.isOwn ? 'yours' : 'member',
  owner: names.get(channel.owner) ?? channel.owner,
  members: channel.members.map((key) => names.get(key) ?? key),
  untold: channel.untold.map((key) => names.get(key) ?? key),
})
