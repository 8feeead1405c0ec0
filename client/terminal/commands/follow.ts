import { formatAddress } from '../../../market/address.ts'
import { identityLimits } from '../../../market/identity-file.ts'
import type { Followed } from '../../feeds/follows.ts'
import { isIdentityUrl } from '../../people/identity-url.ts'
import { command, exitCodes } from '../command.ts'
import { readInput, readNamed } from '../input.ts'
import { oneLine } from '../show.ts'

export const followCommand = command({
  name: 'follow',
  usage: '[FRIEND | KEY | FILE.relayid | URL | -] [--as NAME]',
  summary: 'read the public posts of a friend, or of who signed an identity file; alone, whom you follow',
  help: ['--as NAME  your own name for them; the friend’s alias or their label otherwise'],
  options: { as: { type: 'string' } },
  positionals: [0, 1],
  async run(session, { as }, [reference]) {
    const { feeds } = await session.client()
    if (reference === undefined) {
      session.list(
        (await feeds.followed()).map(row),
        ['name', 'label', 'key', 'relays'],
        'you follow nobody yet',
      )
      return exitCodes.ok
    }
    const text = await identityText(session.io.stdin, reference)
    const one =
      text === undefined ? await feeds.follow(reference, { as }) : await feeds.followFile(text, { as })
    session.print(row(one), `you follow ${oneLine(one.name)} now: ${one.key}`)
    return exitCodes.ok
  },
})

export const unfollowCommand = command({
  name: 'unfollow',
  usage: 'NAME | KEY',
  summary: 'follow somebody no longer',
  options: {},
  positionals: [1, 1],
  async run(session, _, [reference = '']) {
    const one = await (await session.client()).feeds.unfollow(reference)
    session.print(row(one), `you follow ${oneLine(one.name)} no longer`)
    return exitCodes.ok
  },
})

/** An URL, or what stands in a file; undefined where the words are none, and a friend is meant: no alias has a slash. */
async function identityText(
  stdin: Parameters<typeof readInput>[0],
  reference: string,
): Promise<string | undefined> {
  if (isIdentityUrl(reference)) return reference
  if (reference === '-') return readInput(stdin, identityLimits.fileBytes)
  return /\.relayid$|[/\\]/.test(reference) ? readNamed(reference, identityLimits.fileBytes) : undefined
}

const row = ({ key, name, relays, file }: Followed) => ({
  ...{ name, label: file.msg.request.label, key },
  relays: relays.map(formatAddress),
})
