import { formatAddress } from '../../../market/address.ts'
import { Client } from '../../client.ts'
import { connectWallet } from '../../open.ts'
import { command, exitCodes, usageError } from '../command.ts'

export const initCommand = command({
  name: 'init',
  usage: '--label NAME [--relay ADDRESS]… [--wallet URL]',
  summary: 'make an identity',
  help: [
    '--label NAME      what friends see as your name',
    '--relay ADDRESS   a relay to put records on: http(s)://host[:port][/prefix]#KEY; may be repeated',
    '--wallet URL      the BRC-100 wallet there has the key: it signs, encrypts and pays',
    'RELAY_PASSPHRASE  encrypts the key at rest',
  ],
  options: {
    label: { type: 'string' },
    relay: { type: 'string', multiple: true },
    wallet: { type: 'string' },
  },
  positionals: [0, 0],
  async run(session, { label, relay = [], wallet }) {
    if (label === undefined) throw usageError('--label NAME is missing')
    if (wallet !== undefined) await connectWallet(session.directory, wallet, session.options)
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
