/** `relay contract` and `relay agent` as typed: numbers before money, who gets what, with a wallet of this home or another. */
import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as sdk from '@bsv/sdk'
import t from 'tap'
import { eventually, openMarket, type TestRelay } from '../fixtures/contracting.ts'
import { relayCommand } from '../fixtures/people.ts'
import { PortWallet } from '../fixtures/port-wallet.ts'
import { serveJson } from '../fixtures/wallet-server.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, usage: 2, notFound: 5, payment: 6 }
const market = await openMarket(t)
// Commands have the clock of this machine.
market.clock.now = Date.now()
const relay = await market.relay()
const addressOf = ({ url, key }: Pick<TestRelay, 'url' | 'key'>) => `${url}#${key}`
const mine = (blocks: number) => market.devnet.node.mine(blocks)

/** Somebody who types into a home of that name. */
function typist(name: string) {
  const home = join(market.directory, name)
  const env = { RELAY_CHAIN: `devnet:${market.devnet.url}` }
  return (args: string[], options: Parameters<typeof relayCommand>[2] = {}) => {
    market.clock.now = Date.now()
    return relayCommand(home, args, { env, ...options })
  }
}

async function person(name: string, { at = relay, satoshis = 300_000 } = {}) {
  const run = typist(name)
  await run(['init', '--label', name, '--relay', addressOf(at)])
  if (satoshis > 0) await run(['wallet', 'faucet', String(satoshis)])
  await mine(1)
  return run
}

t.test('every number is shown before anything is paid, and asked about', async (t) => {
  const alice = await person('alice')

  const dry = await alice(['contract', 'open', relay.url, '--budget', '100000', '--term', '30d', '--dry-run'])
  t.match(dry, {
    code: exit.ok,
    rows: [{ event: 'plan', budget: 100_000, deposit: 10_000, mostLost: Number }],
  })
  const no = await alice(['contract', 'open', relay.url, '--budget', '100000'], { tty: true, stdin: 'n\n' })
  t.equal(no.code, exit.failed)
  t.match(
    no.stdout,
    /leaves your wallet {2}1101\d\d satoshi on devnet \(worth nothing\) as your stake, and about \d+ as the fee of making it/,
  )
  t.match(no.stdout, /lost at most {8}15\d\d\d beyond what you used/)
  t.match(
    no.stdout,
    /comes back {10}at 20\d\d-.*Z \(by the time of the chain\) at the latest, whatever the relay does/,
  )
  t.match(no.stderr, /open it\? \[y\/N\].*nothing was done/s)
  t.same((await alice(['contract', 'list'])).rows, [])
  t.equal((await alice(['wallet', 'balance'])).rows[0].satoshis, 300_000)

  const yes = await alice(['contract', 'open', relay.url, '--budget', '100000', '--yes', '--human'])
  t.match(yes, { code: exit.ok, stdout: /is {8}active/ })
  t.match(await alice(['contract', 'open', relay.url, '--budget', '5000', '--yes']), {
    stderr: /ERR_CONFLICT/,
  })
  const early = await alice(['contract', 'topup', relay.url, '--budget', '5000', '--yes'])
  t.match(early, { code: exit.failed, stderr: /wait until it is 6 blocks deep; it is 0/ })
  t.equal((await alice(['contract', 'list'])).rows.length, 1, 'and nothing was begun')
  t.match((await alice(['wallet', 'balance'])).rows, [{ inContracts: 110_000 }])
  t.match((await alice(['wallet', 'balance', '--human'])).stdout, /besides, 110000 of yours in contracts \(/)
  await mine(6)
  t.match(await alice(['agent', '--once']), {
    code: exit.ok,
    rows: [{ state: 'active', before: 'active', depth: 6, owed: Number }],
  })
  const { rows } = await alice(['contract', 'list'])
  t.match(rows, [{ event: 'contract', state: 'active', budget: 100_000 }])
  const id: string = rows[0].contract
  t.match((await alice(['contract', 'list', '--human'])).stdout, /CONTRACT +STATE +BUDGET/)

  const shown = await alice(['contract', 'show', id.slice(0, 10), '--human'])
  t.match(shown.stdout, /ends {6}agreed, at any time: you get 1099\d\d, the relay 50\d\d/)
  t.match(shown.stdout, /ends {6}by time, from 20\d\d-.*: you get 110000, the relay 5000/)
  t.match(shown.stdout, /deadline {2}20.*: service ends; renew it/)
  t.match(await alice(['contract', 'refund', relay.url]), { code: exit.failed, stderr: /comes back from 20/ })
  t.match(await alice(['contract', 'pay', relay.url]), { code: exit.ok, rows: [{ state: 'active' }] })

  const [purse, standing] = (await alice(['account'])).rows
  t.match(purse, { event: 'purse', purse: id })
  t.match(standing, {
    event: 'contract',
    contract: id,
    budget: 100_000,
    settled: Number,
    credit: 140,
    left: Number,
  })
  t.match(
    (await alice(['account', '--human'])).stdout,
    /CONTRACT +STATE +BUDGET +OWED +RESERVED +PAID +SETTLED +CREDIT/,
  )

  const closed = await alice(['contract', 'close', relay.url], { tty: true, stdin: 'y\n' })
  t.match(closed, { code: exit.ok, stdout: /is {8}closed/, stderr: /end the contract/ })
  t.match(await alice(['contract', 'refund', relay.url]), { code: exit.ok, stderr: /it is closed already/ })
  t.same(
    (await alice(['inbox', '--strangers'])).rows,
    [],
    'what a relay says of contracts is from no stranger',
  )
  await mine(6)
  await alice(['agent', '--once'])
  const left = (await alice(['wallet', 'balance'])).rows[0].satoshis
  t.ok(left > 299_000 && left < 300_000, `${300_000 - left} satoshi of fees and service`)
  const moved = (await alice(['wallet', 'history'])).rows
  t.equal(
    moved.reduce((sum, { satoshis }) => sum + satoshis, 0),
    left,
    'a history adds up to the balance',
  )
  t.ok(moved.some(({ satoshis, description }) => satoshis > 109_000 && /ended/.test(description)))
})

t.test('what is typed wrong is said', async (t) => {
  const alice = await person('poor', { satoshis: 0 })
  for (const [args, code, stderr] of [
    [['contract', 'open', relay.url], exit.usage, /--budget/],
    [['contract', 'open'], exit.usage, /takes a RELAY/],
    [['contract', 'melt', 'x'], exit.usage, /there is open, list/],
    [['contract', 'topup', relay.url], exit.usage, /SATOSHI to add/],
    [['contract', 'show', 'abcdef'], exit.notFound, /no contract abcdef/],
    [['contract', 'open', relay.url, '--budget', '100000', '--yes'], exit.payment, /satoshi are missing/],
    [
      ['contract', 'open', relay.url, '--budget', '100000', '--no-expiry'],
      exit.usage,
      /goes with --profile 0/,
    ],
    [['contract', 'open', relay.url, '--budget', '100000', '--profile', '2'], exit.usage, /--profile is 1/],
    [['contract', 'open', relay.url, '--budget', '100000', '--profile', '0'], exit.failed, /without expiry/],
    [['agent', '--once', '--max-spend', 'all'], exit.usage, /--max-spend takes/],
    [['contract', 'open', relay.url, '--budget', '100000', '--term', '1d'], exit.usage, /2 days|172800/],
  ] as const)
    t.match(await alice([...args]), { code, stderr }, args.join(' '))
  t.match(await alice(['agent', '--once']), { code: exit.ok })
  t.match(
    (await alice(['contract', 'list'])).rows.map(({ state }) => state),
    ['cancelled'],
  )
})

t.test('without expiry: the danger is said, and asked about separately', async (t) => {
  const bare = await market.relay('bare', ['--contract', 'withoutExpiry=1'])
  const alice = await person('bold', { at: bare })
  const order = ['contract', 'open', bare.url, '--budget', '20000', '--profile', '0', '--yes']
  t.match(await alice(order), { code: exit.usage, stderr: /takes --no-expiry beside it/ })
  const dry = await alice([...order, '--dry-run', '--human'])
  t.match(dry, { code: exit.ok, stdout: /comes back {10}NEVER by itself: DANGER.*\n$/ })
  t.match(dry.stdout, /lost at most {8}30\d\d\d, all of it/)
  const no = await alice(order, { tty: true, stdin: 'n\n' })
  t.match(no, { code: exit.failed, stderr: /NO expiry: if the relay ever vanishes.*nothing was done/s })
  t.match(await alice([...order, '--no-expiry']), {
    code: exit.ok,
    rows: [{ state: 'active', expiry: null }],
  })
  t.match(await alice(['contract', 'refund', bare.url]), { code: exit.failed, stderr: /has no expiry/ })
})

t.test('no more is signed over than --max-spend says: of a message, a run, a contract', async (t) => {
  const alice = await person('thrifty')
  const bob = await person('bob', { satoshis: 0 })
  await alice(['friend', 'add', '-'], { stdin: (await bob(['id'])).stdout })
  await alice(['contract', 'open', relay.url, '--budget', '50000', '--yes', '--max-spend', '1000'])
  await mine(6)
  await alice(['agent', '--once', '--max-spend', '0'])
  const send = (...more: string[]) => alice(['send', 'bob', '--text', 'x'.repeat(200_000), ...more])
  const refused = await eventually(
    () => send('--max-spend', '30'),
    ({ code }) => code === exit.payment,
  )
  t.match(
    refused.stderr,
    /record [0-9a-f]{32,} needs \d+ satoshi to be signed over.*and 30 are allowed. What helps: .*relay delete [0-9a-f]{32,}, and send it again with a higher one/,
  )
  t.match(refused.rows, [{ state: 'queued' }])
  const { paid } = (await alice(['contract', 'show', relay.url])).rows[0]
  t.ok(paid <= 30, `${paid} signed`)
  const sent = await send('--max-spend', '900')
  t.match(sent, { code: exit.ok, rows: [{ state: 'delivered' }] })
  t.match(
    (await alice(['outbox'])).rows.map(({ state }) => state),
    ['queued', 'delivered'],
    'what is bound stays',
  )
  const own = await eventually(
    () => send(),
    ({ code }) => code === exit.payment,
  )
  t.match(own.stderr, /and 1000 are allowed. What helps: relay contract pay [0-9a-f]{16} --max-spend \d+/)
  const no = await alice(['contract', 'close', relay.url], { tty: true, stdin: 'n\n' })
  t.match(
    no.stderr,
    /\d+ live records of yours worth up to \d+ satoshi stop being paid for.*--keep \d+ keeps them/,
  )
})

t.test(
  'any BRC-100 wallet pays and is paid: one of the sdk alone, with the calls that contracts need',
  async (t) => {
    const { chain } = market.devnet
    const wallet = new PortWallet(sdk.PrivateKey.fromString('07'.repeat(32), 'hex'), chain)
    await wallet.faucet(300_000)
    await mine(1)
    const alice = typist('connected')
    t.match(await alice(['wallet', 'connect', await serveJson(t, wallet as never)]), { code: exit.ok })
    await alice(['init', '--label', 'Alice', '--relay', addressOf(relay)])

    const order = ['contract', 'open', relay.url, '--budget', '50000', '--yes']
    wallet.isBusy = true
    t.match(await alice(order), { code: exit.ok, stderr: /wallet does not keep the contract/ })
    wallet.isBusy = false
    await mine(6)
    await rm(join(market.directory, 'connected', 'contracts'), { recursive: true })
    const found = (await alice(['contract', 'recover'])).rows
    t.match(
      found,
      [{ state: 'active', depth: 6 }],
      'a stake leads to its contract, though one block has both',
    )
    t.match(await alice(['agent', '--once']), { code: exit.ok, rows: [{ depth: 6 }] })
    t.match(await alice(['contract', 'close', relay.url, '--yes']), {
      code: exit.ok,
      rows: [{ state: 'closed' }],
    })
    await mine(6)
    await alice(['agent', '--once'])
    const left = await wallet.balance()
    t.ok(left > 299_700 && left < 300_000, `${300_000 - left} satoshi of fees`)
  },
)

t.test(
  'a folder that is lost, and then the relay: key and backup bring the contract and the money back',
  async (t) => {
    const relay = await market.relay('lost')
    const alice = await person('careless', { at: relay })
    const [home, kept] = ['careless', 'kept'].map((name) => join(market.directory, name)) as [string, string]
    await alice(['contract', 'open', relay.url, '--budget', '80000', '--yes'])
    await mine(6)
    await alice(['agent', '--once'])
    const { contract, paid, expiry } = (await alice(['contract', 'list'])).rows[0]
    await alice(['wallet', 'backup', `${kept}.backup`])
    await cp(join(home, 'key.json'), `${kept}.key`)
    await rm(home, { recursive: true })
    await relay.close()

    const back = async (name: string) => {
      const run = typist(name)
      await cp(`${kept}.key`, join(market.directory, name, 'key.json'))
      await run(['init', '--label', 'careless'])
      return run
    }
    const again = await back('again')
    const { rows } = await again(['wallet', 'recover', '--backup', `${kept}.backup`])
    t.match(rows[1], { event: 'contract', contract, state: 'active' })
    t.ok(paid > 0)
    market.devnet.node.setTime(expiry + 1)
    await mine(12)
    t.match(await again(['agent', '--once']), { code: exit.ok, rows: [{ contract, state: 'refunded' }] })
    await mine(6)
    await again(['agent', '--once'])
    const { satoshis } = (await again(['wallet', 'balance'])).rows[0]
    t.ok(satoshis > 299_700 && satoshis < 300_000, `${300_000 - satoshis} satoshi of fees`)

    const alone = await back('alone')
    const found = await alone(['wallet', 'recover', '--key-only', '--birthday', '0'])
    t.match(
      found.rows,
      [{ notFound: [/BRC-29/, /the terms of contracts/, /./, /./] }],
      'and says what a key alone cannot',
    )
  },
)
