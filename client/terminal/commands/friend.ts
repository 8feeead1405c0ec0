import { formatAddress } from '../../../market/address.ts'
import { identityLimits } from '../../../market/identity-file.ts'
import type { Friend } from '../../people/friends.ts'
import { command, exitCodes, usageError } from '../command.ts'
import { readInput, readNamed } from '../input.ts'
import { oneLine } from '../show.ts'

export const friendCommand = command({
  name: 'friend',
  usage: 'add FILE.relayid|- [--as ALIAS] | list | remove FRIEND',
  summary: 'whom you read and write to',
  help: ['--as ALIAS  your own name for the friend; their label otherwise'],
  options: { as: { type: 'string' } },
  positionals: [1, 2],
  async run(session, { as: alias }, [action, argument]) {
    const client = await session.client()
    if (action === 'list' && argument === undefined) {
      session.list(
        (await client.friends()).map(row),
        ['alias', 'label', 'key', 'relays', 'note'],
        'no friends yet',
      )
      return exitCodes.ok
    }
    if (action === 'add' && argument !== undefined) {
      const text =
        argument === '-'
          ? await readInput(session.io.stdin, identityLimits.fileBytes)
          : await readNamed(argument, identityLimits.fileBytes)
      const { friend, succession } = await client.addFriend(text, { alias })
      const verb =
        succession === 'new'
          ? 'is your friend now'
          : succession === 'same'
            ? 'is known already'
            : 'is up to date'
      session.print({ ...row(friend), succession }, `${oneLine(friend.alias)} ${verb}: ${friend.key}`)
      return exitCodes.ok
    }
    if (action === 'remove' && argument !== undefined) {
      const friend = await client.removeFriend(argument)
      session.print(row(friend), `${oneLine(friend.alias)} is no longer your friend`)
      return exitCodes.ok
    }
    throw usageError(`usage: relay friend ${friendCommand.usage}`)
  },
})

const row = ({ alias, label, key, relays, file, forks }: Friend) => ({
  alias,
  label,
  key,
  relays: relays.map(formatAddress),
  seq: file.msg.request.seq,
  forks: forks.length,
  ...(forks.length > 0 && { note: 'FORKED: this key signed contradicting files' }),
})
