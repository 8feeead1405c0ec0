/** `relayd wallet`: the relay's coins in words. */
import { resolve } from 'node:path'
import { checkChain } from '../config.ts'
import { chainOptions } from '../start-options.ts'
import { MarketError } from '../../market/errors.ts'
import { mostSatoshi } from '../../market/units.ts'
import { Network } from '../../contracts/chain/chain.ts'
import type { GivenSettings } from '../../contracts/chain/settings.ts'
import type { Birthday } from '../../contracts/wallet/backup/recover.ts'
import type { AsOf } from '../../contracts/wallet/desk.ts'
import { mostHistory, type WalletResultOf } from './cashier.ts'
import { command, type Given, passphraseOf, table } from './command.ts'
import type { ReachedWallet } from './reach-wallet.ts'
import { UsageError } from './usage.ts'

const options = {
  ...chainOptions,
  yes: { type: 'boolean' },
  birthday: { type: 'string' },
  limit: { type: 'string' },
} as const
type Wallet = Given<typeof options>

const usage =
  'wallet balance | address | send ADDRESS SATOSHI [--yes] | history [--limit N] | backup FILE | recover [--birthday HEIGHT|DATE] [--backup FILE] | faucet [SATOSHI]'
const defaultFaucet = '100000'
/** So often it is said how far a recovery is. */
const progressEveryMs = 5000

/** By their word: how many more they take, from at least to at most. */
const verbs: Record<
  string,
  {
    words: readonly [number, number]
    run(given: Wallet, coins: ReachedWallet, words: readonly string[]): Promise<void>
  }
> = {
  balance: {
    words: [0, 0],
    async run({ print }, coins) {
      const balance = await coins.send('wallet-balance', {})
      print(balance, () => balanceLines(balance))
    },
  },
  address: {
    words: [0, 0],
    async run({ print }, coins) {
      const result = await coins.send('wallet-address', {})
      print(result, ({ address, network }) => [`${address}  (${named(network)})`])
    },
  },
  send: {
    words: [2, 2],
    async run({ print }, coins, [address = '', amount = '']) {
      const satoshis = satoshiWord(amount)
      const sent = await coins.send('wallet-send', { address, satoshis })
      print(sent, ({ txid, fee, left, network }) => [
        `sent ${money(satoshis, network)} to ${address}; the fee was ${fee}, ${left} are left`,
        txid,
      ])
    },
  },
  history: {
    words: [0, 0],
    async run({ values: { limit = '50' }, print, remark }, coins) {
      if (!/^[1-9][0-9]{0,3}$/.test(limit) || Number(limit) > mostHistory)
        throw new UsageError(`--limit takes a number up to ${mostHistory}`)
      const { entries, ...asOf } = await coins.send('wallet-history', { limit: Number(limit) })
      const { network } = asOf
      if (entries.length === 0) remark(`no transactions yet on ${named(network)}`)
      const rows = entries.map(({ txid, status, satoshis, description }) => [
        txid,
        satoshis,
        status,
        network,
        description,
      ])
      print({ network, unavailable: asOf.unavailable, entries }, () => [
        ...(rows.length === 0 ? [] : table(['txid', 'satoshis', 'status', 'network', 'description'], rows)),
        ...asOfLines(asOf),
      ])
    },
  },
  backup: {
    words: [1, 1],
    async run({ print }, coins, [file = '']) {
      const result = await coins.send('wallet-backup', { file: resolve(file) })
      print(result, ({ network }) => [
        `the coins on ${named(network)} are in ${file}, encrypted to the relay's key`,
      ])
    },
  },
  recover: {
    words: [0, 0],
    async run({ values: { birthday, backup }, print }, coins) {
      const report = await coins.send('wallet-recover', {
        ...(birthday !== undefined && { birthday: birthdayOf(birthday) }),
        ...(backup !== undefined && { backup: resolve(backup) }),
      })
      print(report, ({ found, satoshis, network, from, to, notFound }) => [
        `${found} coins, ${money(satoshis, network)}; ${from > to ? 'no further blocks' : `blocks ${from} to ${to} were read`}`,
        ...notFound.map((what) => `not found by a key alone: ${what}`),
      ])
    },
  },
  faucet: {
    words: [0, 1],
    async run({ print }, coins, [amount = defaultFaucet]) {
      const result = await coins.send('wallet-faucet', { satoshis: satoshiWord(amount) })
      print(result, ({ satoshis, txid, network }) => [`got ${money(satoshis, network)}`, txid])
    },
  },
}

export const wallet = command({
  usage,
  summary: 'the relay’s coins; without a running relay also with --chain, --network, --headers, --backup',
  options,
  words: [1, 3],
  async run(given) {
    const { io, data, words, values, remark } = given
    const [verb = '', ...more] = words
    if (verb === 'connect')
      throw new MarketError(
        'ERR_FORBIDDEN',
        'a relay’s wallet is that of its own key, which signs its receipts: no other can be connected',
      )
    const found = Object.hasOwn(verbs, verb) ? verbs[verb] : undefined
    if (found === undefined && verb !== '')
      throw new UsageError(`there is no wallet command ${verb}: ${Object.keys(verbs).join(', ')}`)
    if (found === undefined || more.length < found.words[0] || more.length > found.words[1])
      throw new UsageError(`usage: relayd ${usage}`)
    // Only here: it brings chain and coins with it.
    const { reachWallet } = await import('./reach-wallet.ts')
    let said = 0
    const open = () =>
      reachWallet({
        ...{ data, signal: io.signal, passphrase: passphraseOf(io), given: settingsOf(values) },
        isRecovering: verb === 'recover',
        onProgress: ({ height, tip, coins: seen }) => {
          if (performance.now() - said < progressEveryMs) return
          said = performance.now()
          remark(`block ${height} of ${tip}: ${seen} coins`)
        },
      })
    if (verb === 'send') await askFirst(given, more, open)
    const coins = await open()
    try {
      await found.run(given, coins, more)
    } finally {
      await coins.close()
    }
    return undefined
  },
})

/** Nobody keeps the coins from others while somebody thinks. @throws ERR_BUSY for a no */
async function askFirst(
  { io, values }: Wallet,
  [address = '', amount = '']: readonly string[],
  open: () => Promise<ReachedWallet>,
): Promise<void> {
  const satoshis = satoshiWord(amount)
  if (values.yes === true || io.ask === undefined) return
  const coins = await open()
  const balance = await coins.send('wallet-balance', {}).finally(() => coins.close())
  const have = balance.confirmed + balance.unconfirmed
  const question = `send ${money(satoshis, balance.network)} and the fee to ${address}? There are ${have}.`
  if (!(await io.ask(question))) throw new MarketError('ERR_BUSY', 'nothing was sent')
}

/** Options only: the variables are those of `start`, which remembers them. @throws UsageError */
function settingsOf({ chain, network, headers, backup }: Wallet['values']): GivenSettings {
  const named = network === undefined ? undefined : Network.safeParse(network)
  if (named?.success === false) throw new UsageError('--network takes main, test, regtest or devnet')
  checkChain({ chain })
  return { chain, network, headers, backup }
}

/** @throws UsageError */
function birthdayOf(text: string): Birthday {
  if (/^\d{1,9}$/.test(text)) return { height: Number(text) }
  const ms = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isFinite(ms) || ms < 0)
    throw new UsageError('--birthday takes a height or a date as 2026-11-01')
  if (ms > Date.now()) throw new UsageError('--birthday is in the future')
  return { time: ms / 1000 }
}

const named = (network: Network): string => (network === 'main' ? network : `${network}, worth nothing`)
const money = (satoshis: number, network: Network): string =>
  `${satoshis} satoshi on ${network}${network === 'main' ? '' : ' (worth nothing)'}`

/** SATOSHI, as typed. @throws UsageError */
function satoshiWord(text: string): number {
  if (!/^[1-9][0-9]*$/.test(text)) throw new UsageError('SATOSHI takes a whole number of satoshi above 0')
  if (Number(text) > mostSatoshi) throw new UsageError('SATOSHI is more than all coins there are')
  return Number(text)
}

function balanceLines(balance: WalletResultOf<'wallet-balance'>): string[] {
  const { satoshis, confirmed, unconfirmed, reserved, network, chain, height } = balance
  const parts = [
    `${confirmed} confirmed`,
    ...(unconfirmed > 0 ? [`${unconfirmed} not in a block yet`] : []),
    ...(reserved > 0 ? [`${reserved} set aside for what waits to be signed`] : []),
  ]
  const asOf = balance.isCurrent
    ? [`as of ${height === null ? 'now' : `block ${height}`}, ${chain}`]
    : asOfLines(balance, satoshis === 0)
  return [money(satoshis, network), ...[parts.join(', '), ...asOf].map((line) => `  ${line}`)]
}

/** What keeps this from being the last word. */
function asOfLines({ isCurrent, network, tip, height, unavailable }: AsOf, isNothing = false): string[] {
  if (isCurrent) return []
  const known = isNothing && tip === null ? 'nothing is known yet' : 'as it was known last'
  const upTo = height === null ? known : `as of block ${height}`
  const help = network === 'devnet' ? ': start one with relayd devnet, or relayd start --chain devnet' : ''
  return [`${upTo}: ${unavailable === null ? 'the chain is still being read' : `${unavailable}${help}`}`]
}
