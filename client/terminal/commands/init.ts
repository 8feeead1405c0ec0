import { formatAddress } from '../../../market/address.ts'
import { Client } from '../../client.ts'
import { command, exitCodes, usageError } from '../command.ts'

export const initCommand = command({
  name: 'init',
  usage: '--label NAME [--relay ADDRESS]…',
  summary: 'make an identity',
  help: [
    '--label NAME      what friends see as your name',
    '--relay ADDRESS   a relay to put records on: http(s)://host[:port][/prefix]#KEY; may be repeated',
    'RELAY_PASSPHRASE  encrypts the key at rest',
  ],
  options: { label: { type: 'string' }, relay: { type: 'string', multiple: true } },
  positionals: [0, 0],
  async run(session, { label, relay = [] }) {
    if (label === undefined) throw usageError('--label NAME is missing')
    const client = await Client.init(session.directory, { ...session.options, label, relays: relay })
    const relays = (await client.relays()).map(formatAddress)
    const home = session.directory
    session.print(
      { key: client.identity, label, relays, home },
      `you are ${client.identity}\nyour home is ${home}`,
    )
    return exitCodes.ok
  },
})
