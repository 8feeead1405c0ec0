import { type LedgerEntry, ledgerColumns, type Purse } from '../../../contracts/account.ts'
import { formatAddress, type RelayAddress } from '../../../market/address.ts'
import { isFree } from '../../../market/price.ts'
import { isBoxId, type RecordId } from '../../../market/record.ts'
import type { Client } from '../../client.ts'
import { codeOf, messageOf } from '../../errors.ts'
import type { ContractStanding } from '../../money/standing.ts'
import type { AccountAt } from '../../money/account.ts'
import { command, exitCodes, positiveInteger, usageError } from '../command.ts'
import { help } from '../explain.ts'
import { coinsOf } from './money.ts'
import { amount } from './wallet-text.ts'
import type { Session } from '../session.ts'
import { jsonLine, oneLine, timeText } from '../show.ts'

export const accountCommand = command({
  name: 'account',
  usage: '[RELAY] [--entries N | --all]',
  summary: 'show your credit on your relays, or one, and what became of it',
  help: [
    '--entries N  the latest N entries; 20 unless said',
    '--all        every entry there is',
    'available: for new records; reserved: what live records may still cost; spent: for service you were given.',
    'Of a contract: paid is signed by you at most, settled of that for good; credit: what is lent beyond it, and left of that.',
  ],
  options: { entries: { type: 'string' }, all: { type: 'boolean' } },
  positionals: [0, 1],
  async run(session, { entries, all = false }, [reference]) {
    if (all && entries !== undefined) throw usageError('account takes --entries N or --all')
    const wanted = entries === undefined ? 20 : positiveInteger(entries, 'entries')
    const client = await session.client()
    const { signal } = session
    await confirmDeposits(session, client, reference)
    const accounts = await client.account(reference, { signal, entries: all ? 1 : wanted })
    if (accounts.length === 0) session.say('no relays yet: add one with relays add')
    const failed: Error[] = []
    const errors = accounts.flatMap((one) =>
      'error' in one ? [{ relay: one.relay.url, error: one.error }] : [],
    )
    if (errors.length === accounts.length) session.hold(errors[0])
    for (const account of accounts) {
      try {
        await showAccount(session, client, { account, all })
      } catch (error) {
        signal.throwIfAborted()
        failed.push(error as Error)
        showFailure(session, account.relay, error as Error)
      }
    }
    if (failed.length > 0 && failed.length === accounts.length) throw failed[0]
    return exitCodes.ok
  },
})

/** A payment whose answer was lost is presented again before anybody looks at the credit. */
async function confirmDeposits(
  session: Session,
  client: Client,
  reference: string | undefined,
): Promise<void> {
  const relays = reference === undefined ? (await client.relays()).map(formatAddress) : [reference]
  const options = { ...coinsOf(session, {}), signal: session.signal }
  for (const relay of relays) {
    try {
      const paid = await client.deposit(relay, undefined, options)
      if (paid !== undefined)
        session.say(
          `your payment of ${amount(paid.satoshis, paid.network)} is confirmed by ${paid.relay.url}`,
        )
    } catch (error) {
      session.signal.throwIfAborted()
      session.warn([{ relay, error: error as Error }])
    }
  }
}

function showFailure(session: Session, relay: RelayAddress, error: Error): void {
  session.warn([{ relay: relay.url, error }])
  const row = { event: 'failed', relay: formatAddress(relay), code: codeOf(error), error: messageOf(error) }
  if (session.isJson) session.io.stdout.write(jsonLine(row))
}

/** @throws what the relay failed at */
async function showAccount(
  session: Session,
  client: Client,
  { account, all }: { account: AccountAt; all: boolean },
): Promise<void> {
  if ('error' in account) throw account.error
  const { stdout } = session.io
  const { purses, entries, backups, contracts } = account
  const relay = formatAddress(account.relay)
  if (!session.isJson) stdout.write(`${relay}, ${timeText(account.at)}\n`)
  const rows = purses.map((purse) => ({ event: 'purse', relay, ...purseRow(purse) }))
  const isContract = ({ purse }: { purse: string }) => contracts.some(({ contract }) => contract === purse)
  const others = rows.filter((row) => !isContract(row))
  if (session.isJson || others.length > 0 || contracts.length === 0)
    session.list(
      session.isJson ? rows : others.map((row) => ({ ...row, lapses: lapseText(row.lapses) })),
      ['purse', 'available', 'reserved', 'spent', 'received', 'returned', 'lapses'],
      'no credit was ever given here',
    )
  if (contracts.length > 0) session.list(contracts.map(contractRow(session, relay)), contractColumns, '')
  if (!purses.some(({ available }) => Number(available) > 0)) await sayWhatHelps(session, client, account)
  for await (const entry of all ? client.ledger(account.relay, { signal: session.signal }) : entries)
    stdout.write(
      session.isJson ? jsonLine({ event: 'entry', relay, ...entry }) : `${entryText(entry, backups)}\n`,
    )
}

const purseRow = ({ purse, available, reserved, owed, received, returned, lapses, records }: Purse) => ({
  purse,
  available,
  reserved,
  spent: owed,
  received,
  returned,
  lapses,
  records,
})

const contractColumns = [
  'contract',
  'state',
  'budget',
  'owed',
  'reserved',
  'paid',
  'settled',
  'credit',
  'left',
]

const contractRow =
  ({ isJson }: Session, relay: string) =>
  (standing: ContractStanding) =>
    isJson
      ? { event: 'contract', relay, ...standing }
      : { ...standing, contract: shortName(standing.contract) }

/** A contract is known by the beginning of its id. */
const shortName = (purse: string): string => (/^[0-9a-f]{64}$/.test(purse) ? purse.slice(0, 16) : purse)

const lapseText = (lapses: number | null): string => (lapses === null ? 'never' : timeText(lapses))

/** Nothing available is no news where nothing is charged. */
async function sayWhatHelps(session: Session, client: Client, { relay }: AccountAt): Promise<void> {
  const { relays } = await client.quote({ bytes: 1 }, { relay: formatAddress(relay), signal: session.signal })
  const isGiven = relays.every((quote) => 'prices' in quote && isFree(quote.prices))
  session.say(
    isGiven
      ? `${relay.url} charges nothing`
      : `nothing is available at ${relay.url} for new records. What helps: ${help.credit}`,
  )
}

function entryText(entry: LedgerEntry, backups: ReadonlySet<RecordId>): string {
  const { at, purse, what, recordId, note } = entry
  const moves = ledgerColumns
    .filter((column) => entry[column] !== '0')
    .map((column) => `${column === 'earned' ? 'spent' : column} ${entry[column]}`)
  const isBackup = recordId !== undefined && backups.has(recordId)
  const isBox = recordId !== undefined && isBoxId(recordId)
  const about = [isBackup ? 'backup of your coins' : isBox ? 'message in a box' : recordId, note]
    .filter((text) => text !== undefined)
    .join(' ')
  return oneLine(
    `${timeText(at)}  ${shortName(purse)}  ${what}  ${moves.join(', ') || '0'}  ${about}`.trimEnd(),
  )
}
