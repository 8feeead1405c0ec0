/** `relay contract` and `relay agent` as typed: numbers before money, who gets what, with a wallet of this home or another. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { WalletSync } from '../../contracts/wallet/sync/sync.ts'
import { openMarket } from '../fixtures/contracting.ts'
import { relayCommand } from '../fixtures/people.ts'
import { keysOf } from '../fixtures/wallet.ts'
import { serveJson } from '../fixtures/wallet-server.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, usage: 2, notFound: 5, payment: 6 }

async function setUp(t: Test) {
  const market = await openMarket(t)
  // Commands have the clock of this machine.
  market.clock.now = Date.now()
  const relay = await market.relay()
  const env = { RELAY_CHAIN: `devnet:${market.devnet.url}` }
  const home = join(market.directory, 'typed')
  const alice = (args: string[], options: Parameters<typeof relayCommand>[2] = {}) => {
    market.clock.now = Date.now()
    return relayCommand(home, args, { env, ...options })
  }
  const mine = (blocks: number) => market.devnet.node.mine(blocks)
  return { market, relay, alice, mine, address: `${relay.url}#${relay.key}` }
}

t.test('every number is shown before anything is paid, and asked about', async (t) => {
  const { alice, mine, address, relay } = await setUp(t)
  await alice(['init', '--label', 'Alice', '--relay', address])
  await alice(['wallet', 'faucet', '300000'])
  await mine(1)

  const dry = await alice(['contract', 'open', relay.url, '--budget', '100000', '--term', '30d', '--dry-run'])
  t.match(dry, {
    code: exit.ok,
    rows: [{ event: 'plan', budget: 100_000, deposit: 10_000, mostLost: Number }],
  })
  const no = await alice(['contract', 'open', relay.url, '--budget', '100000'], { tty: true, stdin: 'n\n' })
  t.equal(no.code, exit.failed)
  t.match(
    no.stdout,
    /leaves your wallet {2}1101\d\d satoshi on devnet \(worth nothing\), and about \d+ for the fee/,
  )
  t.match(no.stdout, /lost at most {8}15\d\d\d beyond what you used/)
  t.match(no.stdout, /comes back {10}at 20\d\d-.*Z \(by the time of the chain\), whatever the relay does/)
  t.match(no.stderr, /open it\? \[y\/N\].*nothing was done/s)
  t.same((await alice(['contract', 'list'])).rows, [])
  t.equal((await alice(['wallet', 'balance'])).rows[0].satoshis, 300_000)

  const yes = await alice(['contract', 'open', relay.url, '--budget', '100000', '--yes', '--human'])
  t.match(yes, { code: exit.ok, stdout: /is {8}active/ })
  t.match(await alice(['contract', 'open', relay.url, '--budget', '5000', '--yes']), {
    stderr: /ERR_CONFLICT/,
  })
  await mine(6)
  t.match(await alice(['agent', '--once']), {
    code: exit.ok,
    rows: [{ state: 'active', before: 'active', depth: 6 }],
  })
  const { rows } = await alice(['contract', 'list'])
  t.match(rows, [{ event: 'contract', state: 'active', budget: 100_000 }])
  const id: string = rows[0].contract
  t.match((await alice(['contract', 'list', '--human'])).stdout, /CONTRACT +STATE +BUDGET/)

  const shown = await alice(['contract', 'show', id.slice(0, 10), '--human'])
  t.match(shown.stdout, /agreed {4}at any time: you get 1099\d\d, the relay 50\d\d/)
  t.match(shown.stdout, /expiry {4}from 20\d\d-.*: you get 110000, the relay 5000/)
  t.match(shown.stdout, /deadline {2}20/)
  t.match(await alice(['contract', 'refund', relay.url]), { code: exit.failed, stderr: /comes back from 20/ })
  t.match(await alice(['contract', 'pay', relay.url]), { code: exit.ok, rows: [{ state: 'active' }] })

  const closed = await alice(['contract', 'close', relay.url], { tty: true, stdin: 'y\n' })
  t.match(closed, { code: exit.ok, stdout: /is {8}closed/, stderr: /end the contract/ })
  await mine(6)
  await alice(['agent', '--once'])
  const left = (await alice(['wallet', 'balance'])).rows[0].satoshis
  t.ok(left > 299_000 && left < 300_000, `${300_000 - left} satoshi of fees and service`)
})

t.test('what is typed wrong is said', async (t) => {
  const { alice, address, relay } = await setUp(t)
  await alice(['init', '--label', 'Alice', '--relay', address])
  for (const [args, code, stderr] of [
    [['contract', 'open', relay.url], exit.usage, /--budget/],
    [['contract', 'open'], exit.usage, /takes a RELAY/],
    [['contract', 'melt', 'x'], exit.usage, /there is open, list/],
    [['contract', 'topup', relay.url], exit.usage, /SATOSHI to add/],
    [['contract', 'show', 'abcdef'], exit.notFound, /no contract abcdef/],
    [['contract', 'open', relay.url, '--budget', '100000', '--yes'], exit.payment, /satoshi are missing/],
    [['contract', 'open', relay.url, '--budget', '100000', '--no-expiry'], exit.failed, /without expiry/],
    [['contract', 'open', relay.url, '--budget', '100000', '--term', '1d'], exit.usage, /2 days|172800/],
  ] as const)
    t.match(await alice([...args]), { code, stderr }, args.join(' '))
  t.match(await alice(['agent', '--once']), { code: exit.ok })
  t.match(
    (await alice(['contract', 'list'])).rows.map(({ state }) => state),
    ['cancelled'],
  )
})

t.test('a wallet outside of the home pays and is paid', async (t) => {
  const { market, alice, mine, address, relay } = await setUp(t)
  const { devnet } = market
  const keys = keysOf('the wallet of alice')
  const parts = { keys, chain: devnet.chain, now: () => market.clock.now }
  const wallet = await EmbeddedWallet.open({ ...parts, directory: join(market.directory, 'outside') })
  t.teardown(() => wallet.close())
  await devnet.chain.faucet!(await wallet.receiveAddress(), 300_000)
  await mine(1)
  const sync = () => new WalletSync({ ...parts, store: wallet.store }).pass()
  await sync()
  t.match(await alice(['wallet', 'connect', await serveJson(t, wallet)]), { code: 0 })
  await alice(['init', '--label', 'Alice', '--relay', address])

  const opened = await alice(['contract', 'open', relay.url, '--budget', '50000', '--yes'])
  t.match(opened, { code: exit.ok, rows: [{ state: 'active' }] })
  await mine(6)
  t.match(await alice(['agent', '--once']), { code: exit.ok, rows: [{ depth: 6 }] })
  t.match(await alice(['contract', 'close', relay.url, '--yes']), {
    code: exit.ok,
    rows: [{ state: 'closed' }],
  })
  await mine(6)
  await alice(['agent', '--once'])
  await sync()
  const { confirmed, unconfirmed } = await wallet.balance()
  t.ok(confirmed + unconfirmed > 299_000)
})
