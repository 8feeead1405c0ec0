/** The coins of a home as their owner meets them: real relays, a devnet behind a socket, stores on disk. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Client } from '../../client/index.ts'
import { openDevnet } from '../fixtures/chain.ts'
import { relayCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3, payment: 6 }

/** Alice and Bob with a relay; `alice` and `bob` type `relay wallet …`. */
async function setUp(t: Test, args = ['--open']) {
  t.testdir()
  const devnet = await openDevnet(t)
  const relay = await startTestRelay(join(t.testdirName, 'relay'), { args })
  let isClosed = false
  const closeRelay = async () => {
    if (!isClosed) await relay.close()
    isClosed = true
  }
  t.teardown(closeRelay)
  const home = (name: string) => join(t.testdirName, name)
  const run =
    (name: string) =>
    (args: string[], options: Parameters<typeof relayCommand>[2] = {}) =>
      relayCommand(home(name), args, options)
  const wallet =
    (name: string) =>
    (args: string[], options: Parameters<typeof relayCommand>[2] = {}) =>
      relayCommand(home(name), ['wallet', ...args], {
        env: { RELAY_CHAIN: `devnet:${devnet.url}` },
        ...options,
      })
  for (const name of ['alice', 'bob'])
    await run(name)(['init', '--label', name, '--relay', `${relay.url}#${relay.key}`])
  /** What Bob has elsewhere when his folder is lost. */
  const loseAllBut = (name: string, names = ['key.json', 'me.relayid']) => {
    for (const file of readdirSync(home(name)))
      if (!names.includes(file)) rmSync(join(home(name), file), { recursive: true })
  }
  return { devnet, relay, closeRelay, home, run, alice: wallet('alice'), bob: wallet('bob'), loseAllBut }
}

t.test('coins come from the faucet, are paid to an address, and are told as what they are', async (t) => {
  const { devnet, home, run, alice, bob } = await setUp(t)
  const unnamed = await run('alice')(['wallet', 'balance'])
  t.match(unnamed, { code: exit.usage, stderr: /--chain devnet/ })

  const given = await alice(['faucet', '50000'])
  t.match(given, { code: exit.ok, rows: [{ network: 'devnet', satoshis: 50_000, txid: /^[0-9a-f]{64}$/ }] })
  await devnet.node.mine(1)
  const { mode } = statSync(join(home('alice'), 'chain.json'))
  t.equal(mode & 0o777, 0o600, 'the chain is remembered, for its owner only')
  const balance = await run('alice')(['wallet', 'balance'])
  t.match(balance.rows, [{ satoshis: 50_000, confirmed: 50_000, network: 'devnet', isCurrent: true }])
  t.notMatch(balance.stdout + balance.stderr, /pass:word|pass%3Aword/, 'and its password is told to nobody')

  const { address } = (await bob(['address'])).rows[0]
  const sent = await alice(['send', address, '20000'])
  t.match(sent, { code: exit.ok, rows: [{ satoshis: 20_000, to: address, network: 'devnet', fee: Number }] })
  const { fee, left, txid } = sent.rows[0]
  t.equal(left, 30_000 - fee)
  await devnet.node.mine(3)
  t.match((await bob(['balance'])).rows, [{ confirmed: 20_000 }])
  await devnet.node.reorganize(3)
  t.match((await bob(['balance'])).rows, [{ confirmed: 0, unconfirmed: 20_000 }])
  await devnet.node.mine(1)
  t.match((await bob(['balance'])).rows, [{ confirmed: 20_000, unconfirmed: 0 }])
  t.match((await alice(['history'])).rows, [
    { txid, satoshis: -20_000 - fee, network: 'devnet' },
    { satoshis: 50_000, network: 'devnet' },
  ])
  t.equal((await alice(['history', '--limit', '1'])).rows.length, 1)

  const shown = await alice(['balance'], { tty: true })
  t.match(shown.stdout, new RegExp(`^${left} satoshi on devnet \\(worth nothing\\)\n`))
  t.match((await bob(['address'], { tty: true })).stderr, /devnet only \(worth nothing\)/)
})

t.test('on a terminal it asks before it pays, and says what was paid', async (t) => {
  const { devnet, alice, bob } = await setUp(t)
  await alice(['faucet', '50000'])
  await devnet.node.mine(1)
  const { address } = (await bob(['address'])).rows[0]
  const send = ['send', address, '1000']

  const no = await alice(send, { tty: true, stdin: 'n\n' })
  t.match(no, {
    code: exit.failed,
    stdout: '',
    stderr: /send 1000 satoshi on devnet \(worth nothing\) to .*not sent/s,
  })
  t.match(await alice(send, { tty: true, stdin: '' }), { code: exit.failed, stdout: '' }, 'silence is no')
  const yes = await alice(send, { tty: true, stdin: 'y\n' })
  t.match(yes, {
    code: exit.ok,
    stdout: /^sent 1000 satoshi on devnet \(worth nothing\) to .*, fee \d+ satoshi, \d+ satoshi left\n/,
  })
  const unasked = await alice([...send, '--yes'], { tty: true })
  t.match(unasked, { code: exit.ok })
  t.notMatch(unasked.stderr, /\[y\/N\]/)
})

t.test('what cannot be done is said, with what is missing', async (t) => {
  const { devnet, home, run, alice } = await setUp(t)
  const own = (await alice(['address'])).rows[0].address

  const poor = await alice(['send', own, '1000'])
  t.match(poor, { code: exit.payment, stderr: /satoshi are missing of/ })
  const foreign = await alice(['send', '1BitcoinEaterAddressDontSendf59kuE', '1000'])
  t.match(foreign, { code: exit.failed, stderr: /ERR_CONFLICT/ })
  t.match(foreign.stderr, /not of the network devnet/)
  t.match(await alice(['send', `${own}x`, '1000']), { code: exit.failed, stderr: /ERR_MALFORMED/ })
  for (const [amount, words] of [
    ['0', /SATOSHI takes a whole number of satoshi above 0/],
    ['1.5', /SATOSHI takes a whole number of satoshi above 0/],
    ['2100000000000001', /SATOSHI is more than all coins there are/],
    ['-500', /-500 is not a whole number above 0/],
  ] as const) {
    const wrong = await alice(['send', own, amount])
    t.match(wrong, { code: exit.usage, stderr: words }, amount)
    t.notMatch(wrong.stderr, /--SATOSHI/)
  }
  t.match((await alice(['sned'])).stderr, /there is no wallet command sned: balance, address, send, /)
  t.match((await alice(['recover', '--key-only'])).stderr, /--key-only needs --birthday HEIGHT or DATE/)
  for (const future of ['9999999', '2999-01-01'])
    t.match(await alice(['recover', '--birthday', future]), {
      code: exit.usage,
      stderr: /--birthday is in the future/,
    })
  for (const args of [
    [],
    ['fly'],
    ['send', own],
    ['send', own, '1.5'],
    ['balance', '--yes'],
    ['recover', '--birthday', 'May'],
  ])
    t.equal((await alice(args)).code, exit.usage, args.join(' '))
  t.equal((await alice(['balance'], { env: { RELAY_CHAIN: 'bitcoin' } })).code, exit.failed)

  const client = await Client.open(home('alice'))
  const held = client.wallet()
  await held.balance()
  const asked = await alice(['send', own, '5'], { tty: true, stdin: 'n\n' })
  t.match(asked.stderr, /\[y\/N\].*not sent/s, 'who is asked keeps the coins from nobody, nor waits for them')
  const second = (await Client.open(home('alice'))).wallet({ waitMs: 50 })
  await t.rejects(second.balance(), { code: 'ERR_BUSY', message: /in use by another process/ })
  await second.close()
  await held.close()

  await run('main')(['init', '--label', 'Main'])
  const away = ['--chain', 'node:http://127.0.0.1:1', '--network', 'main']
  const faucet = await run('main')(['wallet', 'faucet', ...away])
  t.match(faucet, { code: exit.failed, stderr: /only a devnet gives coins away, and this is main/ })
  const wrong = await alice(['balance', '--chain', `node:${devnet.url}`, '--network', 'regtest'])
  t.match(wrong, { code: exit.failed, stderr: /is on devnet, not on regtest/ })
})

t.test('an option that was refused is not remembered', async (t) => {
  const { devnet, home, run, alice } = await setUp(t)
  const plain = run('alice')
  const remembered = () => JSON.parse(readFileSync(join(home('alice'), 'chain.json'), 'utf8'))
  t.match(await plain(['wallet', 'balance', '--chain', 'arc:http://127.0.0.1:1']), { code: exit.failed })
  t.match(await plain(['wallet', 'balance', '--chain', 'devnet:http://127.0.0.1:1']), { code: exit.ok })
  const missing = home('none/x.bak')
  const refused = await alice(['balance', '--backup', missing])
  t.match(refused, { code: exit.usage, stderr: /cannot be written to .*there is no such folder/ })
  t.notMatch(refused.stderr, /ERR_INTERNAL/)
  t.notOk(existsSync(join(home('alice'), 'chain.json')))

  t.match(await alice(['balance']), { code: exit.ok })
  const chain = `devnet:${devnet.url}`
  t.same(remembered(), { chain })
  for (const wrong of [
    ['--chain', `node:${devnet.url}`, '--network', 'regtest'],
    ['--chain', 'arc:http://127.0.0.1:1'],
    ['--backup', missing],
  ])
    t.not((await plain(['wallet', 'balance', ...wrong])).code, exit.ok)
  t.same(remembered(), { chain })
  t.match(await plain(['wallet', 'balance']), { code: exit.ok })

  const folder = join(home('alice'), 'safe')
  mkdirSync(folder)
  await plain(['wallet', 'balance', '--backup', join(folder, 'a.bak')])
  t.same(remembered(), { chain, backup: join(folder, 'a.bak') })
  rmSync(folder, { recursive: true })
  const gone = await plain(['wallet', 'balance'])
  t.match(gone, { code: exit.usage, stderr: /to keep none, remove .*chain\.json and name the --chain again/ })
  rmSync(join(home('alice'), 'chain.json'))
  t.match(await alice(['balance']), { code: exit.ok })
})

t.test('a chain that was never heard: nothing is known, and how to start one is said', async (t) => {
  const { run } = await setUp(t)
  const env = { RELAY_CHAIN: 'devnet:http://127.0.0.1:1' }
  const balance = (tty: boolean) => run('alice')(['wallet', 'balance'], { env, tty })
  t.match((await balance(false)).rows, [{ satoshis: 0, height: null, tip: null, isCurrent: false }])
  t.match(
    (await balance(true)).stdout,
    /nothing is known yet: .*start one with relayd devnet, or relayd start/,
  )
})

t.test('a chain that does not answer: what is known is told, what needs it is exit code 3', async (t) => {
  const { devnet, alice } = await setUp(t)
  await alice(['faucet', '9000'])
  await devnet.node.mine(1)
  const { address } = (await alice(['address'])).rows[0]
  const { height } = (await alice(['balance'])).rows[0]
  // The port of another relay is no chain: nobody listens on the first one.
  const env = { RELAY_CHAIN: 'devnet:http://127.0.0.1:1' }

  const balance = await alice(['balance'], { env })
  t.match(balance, {
    code: exit.ok,
    rows: [{ satoshis: 9000, height, tip: null, isCurrent: false, unavailable: String }],
  })
  const shown = await alice(['balance'], { env, tty: true })
  t.match(shown.stdout, new RegExp(`as of block ${height}: `))
  t.match(await alice(['history'], { env }), { code: exit.ok, rows: [{ satoshis: 9000 }] })
  t.match(await alice(['send', address, '1000'], { env }), {
    code: exit.unreachable,
    stderr: /ERR_CHAIN_UNAVAILABLE/,
  })
  t.match(await alice(['faucet'], { env }), { code: exit.unreachable })
  t.match(await alice(['recover', '--birthday', '0'], { env }), { code: exit.unreachable })
})

t.test(
  'a lost folder comes back from the relay, also when somebody looked at the balance first',
  async (t) => {
    const { devnet, home, run, bob, loseAllBut } = await setUp(t)
    await bob(['faucet', '7000'])
    await bob(['faucet', '500'])
    await devnet.node.mine(1)
    const { rows } = await run('bob')(['outbox'])
    t.same(rows, [], 'the outbox shows what people sent')
    const placed = readdirSync(join(home('bob'), 'outbox')).filter((name) => name.endsWith('.receipt'))
    const gone = readdirSync(join(home('bob'), 'outbox')).filter((name) => name.endsWith('.gone'))
    t.equal(placed.length - gone.length, 1, 'the former one is deleted when the new one is accepted')

    loseAllBut('bob')
    const looked = await bob(['balance'])
    t.match(looked.rows, [{ satoshis: 7500 }], 'the newest blocks are read anyway')
    t.match(looked.stderr, /has an earlier one.*relay wallet recover/, 'and no poorer backup takes its place')
    const back = await bob(['recover'], { tty: true })
    t.match(back, {
      code: exit.ok,
      stdout:
        /^2 coins, 7500 satoshi on devnet \(worth nothing\), from the backup on http.*; (?:no further blocks|blocks (\d+) to )/,
    })
    t.match((await bob(['balance'])).rows, [{ confirmed: 7500 }])
    const { address } = (await bob(['address'])).rows[0]
    await bob(['send', address, '1000'])
    t.match(
      await bob(['recover']),
      { code: exit.usage, stderr: /in use and have all .*nothing to recover/ },
      'where a payment was made there is nothing to be merged',
    )
    await bob(['backup', home('bob.copy')])
    t.match(await bob(['recover', '--backup', home('bob.copy')]), {
      code: exit.failed,
      stderr: /move the folder .*wallet away first/,
    })

    loseAllBut('bob')
    const key = await bob(['recover', '--key-only', '--birthday', '0'])
    t.match(key.rows, [{ source: 'key', notFound: [String] }])
    t.equal((await bob(['history'])).rows.length, 3)
  },
)

t.test('a relay that does not answer may have the backup: nothing is begun without it unasked', async (t) => {
  const { devnet, bob, closeRelay, loseAllBut } = await setUp(t)
  await bob(['faucet', '7000'])
  await devnet.node.mine(1)
  loseAllBut('bob')
  await closeRelay()

  t.match(await bob(['recover', '--birthday', '0']), { code: exit.unreachable, stderr: /--key-only/ })
  const key = await bob(['recover', '--birthday', '2026-01-01', '--key-only'])
  t.match(key, {
    code: exit.ok,
    rows: [{ satoshis: 7000 }],
    stderr: /the backup of your coins is not on all your relays/,
  })
})

t.test('a file is kept as new as the coins, and brings them back', async (t) => {
  const { devnet, home, bob, closeRelay, loseAllBut } = await setUp(t)
  const file = home('bob.walletbackup')
  await bob(['faucet', '7000', '--backup', file])
  const first = readFileSync(file)
  await bob(['faucet', '800'])
  await devnet.node.mine(1)
  t.notSame(readFileSync(file), first, 'once said it is remembered')
  const copy = home('copy')
  t.match(await bob(['backup', copy]), { code: exit.ok, rows: [{ file: copy }] })
  writeFileSync(home('note'), 'mine')
  t.match(await bob(['backup', home('note')]), { code: exit.failed, stderr: /is not replaced/ })
  await closeRelay()

  for (const from of [file, copy]) {
    loseAllBut('bob')
    const back = await bob(['recover', '--backup', from])
    t.match(back, { code: exit.ok, rows: [{ satoshis: 7800, source: from, notFound: [] }] })
  }
  loseAllBut('bob', ['key.json', 'me.relayid', 'chain.json'])
  t.match(await bob(['recover', '--backup', home('none')]), { code: 5 })
})

t.test('what no record can hold is not placed, and that is said', async (t) => {
  const { bob } = await setUp(t, ['--open', '--limit', 'recordBytes=1024'])

  const given = await bob(['faucet', '7000'])

  t.match(given, {
    code: exit.ok,
    rows: [{ satoshis: 7000 }],
    stderr: /takes 1024 in a record: keep one with --backup/,
  })
})
