/** Money into a relay and back: what is asked before it is spent, and what becomes of it when answers are lost. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import { Client } from '../../client/index.ts'
import type { Withdrawal } from '../../contracts/payment.ts'
import { MarketError } from '../../market/errors.ts'
import { openDevnet } from '../fixtures/chain.ts'
import { startTill } from '../fixtures/lying-till.ts'
import { relayCommand, spawnCommand } from '../fixtures/people.ts'
import { keysOf } from '../fixtures/wallet.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3, refused: 4, notFound: 5, payment: 6 }

/** Alice with 50 000 satoshi, and a relay that takes deposits. */
async function setUp(t: Test, proves = keysOf('the relay with a till')) {
  t.testdir()
  const devnet = await openDevnet(t)
  const till = await startTill(t, devnet, proves)
  const home = join(t.testdirName, 'alice')
  const env = { RELAY_CHAIN: `devnet:${devnet.url}` }
  const alice = (args: string[], options: Parameters<typeof relayCommand>[2] = {}) =>
    relayCommand(home, args, { env, ...options })
  await alice(['init', '--label', 'Alice'])
  await alice(['wallet', 'faucet', '50000'])
  await devnet.node.mine(1)
  const coins = async () => (await alice(['wallet', 'balance'])).rows[0].satoshis
  const kept = () => readdirSync(join(home, 'payments'))
  return { devnet, till, home, alice, coins, kept }
}

t.test('a deposit: what it will be is asked, what it was is told', async (t) => {
  const { devnet, till, alice, coins, kept } = await setUp(t)

  const no = await alice(['deposit', till.address, '5000'], { tty: true, stdin: 'n\n' })
  t.match(no, { code: exit.failed, stdout: '' })
  t.match(
    no.stderr,
    /pay 5000 satoshi on devnet \(worth nothing\), and the fee.*your credit is 0 satoshi\? \[y\/N\].*not paid/s,
  )
  t.equal(await coins(), 50_000)

  const yes = await alice(['deposit', till.address, '5000'], { tty: true, stdin: 'y\n' })
  t.equal(yes.code, exit.ok)
  t.match(yes.stdout, /^paid 5000 satoshi on devnet \(worth nothing\) to http.*, fee \d+ satoshi\n/)
  t.match(yes.stdout, /credit there: 0 before, 5000 satoshi now\ntransaction [0-9a-f]{64}\n$/)

  const piped = await alice(['deposit', till.address, '700'])
  t.match(piped, {
    code: exit.ok,
    rows: [
      { satoshis: 700, before: '5000', available: '5700', pending: '0', isRepeat: false, network: 'devnet' },
    ],
  })
  t.same([...till.taken.values()], [5000, 700])
  await devnet.node.mine(1)
  const fees = 50_000 - 5700 - (await coins())
  t.ok(fees > 0 && fees < 500, 'nothing else left the wallet')
  t.same(kept(), [])
})

t.test('interrupted at the question: nothing was paid, and that is what is said', async (t) => {
  const { till, alice, coins, kept } = await setUp(t)
  const interrupt = new AbortController()
  const stdin = new PassThrough()
  const asked = alice(['deposit', till.address, '5000'], {
    tty: true,
    input: stdin,
    signal: interrupt.signal,
    onOutput: (text) => text.includes('[y/N]') && interrupt.abort(),
  })
  t.match(await asked, { code: exit.failed, stdout: '', stderr: /relay: interrupted: nothing was paid/ })
  t.equal(till.seen.length, 0)
  t.equal(await coins(), 50_000)
  t.same(kept(), [])
})

t.test('while one is asked, another pays', async (t) => {
  const { till, alice } = await setUp(t)
  const stdin = new PassThrough()
  let second: ReturnType<typeof alice> | undefined
  const first = await alice(['deposit', till.address, '5000'], {
    tty: true,
    input: stdin,
    onOutput: (text) => {
      if (!text.includes('[y/N]') || second !== undefined) return
      second = alice(['deposit', till.address, '700'])
      void second.then(() => stdin.end('y\n'))
    },
  })
  t.match(await second, { code: exit.ok, rows: [{ satoshis: 700 }] })
  t.match(first, { code: exit.ok, stdout: /^paid 5000 satoshi/ })
  t.same([...till.taken.values()], [700, 5000])
})

t.test('what is no relay of ours is named in a sentence', async (t) => {
  const { till, home, alice } = await setUp(t)
  const none = await alice(['deposit', '5000'])
  t.match(none, { code: exit.notFound, stderr: /5000 is no relay of yours; you have none yet: add one/ })
  await relayCommand(home, ['relays', 'add', till.address])
  const bob = await alice(['audit', 'Bob'])
  t.match(bob, { code: exit.notFound, stderr: `Bob is no relay of yours; your relays: ${till.url}"` })
})

t.test('a relay that asks for something else is refused by name, and nothing is spent', async (t) => {
  const { till, alice, coins, kept } = await setUp(t)

  till.lies.price = 5001
  const dear = await alice(['deposit', till.address, '5000'])
  t.match(dear, {
    code: exit.payment,
    stderr: /http:.* asks for 5001 satoshi instead of 5000: nothing was paid/,
  })
  till.lies.price = 4999
  t.match(await alice(['deposit', till.address, '5000']), { code: exit.payment, stderr: /ERR_COST/ })
  delete till.lies.price
  const bound = await alice(['deposit', till.address, '5000', '--max-cost', '4000'])
  t.match(bound, { code: exit.payment, stderr: /costs 5000 satoshi, more than the 4000 allowed/ })
  const fee = await alice(['deposit', till.address, '5000', '--max-cost', '5001'])
  t.match(
    fee,
    { code: exit.payment, stderr: /costs 50\d\d satoshi, more than the 5001 allowed/ },
    'the fee counts',
  )
  t.match(await alice(['deposit', till.address, '60000']), {
    code: exit.payment,
    stderr: /satoshi are missing/,
  })
  till.lies.network = null
  t.match(await alice(['deposit', till.address, '500']), {
    code: exit.failed,
    stderr: /takes no payments: it has no wallet/,
  })
  till.lies.network = 'main'
  t.match(await alice(['deposit', till.address, '500']), {
    code: exit.usage,
    stderr: /is paid on main, and these coins are on devnet/,
  })
  delete till.lies.network
  t.match(await alice(['deposit', till.address]), {
    code: exit.usage,
    stdout: '',
    stderr: /no payment waits.*name the SATOSHI/,
  })
  t.match(await alice(['deposit', till.address, '0']), { code: exit.usage })
  t.match(await alice(['deposit', till.address, '5', '--cancel']), { code: exit.usage })
  t.match(await alice(['deposit', till.address, '--cancel']), { code: exit.notFound })

  t.equal(till.seen.length, 0, 'the relay never saw a payment')
  t.equal(await coins(), 50_000)
  t.same(kept(), [])
})

t.test('who proves another key than that of the address is never paid', async (t) => {
  const { till, alice, coins } = await setUp(t, keysOf('somebody in between'))

  const run = await alice(['deposit', till.address, '5000'])

  t.match(run, { code: exit.failed, stderr: /ERR_UNTRUSTED/ })
  t.match(run.stderr, /is another relay: it proves another key/)
  t.equal(till.seen.length, 0)
  t.equal(await coins(), 50_000)
})

t.test('a lost answer: the same payment is presented again, and no other', async (t) => {
  const { till, alice, kept } = await setUp(t)
  till.lies.isLost = true

  const lost = await alice(['deposit', till.address, '5000'])
  t.match(lost, {
    code: exit.unreachable,
    stderr: /the payment [0-9a-f]{64} of 5000 satoshi is kept: relay deposit http/,
  })
  t.equal(kept().length, 1)
  const again = await alice(['deposit', till.address, '5000'])
  t.match(again, { code: exit.unreachable })
  delete till.lies.isLost
  const found = await alice(['deposit', till.address, '9000'])
  t.match(found, { code: exit.failed, rows: [{ satoshis: 5000, isRepeat: true, available: '5000' }] })
  t.match(found.stderr, /this was an earlier payment.*the same command again pays 9000/)
  t.equal(new Set(till.seen).size, 1)
  t.same(kept(), [])
  t.match(await alice(['deposit', till.address, '9000']), { rows: [{ satoshis: 9000, available: '14000' }] })

  till.lies.isLost = true
  await alice(['deposit', till.address, '100'])
  delete till.lies.isLost
  const account = await alice(['account', till.address])
  t.match(account.stderr, /your payment of 100 satoshi on devnet \(worth nothing\) is confirmed by http/)
  t.match(account.rows, [{ purse: 'credit', available: '14100' }])
})

t.test('a greedy relay, and one that does not sign: the payment is kept, and not made twice', async (t) => {
  const { devnet, till, alice, coins, kept } = await setUp(t)
  till.lies.before = () => {
    throw new MarketError('ERR_BUSY', 'later', { extras: { broadcast: false } })
  }
  const busy = await alice(['deposit', till.address, '5000'])
  t.match(busy, {
    code: exit.refused,
    stderr: /refuses: later; the relay did not send it, and the payment/,
  })
  delete till.lies.before
  till.lies.isGreedy = true
  const greedy = await alice(['deposit', till.address])
  t.match(greedy, { code: exit.failed, stderr: /was given a payment and asks for another; the payment/ })
  delete till.lies.isGreedy
  till.lies.isUnsigned = true
  t.not((await alice(['deposit', till.address])).code, exit.ok)
  delete till.lies.isUnsigned
  till.lies.isForgetful = true
  t.match(await alice(['deposit', till.address]), { code: exit.unreachable, stderr: /forgot who asks/ })
  delete till.lies.isForgetful
  till.lies.before = () => {
    throw new MarketError('ERR_INTERNAL', 'who knows')
  }
  t.match(
    (await alice(['deposit', till.address])).stderr,
    /refuses: who knows; the payment [0-9a-f]{64} of 5000/,
  )
  delete till.lies.before
  till.lies.isChanged = true
  const changed = await alice(['deposit', till.address])
  t.match(changed, { code: exit.failed, stderr: /gives an answer that it did not sign; the payment/ })
  t.equal(kept().length, 1)
  t.equal(new Set(till.seen).size, 1)

  const taken = await alice(['deposit', till.address, '--cancel'])
  t.match(taken, { code: exit.failed, stderr: /ERR_CONFLICT/ }, 'the unsigned answer had taken it')
  delete till.lies.isChanged
  t.match(await alice(['deposit', till.address]), {
    code: exit.ok,
    rows: [{ satoshis: 5000, isRepeat: true }],
  })
  await devnet.node.mine(1)
  t.ok((await coins()) > 44_000)
})

t.test('what is refused and was not sent comes back into the wallet', async (t) => {
  const { till, alice, coins, kept } = await setUp(t)
  till.lies.before = () => {
    throw new MarketError('ERR_MALFORMED_PAYMENT', 'not like this', { extras: { broadcast: false } })
  }
  const refused = await alice(['deposit', till.address, '5000'])
  t.match(refused, {
    code: exit.refused,
    stderr: /not like this; the payment .* was not sent, and its coins are yours again/,
  })
  t.equal(await coins(), 50_000)
  t.same(kept(), [])

  till.lies.before = () => {
    throw new MarketError('ERR_INTERNAL', 'broken', { extras: { broadcast: false } })
  }
  await alice(['deposit', till.address, '5000'])
  t.equal(kept().length, 1)
  t.match(await alice(['deposit', till.address, '--cancel']), { code: exit.ok, rows: [{ satoshis: 5000 }] })
  t.equal(await coins(), 50_000)
  t.same(kept(), [])
})

t.test('what the relay sent, and took for something else, is credit already', async (t) => {
  const { devnet, till, alice, coins, kept } = await setUp(t)
  till.lies.before = () => {
    throw new MarketError('ERR_PAYMENT_REPLAYED', 'taken', { extras: { broadcast: true } })
  }
  const run = await alice(['deposit', till.address, '5000'])
  t.match(run, {
    code: exit.refused,
    stderr: /taken: the payment [0-9a-f]{64} is in your credit there already/,
  })
  t.same(kept(), [])
  await devnet.node.mine(1)
  t.ok((await coins()) < 45_000, 'the wallet has sent it too')
})

t.test(
  'what the relay took for something else and did not send is kept, and can be taken back',
  async (t) => {
    const { till, alice, coins, kept } = await setUp(t)
    const extras: readonly Record<string, unknown>[] = [{ broadcast: false }, {}]
    for (const one of extras) {
      till.lies.before = () => {
        throw new MarketError('ERR_PAYMENT_REPLAYED', 'taken', { extras: one })
      }
      const run = await alice(['deposit', till.address, '5000'])
      t.match(run, {
        code: exit.refused,
        stderr: /taken; .*the payment [0-9a-f]{64} of 5000 satoshi is kept: .* --cancel/,
      })
      t.equal(kept().length, 1)
      t.equal((await alice(['deposit', till.address, '--cancel'])).code, exit.ok)
      t.equal(await coins(), 50_000)
      t.equal((await alice(['wallet', 'balance'])).rows[0].reserved, 0)
      t.same(kept(), [])
    }
  },
)

t.test('on disk before anybody sees it; what a crash left unsigned is dropped', async (t) => {
  const { till, home, alice, coins, kept } = await setUp(t)
  const file = join(home, 'payments', `deposit-${till.key}.json`)
  let found: any
  till.lies.before = () => {
    found = JSON.parse(readFileSync(file, 'utf8'))
    throw new MarketError('ERR_BUSY', 'later', { extras: { broadcast: false } })
  }
  await alice(['deposit', till.address, '5000'])
  t.match(found, { relay: till.address, satoshis: 5000, signed: { txid: till.seen[0]! } })

  const { signed: _, ...draft } = found
  writeFileSync(file, JSON.stringify(draft))
  delete till.lies.before
  t.match(await alice(['deposit', till.address, '600']), { rows: [{ satoshis: 600, isRepeat: false }] })
  t.equal(new Set(till.seen).size, 2)
  t.same(kept(), [])
  t.ok((await coins()) > 49_000, 'the coins of the payment that nobody saw are free')
})

t.test('a withdrawal comes into the wallet, once, however often it is asked for', async (t) => {
  const { till, home, alice, coins, kept } = await setUp(t)
  await alice(['deposit', till.address, '20000'])
  const before = await coins()

  till.lies.isPaidSilently = true
  const lost = await alice(['withdraw', till.address, '3000'])
  t.match(lost, { code: exit.unreachable, stderr: /the same command asks again for the same withdrawal/ })
  t.equal(kept().length, 1)
  delete till.lies.isPaidSilently
  const got = await alice(['withdraw', till.address, '3000'], { tty: true })
  t.match(got, {
    code: exit.ok,
    stdout: /^got 2980 satoshi on devnet \(worth nothing\) from http.*: 3000 satoshi of your credit, fee 20/,
  })
  t.equal(till.paid.size, 1)
  t.equal(await coins(), before + 2980)
  t.same(kept(), [])

  till.lies.isPaidSilently = true
  await alice(['withdraw', till.address, '2000'])
  const file = join(home, 'payments', `withdrawal-${till.key}.json`)
  const { request } = JSON.parse(readFileSync(file, 'utf8'))
  const client = await Client.open(home)
  t.match(request, client.identity)
  // Two minutes later the relay has forgotten the request: it is asked by the name of the withdrawal.
  const now = Date.now
  t.teardown(() => {
    Date.now = now
  })
  Date.now = () => now() + 300_000
  const late = await alice(['withdraw', till.address])
  Date.now = now
  t.match(late, { code: exit.ok, rows: [{ satoshis: '2000', isRepeat: true }] })
  t.equal(till.paid.size, 2)
  t.equal(await coins(), before + 2980 + 1980)
})

t.test('an answer that is not about this withdrawal is not believed, and asked for again', async (t) => {
  const { till, alice, coins, kept } = await setUp(t)
  await alice(['deposit', till.address, '20000'])
  await alice(['withdraw', till.address, '100'])
  await alice(['withdraw', till.address, '3000'])
  const before = await coins()
  const [small, same] = [...till.paid.values()]
  const lies: readonly [RegExp, (paid: Withdrawal) => Withdrawal][] = [
    [/answers with another withdrawal than was asked for/, () => small!],
    [/answers with another withdrawal than was asked for/, () => same!],
    [/another withdrawal/, (paid) => ({ ...paid, derivationSuffix: 'c3VmZml4' })],
    [/takes 2920 satoshi for the fee of the network, which is at most 226/, namedAs(small!, '2920')],
    [/pays something else than it says/, namedAs(small!, '20')],
    [/does not pay to its key/, namedAs(same!, '20')],
    [/ERR_MALFORMED/, (paid) => ({ ...paid, tx: 'AAAA' })],
  ]
  for (const [words, lie] of lies) {
    till.lies.paidBack = lie
    const run = await alice(['withdraw', till.address, '3000'])
    t.match(run, { stderr: /the same command asks again for the same withdrawal/ })
    t.match(run.stderr, words)
    t.not(run.code, exit.ok)
    t.equal(kept().length, 1, 'the request is kept')
    t.equal(await coins(), before)
  }

  delete till.lies.paidBack
  const honest = await alice(['withdraw', till.address, '3000'])
  t.match(honest, { code: exit.ok, rows: [{ satoshis: '3000', fee: '20', isRepeat: true }] })
  t.equal(till.paid.size, 3)
  t.equal(await coins(), before + 2980)
  t.same(kept(), [])
})

t.test('an answer waits on disk for the chain, and is asked for anew after a reorganisation', async (t) => {
  const { devnet, till, alice, coins, kept } = await setUp(t)
  await alice(['deposit', till.address, '20000'])
  const before = await coins()
  const away = { env: { RELAY_CHAIN: 'devnet:http://127.0.0.1:1' } }

  t.not((await alice(['withdraw', till.address, '3000'], away)).code, exit.ok)
  till.lies.network = null
  const late = await alice(['withdraw', till.address])
  t.match(late, { code: exit.ok, rows: [{ satoshis: '3000', isRepeat: true }] }, 'without the relay')
  delete till.lies.network
  t.equal(await coins(), before + 2980)

  t.not((await alice(['withdraw', till.address, '2000'], away)).code, exit.ok)
  await devnet.node.reorganize(1)
  await devnet.node.mine(1)
  const stale = await alice(['withdraw', till.address])
  t.match(stale, { code: exit.failed, stderr: /is not in the block of height .*ERR_TRANSACTION_REFUSED/ })
  t.equal(kept().length, 1)
  till.lies.paidBack = (paid) => ({ ...paid, tx: anew })
  const anew = await till.proven([...till.paid.values()][1]!.txid)
  t.match(await alice(['withdraw', till.address]), { code: exit.ok, rows: [{ satoshis: '2000' }] })
  t.equal(till.paid.size, 2)
  t.equal(await coins(), before + 2980 + 1980)
})

/** An earlier payment under the names of the one that was asked for. */
const namedAs =
  ({ txid, tx }: Withdrawal, fee: string) =>
  (paid: Withdrawal): Withdrawal => ({ ...paid, txid, tx, fee })

t.test('killed while the relay has the payment before it: the next command presents the same', async (t) => {
  const { till, home, alice, kept } = await setUp(t)
  const command = spawnCommand(home, ['deposit', till.address, '5000'])
  till.lies.before = () => {
    command.child.kill('SIGKILL')
    throw new MarketError('ERR_BUSY', 'nobody is there')
  }
  await command.ended
  t.equal(kept().length, 1)
  delete till.lies.before

  t.match(await alice(['deposit', till.address, '5000']), { code: exit.ok, rows: [{ isRepeat: true }] })
  t.equal(till.seen.length, 2)
  t.equal(new Set(till.seen).size, 1)
})

t.test('as calls of the library: two at once are two deposits, and who is asked may say no', async (t) => {
  const { devnet, till, home } = await setUp(t)
  const client = await Client.open(home)
  const chain = `devnet:${devnet.url}`

  t.equal(await client.deposit(till.address, 900, { chain, agree: async () => false }), undefined)
  t.equal(await client.deposit(till.address, undefined, { chain }), undefined)
  const both = await Promise.all([100, 200].map((amount) => client.deposit(till.address, amount, { chain })))
  t.match(both, [{ satoshis: 100 }, { satoshis: 200 }])
  t.same([...till.taken.values()].sort(), [100, 200])
  await t.rejects(client.cancelDeposit(till.address, { chain }), { code: 'ERR_NOT_FOUND' })
  const back = await client.withdraw(till.address, { chain, satoshis: 250 })
  t.match(back, { satoshis: '250', fee: '20', network: 'devnet', isRepeat: false })
})
