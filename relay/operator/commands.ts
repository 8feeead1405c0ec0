/** The commands of `relayd` beside `start`: how the operator looks after his relay, running or not. */
import { resolve } from 'node:path'
import { type LedgerEntry, ledgerColumns, type Purse } from '../../contracts/account.ts'
import { MarketError } from '../../market/errors.ts'
import { devnet } from '../devnet.ts'
import { advert } from './advert-command.ts'
import { box } from './box-command.ts'
import { type Command, command, exitCodes, keyOf, satoshiOf, table, timeText } from './command.ts'
import { contracts, contractsAdvice, drain } from './contract-commands.ts'
import { price } from './price-command.ts'
import type { Reached } from './reach-running.ts'
import { UsageError } from './usage.ts'
import { wallet } from './wallet-command.ts'

const status = command({
  usage: 'status',
  summary: 'what a running relay says of itself',
  words: [0, 0],
  async run({ print, running }) {
    const facts = await running.send('status', {})
    print(facts, () => Object.entries(facts).map(([name, value]) => `${name.padEnd(11)} ${plain(value)}`))
  },
})

const confirmClock = command({
  usage: 'confirm-clock',
  summary: 'accept writes and delete what expired again, after the clock jumped',
  words: [0, 0],
  async run({ print, running }) {
    print(await running.send('confirm-clock', {}), () => ['confirmed'])
  },
})

const confirmRestore = command({
  usage: 'confirm-restore',
  summary: 'pay credit back and sign contracts again, after a restore: you know what was since the backup',
  words: [0, 0],
  async run({ print, relay }) {
    print(await (await relay()).send('confirm-restore', {}), ({ wasHeld }) => [
      wasHeld ? 'confirmed: credit is paid back, contracts are signed' : 'there was nothing to confirm',
    ])
  },
})

const grant = command({
  usage: 'grant KEY SATOSHI [--id ID]',
  summary: 'give credit; with an id, the same grant ordered again is not given again',
  options: { id: { type: 'string' } },
  words: [2, 2],
  async run({ words: [key = '', satoshi = ''], values: { id }, print, relay }) {
    const order = { key: keyOf(key), satoshi: satoshiOf(satoshi), ...(id !== undefined && { id }) }
    print(await (await relay()).send('grant', order), ({ granted, purse, available }) => [
      granted ? `granted ${satoshi} satoshi to ${key}` : `${id} was granted before: nothing was given now`,
      `${purse}: ${available} available`,
    ])
  },
})

const revoke = command({
  usage: 'revoke KEY SATOSHI',
  summary: 'take back granted credit that is neither spent nor reserved',
  words: [2, 2],
  async run({ words: [key = '', satoshi = ''], print, relay }) {
    const order = { key: keyOf(key), satoshi: satoshiOf(satoshi) }
    print(await (await relay()).send('revoke', order), ({ revoked, purse, available }) => [
      `took back ${revoked} satoshi of ${key}${revoked < order.satoshi ? `: only ${revoked} were available` : ''}`,
      `${purse}: ${available} available`,
    ])
  },
})

const accounts = command({
  usage: 'accounts list | show KEY [--entries N]',
  summary: 'who has credit, and what became of it',
  options: { entries: { type: 'string' } },
  words: [1, 2],
  async run({ words: [verb, key], values: { entries = '20' }, print, remark, relay }) {
    if (!/^[0-9]{1,4}$/.test(entries) || Number(entries) > 1000)
      throw new UsageError('--entries takes a number up to 1000')
    const reached = await relay()
    if (verb === 'list' && key === undefined) {
      let after: string | undefined
      let listed = 0
      do {
        const page = await reached.send('accounts', after === undefined ? {} : { after })
        for (const account of page.accounts)
          print(account, ({ key, purses }) => purses.map((purse) => `${key}  ${purseLine(purse)}`))
        listed += page.accounts.length
        after = page.next
      } while (after !== undefined)
      if (listed === 0) remark('no accounts yet')
      return
    }
    if (verb !== 'show' || key === undefined) throw new UsageError('usage: relayd accounts list | show KEY')
    const account = await reached.send('account', { key: keyOf(key), limit: Number(entries) })
    print(account, ({ stored, purses, entries }) => [
      ...purses.map(purseLine),
      `stored: ${stored.records} records of ${stored.bytes} bytes; ${stored.pulls} pulls of ${stored.egressBytes} bytes`,
      ...table(['time (UTC)', 'purse', 'what', 'satoshi', 'about'], entries.map(entryCells)),
    ])
  },
})

const ledger = command({
  usage: 'ledger check | explain KEY|PATH',
  summary: 'recompute every satoshi; tell the story of an account or a record',
  words: [1, 2],
  async run({ words: [verb, about], print, relay }) {
    const reached = await relay()
    if (verb === 'check' && about === undefined) {
      const report = await reached.send('check', {})
      print(report, ({ accounts, purses, entries, records, pulls, differences, more, ...sums }) => [
        `${accounts} accounts, ${purses} purses, ${entries} entries, ${records} records, ${pulls} pulls`,
        `received ${sums.received} = returned ${sums.returned} + earned ${sums.earned} + reserved ${sums.reserved} + available ${sums.available}`,
        ...differences,
        ...(more > 0 ? [`and ${more} more`] : []),
        sums.ok ? 'no difference' : 'THE BOOKS DO NOT AGREE',
      ])
      return report.ok ? exitCodes.ok : exitCodes.mismatch
    }
    if (verb !== 'explain' || about === undefined)
      throw new UsageError('usage: relayd ledger check | explain KEY|PATH')
    await explain(reached, about, (sentence) => print({ sentence }, () => [sentence]))
    return exitCodes.ok
  },
})

/** Page by page. @throws ERR_NOT_FOUND when there is nothing to say on any of them */
async function explain(relay: Reached, about: string, say: (sentence: string) => void): Promise<void> {
  let said = 0
  for (let after: number | undefined = 0; after !== undefined; ) {
    const page: { sentences: string[]; next?: number } = await relay.send('explain', { about, after })
    for (const sentence of page.sentences) say(sentence)
    said += page.sentences.length
    after = page.next
  }
  if (said === 0) throw new MarketError('ERR_NOT_FOUND', `nothing is known of ${about}`)
}

const backup = command({
  usage: 'backup DIR',
  summary: 'copy store, key and coins as they are at this moment into a new folder, while serving',
  words: [1, 1],
  async run({ words: [directory = ''], print, relay }) {
    const made = await (await relay()).send('backup', { directory: resolve(directory) })
    print(made, ({ rows, bytes, walletBytes }) => [
      `${rows} rows, ${bytes} bytes in ${directory}; it holds the relay's key: keep it safe`,
      ...(walletBytes === null ? [] : [`and its coins: ${walletBytes} bytes in wallet.backup`]),
    ])
  },
})

const restore = command({
  usage: 'restore DIR',
  summary: 'make a relay in --data from a backup; then check its ledger',
  words: [1, 1],
  heedsInterrupt: false,
  async run({ words: [directory = ''], data, print, relay }) {
    const { restoreBackup } = await import('../store/restore.ts')
    const restored = await restoreBackup({ backup: resolve(directory), data, now: Date.now() })
    const { ok, differences } = await (await relay()).send('check', {})
    print({ ...restored, ledger: { ok, differences } }, () => [
      `${restored.rows} rows in ${data}, which is a relay again`,
      ...(restored.hasWallet
        ? [
            'it recovers its coins when it starts with --chain',
            'withdrawals after the backup are forgotten: it pays none until relayd confirm-restore',
          ]
        : []),
      ...contractsAdvice(restored.contracts),
      ...(ok ? ['no difference in its ledger'] : [...differences, 'THE BOOKS DO NOT AGREE']),
    ])
    return ok ? exitCodes.ok : exitCodes.mismatch
  },
})

/** By their first word. */
export const commands: { readonly [name: string]: Command } = {
  status,
  'confirm-clock': confirmClock,
  'confirm-restore': confirmRestore,
  price,
  box,
  grant,
  revoke,
  accounts,
  ledger,
  contracts,
  drain,
  advert,
  wallet,
  backup,
  restore,
  devnet,
}

const purseLine = ({
  purse,
  available,
  reserved,
  owed,
  returned,
  received,
  records,
  lapses,
}: Purse): string =>
  `${purse}: ${available} available, ${reserved} reserved for ${records} records, ${owed} spent${
    returned === '0' ? '' : ` and ${returned} returned`
  } of ${received}${lapses === null ? '' : `; lapses ${timeText(lapses)} UTC`}`

function entryCells(entry: LedgerEntry): string[] {
  const { at, purse, what, recordId, note } = entry
  const moves = ledgerColumns
    .filter((column) => entry[column] !== '0')
    .map((column) => `${column} ${entry[column]}`)
  return [timeText(at), purse, what, moves.join(', ') || '0', recordId ?? note ?? '']
}

function plain(value: unknown): string {
  if (value === null) return '-'
  if (typeof value !== 'object') return String(value)
  return Object.entries(value)
    .map(
      ([name, part]) =>
        `${name} ${typeof part === 'number' && name === 'from' ? `${timeText(part)} UTC` : plain(part)}`,
    )
    .join(', ')
}
