import { formatAddress, type RelayAddress } from '../../../market/address.ts'
import type { Redundancy } from '../../home/redundancy.ts'
import { command, exitCodes, positiveInteger, usageError } from '../command.ts'

export const relaysCommand = command({
  name: 'relays',
  usage: '[list] | add ADDRESS | remove ADDRESS | [--keep K|all] [--quorum Q]',
  summary: 'where your records are put; friends are told of changes',
  help: [
    'ADDRESS       http(s)://host[:port][/prefix]#KEY; `add` without #KEY trusts the key found there now, and shows it',
    'list          them, and how many of them get what you send',
    '--keep K|all  how many of them get what you send from now on; all unless said. What one does not take, another gets',
    '--quorum Q    how many of those must have signed for it before it is delivered; 1 unless said',
  ],
  options: { keep: { type: 'string' }, quorum: { type: 'string' } },
  positionals: [0, 2],
  async run(session, { keep, quorum }, [action, argument]) {
    const client = await session.client()
    const { signal } = session
    if (action === undefined && (keep !== undefined || quorum !== undefined)) {
      const wish = {
        ...(keep !== undefined && { keep: keep === 'all' ? null : positiveInteger(keep, 'keep') }),
        ...(quorum !== undefined && { quorum: positiveInteger(quorum, 'quorum') }),
      }
      const chosen = await client.redundancy.choose(wish)
      session.print(chosen, settingsText(chosen))
      return exitCodes.ok
    }
    if ((action === undefined || action === 'list') && argument === undefined) {
      const relays = await client.relays()
      session.list(relays.map(row), ['url', 'key'], 'no relays yet: add one with relays add')
      if (relays.length > 1) session.say(settingsText(await client.redundancy.settings()))
      return exitCodes.ok
    }
    if (action === 'add' && argument !== undefined) {
      const address = await client.addRelay(argument, { signal })
      const pinned = argument.includes('#')
        ? ''
        : ' (trusted on first use: compare the key with its operator)'
      session.print(row(address), `added ${formatAddress(address)}${pinned}`)
      return exitCodes.ok
    }
    if (action === 'remove' && argument !== undefined) {
      const { dropped } = await client.removeRelay(argument, { signal })
      if (dropped > 0)
        session.say(
          `${dropped} queued for that relay alone: dropped, because it never took anything of yours`,
        )
      session.print({ removed: argument }, `removed ${argument}`)
      return exitCodes.ok
    }
    throw usageError(`usage: relay relays ${relaysCommand.usage}`)
  },
})

function settingsText({ keep, quorum }: Redundancy): string {
  const many = keep === null ? 'all your relays get' : `${keep} of your relays get`
  return `${many} what you send; it is delivered when ${quorum} signed for it`
}

const row = (relay: RelayAddress) => ({ address: formatAddress(relay), url: relay.url, key: relay.key })
