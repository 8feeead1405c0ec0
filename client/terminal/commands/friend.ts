import { formatAddress } from '../../../market/address.ts'
import { identityLimits } from '../../../market/identity-file.ts'
import { isIdentityUrl } from '../../people/identity-url.ts'
import type { Added, Friend } from '../../people/friends.ts'
import { command, exitCodes, usageError } from '../command.ts'
import { readInput, readNamed } from '../input.ts'
import { oneLine } from '../show.ts'

export const friendCommand = command({
  name: 'friend',
  usage: 'add FILE.relayid|URL|- [--as NAME] | rename FRIEND NAME | list | remove FRIEND',
  summary: 'whom you read and write to',
  help: [
    'URL        what their `relay id --url` prints, or https://RELAY/.well-known/relay-identity/KEY for the newest file there',
    '--as NAME  your own name for the friend, a new one where there was another; their label otherwise',
  ],
  options: { as: { type: 'string' } },
  positionals: [1, 3],
  async run(session, { as: alias }, [action, argument, name]) {
    const client = await session.client()
    if (action === 'rename' && argument !== undefined && name !== undefined) {
      const friend = await client.renameFriend(argument, name)
      session.print(row(friend), renamed(friend))
      return exitCodes.ok
    }
    if (name !== undefined) throw usageError(`usage: relay friend ${friendCommand.usage}`)
    if (action === 'list' && argument === undefined) {
      const friends = await client.friends()
      // Keys of relays are for programs: a table of them is wider than any terminal.
      const rows = friends.map((friend) => ({
        ...row(friend),
        ...(!session.isJson && { relays: friend.relays.map(({ url }) => url) }),
      }))
      session.list(rows, ['alias', 'label', 'key', 'relays', 'note'], 'no friends yet')
      return exitCodes.ok
    }
    if (action === 'add' && argument !== undefined) {
      const text = isIdentityUrl(argument)
        ? argument
        : argument === '-'
          ? await readInput(session.io.stdin, identityLimits.fileBytes)
          : await readNamed(argument, identityLimits.fileBytes)
      const added = await client.addFriend(text, { alias })
      session.print({ ...row(added.friend), succession: added.succession }, addedText(added))
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

const renamed = ({ key, alias }: Friend): string => `${key} is called ${oneLine(alias)} now`

function addedText({ friend, succession, isRenamed }: Added): string {
  if (isRenamed)
    return `${renamed(friend)}${succession === 'older' ? '; the file is older than the one held, which stays' : ''}`
  const verb =
    succession === 'new' ? 'is your friend now' : succession === 'same' ? 'is known already' : 'is up to date'
  return `${oneLine(friend.alias)} ${verb}: ${friend.key}`
}

const row = ({ alias, label, key, relays, file, forks }: Friend) => ({
  alias,
  label,
  key,
  relays: relays.map(formatAddress),
  seq: file.msg.request.seq,
  forks: forks.length,
  ...(forks.length > 0 && { note: 'FORKED: this key signed contradicting files' }),
})
