import { formatAddress } from '../../../market/address.ts'
import { command, exitCodes } from '../command.ts'
import { coinOptions, coinsOf } from './money.ts'
import { amount, satoshiWord } from './wallet-text.ts'

export const withdrawCommand = command({
  name: 'withdraw',
  usage: 'RELAY [SATOSHI]',
  summary: 'have a relay pay back your credit, or so much of it, into your wallet',
  help: [
    'what still rests on payments that are in no block stays; the fee of the network is taken from the amount.',
    'the same command again goes on where an answer was lost: nothing is paid back twice',
    '--chain CHAIN  and the like: where your coins are, as for wallet',
  ],
  options: coinOptions,
  positionals: [1, 2],
  async run(session, values, [relay = '', text]) {
    const client = await session.client()
    const wanted = text === undefined ? undefined : satoshiWord(text)
    const options = { ...coinsOf(session, values), signal: session.signal, satoshis: wanted }
    const { relay: from, ...paid } = await client.withdraw(relay, options)
    const { network, txid, satoshis, fee, isRepeat } = paid
    const arrived = Number(satoshis) - Number(fee)
    session.print(
      { relay: formatAddress(from), ...paid },
      `got ${amount(arrived, network)} from ${from.url}: ${satoshis} satoshi of your credit, fee ${fee} satoshi\ntransaction ${txid}`,
    )
    if (isRepeat && text !== undefined && satoshis !== text)
      session.say(`this was asked for earlier and had not arrived: the same command again asks for ${text}`)
    return exitCodes.ok
  },
})
