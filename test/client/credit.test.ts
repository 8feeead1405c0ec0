/** Credit bought with coins and turned back into coins, at a real relay on a devnet, by a user who types. */
import { mkdirSync, readdirSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { EmbeddedWallet } from '../../contracts/wallet/embedded-wallet.ts'
import { WalletSync } from '../../contracts/wallet/sync/sync.ts'
import { readConfig } from '../../relay/config.ts'
import { startRelay } from '../../relay/relay.ts'
import { openDevnet, startMs } from '../fixtures/chain.ts'
import { relayCommand, type Run } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'
import { keysOf } from '../fixtures/wallet.ts'
import { serveJson } from '../fixtures/wallet-server.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3, refused: 4, notFound: 5, payment: 6 }
const prices = ['storageGBDay', 'egressGB', 'ingressGB'].flatMap((name) => ['--price', `${name}=1000000`])

/** Alice, not yet born, and a relay on a devnet that charges; `followed` waits until it has seen a new block. */
async function setUp(t: Test) {
  t.testdir()
  const devnet = await openDevnet(t)
  const data = join(t.testdirName, 'relay')
  mkdirSync(data)
  const args = [
    '--data',
    data,
    '--listen',
    '127.0.0.1:0',
    '--min-free-disk',
    '0',
    '--chain',
    `devnet:${devnet.url}`,
  ]
  const relay = await startRelay(readConfig([...args, ...prices], {}), {
    log: pino({ level: 'silent' }),
    followEveryMs: 100,
  })
  t.teardown(() => relay.close())
  const home = join(t.testdirName, 'alice')
  const env = { RELAY_CHAIN: `devnet:${devnet.url}` }
  const alice = (args: string[], options: Parameters<typeof relayCommand>[2] = {}) =>
    relayCommand(home, args, { env, ...options })
  const bob = (args: string[]) => relayCommand(join(t.testdirName, 'bob'), args)
  const until = async (ask: () => Promise<Run>, isDone: (run: Run) => boolean): Promise<Run> => {
    for (let asked = 0; asked < 200; asked++) {
      const run = await ask()
      if (isDone(run)) return run
    }
    throw new Error('it did not come to that')
  }
  return { devnet, relay, address: `${relay.url}#${relay.key}`, home, alice, bob, until }
}

t.test('coins become credit, credit pays for messages, and what is left becomes coins', async (t) => {
  const { devnet, address, home, alice, bob, until } = await setUp(t)
  await alice(['init', '--label', 'Alice'])
  await alice(['wallet', 'faucet', '100000'])
  await devnet.node.mine(1)

  const paid = await alice(['deposit', address, '25000'])
  t.match(paid, {
    code: exit.ok,
    rows: [{ satoshis: 25_000, before: '0', available: '10000', pending: '15000' }],
  })
  const more = await alice(['deposit', address, '1000'], { tty: true, stdin: 'y\n' })
  t.match(more.stderr, /your credit is 10000 satoshi\? \[y\/N\]/)
  t.match(
    more.stdout,
    /credit there: 10000 before, 10000 satoshi now, and 1000 more of this payment when it is in a block/,
  )
  const early = await alice(['withdraw', address])
  t.match(early, { code: exit.payment, stderr: /ERR_INSUFFICIENT_FUNDS/ }, 'nothing of it is in a block yet')
  t.same(readdirSync(join(home, 'payments')), [])

  await devnet.node.mine(1)
  const all = await until(
    () => alice(['account', address]),
    ({ rows }) => rows.find(({ purse }) => purse === 'credit')?.available === '26000',
  )
  t.match(all.stdout, /payment [0-9a-f]{64}/)
  await bob(['init', '--label', 'Bob'])
  await alice(['friend', 'add', '-'], { stdin: (await bob(['id'])).stdout })
  const before = (await alice(['wallet', 'balance'])).rows[0].satoshis
  await alice(['relays', 'add', address])
  const sent = await alice(['send', 'Bob', '--text', 'paid for'])
  t.match(sent, { code: exit.ok, rows: [{ state: 'delivered' }] })
  const reserved = Number(sent.rows[0].reserved.total)
  t.ok(reserved > 0)
  const creditLeft = async () => (await alice(['account', address])).rows[0].available
  t.ok(Number(await creditLeft()) <= 26_000 - reserved)

  const some = await alice(['withdraw', address, '6000'])
  t.match(some, { code: exit.ok, rows: [{ satoshis: '6000', isRepeat: false, network: 'devnet' }] })
  // The backup of the coins has gone to the relay too, and is paid for like everything there.
  const left = await creditLeft()
  const rest = await alice(['withdraw', address], { tty: true })
  t.match(rest, { code: exit.ok, stdout: `: ${left} satoshi of your credit, fee ` })
  const fee = Number(/fee (\d+) satoshi/.exec(rest.stdout)?.[1]) + Number(some.rows[0].fee)
  const { rows } = await alice(['account', address])
  t.match(rows, [{ purse: 'credit', available: '0', returned: String(6000 + Number(left)) }])
  t.equal((await alice(['wallet', 'balance'])).rows[0].satoshis, before + 6000 + Number(left) - fee)
  t.match(await alice(['withdraw', address]), { code: exit.payment, stderr: /ERR_INSUFFICIENT_FUNDS/ })
})

/** Passes everything on, and cuts the connection when a request that holds `word` is answered, while `isCutting`. */
async function startCutter(t: Test, target: string, word: string) {
  const state = { isCutting: true, url: '' }
  const { port } = new URL(target)
  const server = createServer((client) => {
    const upstream = connect(Number(port), '127.0.0.1')
    let isMeant = false
    client.on('data', (part) => {
      if (part.includes(word)) isMeant = true
      upstream.write(part)
    })
    upstream.on('data', (part) => {
      if (isMeant && state.isCutting) client.destroy()
      else client.write(part)
    })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('close', () => other.destroy())
      one.on('error', () => undefined)
    }
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return state
}

t.test('answers that are lost cost nothing twice', async (t) => {
  const { devnet, relay, home, alice, until } = await setUp(t)
  const deposits = await startCutter(t, relay.url, 'x-bsv-payment')
  const address = `${deposits.url}#${relay.key}`
  await alice(['init', '--label', 'Alice'])
  await alice(['wallet', 'faucet', '100000'])
  await devnet.node.mine(1)

  const lost = await alice(['deposit', address, '5000'])
  t.match(lost, { code: exit.unreachable, stderr: /is kept: relay deposit http/ })
  t.equal(readdirSync(join(home, 'payments')).length, 1)
  t.match(await alice(['deposit', address, '--cancel']), {
    code: exit.failed,
    stderr: /the network has the payment .* it is not taken back, but presented again/,
  })
  deposits.isCutting = false
  const account = await alice(['account', address])
  t.match(account.stderr, /your payment of 5000 satoshi .* is confirmed/)
  t.match(account.rows, [{ purse: 'credit', available: '5000', received: '5000' }])
  t.same(readdirSync(join(home, 'payments')), [])

  await devnet.node.mine(1)
  const withdrawals = await startCutter(t, relay.url, '"type":"withdraw"')
  const cut = `${withdrawals.url}#${relay.key}`
  await until(
    () => alice(['withdraw', address, '1000']),
    ({ code }) => code === exit.ok,
  )
  const silent = await alice(['withdraw', cut])
  t.equal(silent.code, exit.unreachable)
  t.match(silent.stderr, /the same command asks again for the same withdrawal/)
  withdrawals.isCutting = false
  // When the relay has forgotten the request it still knows the withdrawal by its name.
  const now = Date.now
  t.teardown(() => {
    Date.now = now
  })
  Date.now = () => now() + 100_000
  const got = await alice(['withdraw', cut])
  Date.now = now
  t.match(got.rows, [{ satoshis: '4000', isRepeat: true }])
  t.match((await alice(['account', address])).rows, [{ available: '0', returned: '5000' }])
})

t.test('what the backup of the coins takes from new credit is told', async (t) => {
  const { devnet, address, alice } = await setUp(t)
  await alice(['init', '--label', 'Alice'])
  await alice(['wallet', 'faucet', '100000'])
  await devnet.node.mine(1)
  await alice(['deposit', address, '6000'])
  await alice(['relays', 'add', address])

  const paid = await alice(['deposit', address, '1000'], { tty: true, stdin: 'y\n' })
  const told = /(\d+) before, (\d+) satoshi now, (\d+) after the backup of your coins/.exec(paid.stdout)
  const [before, now, after] = (told ?? []).slice(1).map(Number)
  t.equal(now, before! + 1000)
  t.ok(after! < now!)
  t.match((await alice(['account', address])).rows, [{ available: String(after) }])

  const note = /your relays keep an encrypted backup of your coins, paid from your credit/
  t.match(paid.stderr, note, 'said once')
  t.notMatch((await alice(['deposit', address, '1000', '--yes'], { tty: true })).stderr, note)
  const entries = (await alice(['account', address], { tty: true })).stdout
  t.match(entries, / write {2}reserved \d+, spent \d+ {2}backup of your coins\n/)
  t.notMatch(entries, / write .* [0-9a-f]{32}/)
})

t.test('what waited for credit goes up with the deposit, and that is told', async (t) => {
  const { devnet, address, alice, bob } = await setUp(t)
  const other = await startTestRelay(join(t.testdirName, 'other'))
  t.teardown(() => other.close())
  await alice(['init', '--label', 'Alice', '--relay', address, '--relay', `${other.url}#${other.key}`])
  await bob(['init', '--label', 'Bob'])
  await alice(['friend', 'add', '-'], { stdin: (await bob(['id'])).stdout })
  for (const text of ['one', 'two']) {
    const sent = await alice(['send', 'Bob', '--text', text])
    t.match(sent, { rows: [{ relays: [other.key] }], stderr: /warning: .* needs \d+ satoshi for the record/ })
  }
  await alice(['wallet', 'faucet', '100000'])
  await devnet.node.mine(1)

  const paid = await alice(['deposit', address, '6000'], { tty: true, stdin: 'y\n' })

  t.match(paid, { code: exit.ok, stdout: /went up with it: 2 of your records that waited for this relay/ })
  const { rows } = await alice(['outbox'])
  t.match(rows, [
    { state: 'delivered', accepted: { length: 2 }, refused: [] },
    { state: 'delivered', accepted: { length: 2 }, refused: [] },
  ])
  t.notMatch((await alice(['deposit', address, '500', '--yes'], { tty: true })).stdout, /went up/)
})

t.test('a connected wallet pays, and is paid back', async (t) => {
  const { devnet, address, alice, until } = await setUp(t)
  const parts = { keys: keysOf('the wallet of alice'), chain: devnet.chain, now: () => startMs }
  const wallet = await EmbeddedWallet.open({ ...parts, directory: join(t.testdirName, 'coins') })
  t.teardown(() => wallet.close())
  await devnet.chain.faucet!(await wallet.receiveAddress(), 50_000)
  await devnet.node.mine(1)
  const sync = new WalletSync({ ...parts, store: wallet.store })
  await sync.pass()
  await alice(['init', '--label', 'Alice', '--relay', address, '--wallet', await serveJson(t, wallet)])

  const paid = await alice(['deposit', address, '8000'])
  t.match(paid, {
    code: exit.ok,
    rows: [{ satoshis: 8000, fee: Number, network: 'test', available: '8000' }],
  })
  await devnet.node.mine(1)
  await sync.pass()
  t.match(await wallet.balance(), { confirmed: 42_000 - paid.rows[0].fee })
  const back = await until(
    () => alice(['withdraw', address, '5000']),
    ({ code }) => code === exit.ok,
  )
  t.match(await wallet.balance(), { unconfirmed: 5000 - Number(back.rows[0].fee) })
})

t.test('a relay without a chain says so, before anything is asked', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const address = `${relay.url}#${relay.key}`
  const alice = (args: string[]) => relayCommand(join(t.testdirName, 'alice'), args)
  await alice(['init', '--label', 'Alice', '--relay', address])

  for (const args of [
    ['deposit', address, '500'],
    ['withdraw', address],
  ])
    t.match(
      (await alice([...args, '--chain', 'devnet:http://127.0.0.1:1'])).stderr,
      /has no wallet|does not offer withdraw/,
      args[0]!,
    )
})
