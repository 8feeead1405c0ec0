import type { Coins } from '../../coins.ts'
import type { ContractCall } from '../../contracts.ts'
import { connectWallet } from '../../open.ts'
import { command, exitCodes, positiveInteger, usageError } from '../command.ts'
import type { Session } from '../session.ts'
import { oneLine } from '../show.ts'
import { insideText, viewLines } from './contract-text.ts'
import { coinOptions, coinsOf, isAgreed } from './money.ts'
import { recoverCoins } from './wallet-recover.ts'
import { amount, asOfText, balanceLines, satoshiWord, worth } from './wallet-text.ts'

/** What the faucet of a devnet gives unless said otherwise. */
const faucetSatoshis = 100_000
const historyEntries = 50

export const walletCommand = command({
  name: 'wallet',
  usage:
    'balance | address | send ADDRESS SATOSHI | history | backup FILE | recover | connect URL | faucet [SATOSHI]',
  summary: 'your coins: what there is, being paid, paying, and bringing them back',
  help: [
    'balance                what there is, after asking the chain',
    'address                where anybody can pay to: a new one after each payment',
    'send ADDRESS SATOSHI   asks before it pays, on a terminal; --yes: does not ask',
    'history [--limit N]    the latest N payments; 50 unless said',
    'backup FILE            writes the encrypted backup of now',
    'recover                from the backup on your relays, else the one that was kept, else from the key alone',
    '  --backup FILE          from this one',
    '  --birthday WHEN        when the wallet was used first, a height or a date like 2026-11-01: for the key alone',
    '  --key-only             looks for no backup',
    'connect URL            a BRC-100 wallet signs, encrypts and pays for this home from now on',
    'faucet [SATOSHI]       coins of a devnet, worth nothing; 100000 unless said',
    '--chain CHAIN          devnet, devnet:URL, node:URL or arc:URL; remembered, as are the next three; or RELAY_CHAIN',
    '--headers URL          for arc: a service that knows the headers; or RELAY_HEADERS',
    '--network NETWORK      main, test, regtest or devnet; or RELAY_NETWORK',
    '--backup FILE          keeps an encrypted backup there, new after each change',
  ],
  options: {
    ...coinOptions,
    backup: { type: 'string' },
    birthday: { type: 'string' },
    'key-only': { type: 'boolean' },
    limit: { type: 'string' },
    yes: { type: 'boolean' },
  },
  positionals: [1, 3],
  async run(session, values, [action = '', ...args]) {
    const todo = Object.hasOwn(actions, action) ? actions[action as keyof typeof actions] : undefined
    if (todo === undefined && action !== '')
      throw usageError(`there is no wallet command ${oneLine(action)}: ${Object.keys(actions).join(', ')}`)
    if (todo === undefined || args.length < todo.arguments[0] || args.length > todo.arguments[1])
      throw usageError(`usage: relay wallet ${walletCommand.usage}`)
    refuseOthers(action, values)
    if (todo.run === undefined) return connect(session, args[0] ?? '')
    const kept = action === 'recover' ? undefined : values.backup
    const client = await session.client()
    const coins = client.wallet({ ...coinsOf(session, values), backup: kept, signal: session.signal })
    try {
      const code = await todo.run({ session, coins, args, values })
      if (action !== 'recover') return code
    } finally {
      session.endBar()
      await coins.close()
    }
    return bringBack(session, { ...coinsOf(session, values), signal: session.signal })
  },
})

/** The contracts that recovered coins know of. */
async function bringBack(session: Session, call: ContractCall): Promise<number> {
  for (const view of await (await session.client()).contracts.recover(call))
    session.print({ event: 'contract', ...view }, `a contract came back\n${viewLines(view)}`)
  return exitCodes.ok
}

interface Values {
  readonly backup?: string | undefined
  readonly birthday?: string | undefined
  readonly 'key-only'?: boolean | undefined
  readonly limit?: string | undefined
  readonly yes?: boolean | undefined
}

export interface Job {
  readonly session: Session
  readonly coins: Coins
  readonly args: readonly string[]
  readonly values: Values
}

/** How many words follow, and what is done with coins. */
const actions = {
  balance: { arguments: [0, 0], run: balance },
  address: { arguments: [0, 0], run: address },
  send: { arguments: [2, 2], run: send },
  history: { arguments: [0, 0], run: history },
  backup: { arguments: [1, 1], run: backup },
  recover: { arguments: [0, 0], run: recoverCoins },
  connect: { arguments: [1, 1], run: undefined },
  faucet: { arguments: [0, 1], run: faucet },
} as const

const ownOptions = { birthday: 'recover', 'key-only': 'recover', limit: 'history', yes: 'send' } as const

function refuseOthers(action: string, values: Values): void {
  for (const [option, of] of Object.entries(ownOptions))
    if (values[option as keyof typeof ownOptions] !== undefined && of !== action)
      throw usageError(`--${option} is for wallet ${of}`)
}

async function balance({ session, coins }: Job): Promise<number> {
  const found = await coins.balance()
  const views = await (await session.client()).contracts.list()
  const inContracts = views.reduce((sum, { inside }) => sum + inside, 0)
  const lines = [balanceLines(found), insideText(views)].filter((line) => line !== undefined)
  session.print({ ...found, inContracts }, lines.join('\n'))
  return exitCodes.ok
}

async function address({ session, coins }: Job): Promise<number> {
  const given = await coins.address()
  session.print(given, given.address)
  if (!session.isJson && given.network !== 'main')
    session.say(`for coins of ${given.network} only${worth(given.network)}`)
  return exitCodes.ok
}

async function send({ session, coins, args, values }: Job): Promise<number> {
  const [to = '', text = ''] = args
  const wanted = satoshiWord(text)
  const { network } = await coins.check(to, wanted)
  if (!values.yes && !(await isAgreed(session, `send ${amount(wanted, network)} to ${to}?`))) {
    session.say('not sent')
    return exitCodes.failed
  }
  const sent = await coins.send(to, wanted)
  const fee = sent.fee === null ? '' : `, fee ${sent.fee} satoshi`
  const left = sent.left === null ? '' : `, ${sent.left} satoshi left`
  session.print(sent, `sent ${amount(wanted, sent.network)} to ${to}${fee}${left}\ntransaction ${sent.txid}`)
  return exitCodes.ok
}

async function history({ session, coins, values }: Job): Promise<number> {
  const limit = values.limit === undefined ? historyEntries : positiveInteger(values.limit, 'limit')
  const { network, entries, unavailable } = await coins.history(limit)
  const rows = entries.map((entry) => ({ ...entry, network }))
  session.list(rows, ['txid', 'satoshis', 'status', 'network', 'description'], 'no payments yet')
  if (unavailable !== null) session.say(asOfText({ unavailable, height: null }))
  return exitCodes.ok
}

async function backup({ session, coins, args }: Job): Promise<number> {
  const [file = ''] = args
  await coins.backup(file)
  session.print({ file }, `wrote ${oneLine(file)}: it opens with your key only`)
  return exitCodes.ok
}

async function faucet({ session, coins, args }: Job): Promise<number> {
  const [text] = args
  const wanted = text === undefined ? faucetSatoshis : satoshiWord(text)
  const given = await coins.faucet(wanted)
  session.print(
    { ...given, satoshis: wanted },
    `got ${amount(wanted, given.network)} at ${given.address}\ntransaction ${given.txid}`,
  )
  return exitCodes.ok
}

async function connect(session: Session, url: string): Promise<number> {
  const wallet = await connectWallet(session.directory, url, session.options)
  session.print(
    { ...wallet, home: session.directory },
    `the wallet at ${wallet.url} signs, encrypts and pays for ${session.directory}\nits identity is ${wallet.identity}`,
  )
  return exitCodes.ok
}
