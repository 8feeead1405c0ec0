/** What somebody meets who uses the command for the first time, and mistypes. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { main } from '../../client/terminal/cli.ts'
import { identityOf } from '../fixtures/keys.ts'
import { sealReply, startLyingRelay } from '../fixtures/lying-relay.ts'
import { relayCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3, refused: 4, notFound: 5, payment: 6 }

async function setUp(t: Test, args?: string[]) {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'), args && { args })
  t.teardown(() => relay.close())
  const at = (name: string) => (args: string[], options?: Parameters<typeof relayCommand>[2]) =>
    relayCommand(join(t.testdirName, name), args, options)
  const [alice, bob] = [at('alice'), at('bob')]
  await alice(['init', '--label', 'Alice', '--relay', `${relay.url}#${relay.key}`])
  await bob(['init', '--label', 'Bob', '--relay', relay.url])
  const file = join(t.testdirName, 'bob.relayid')
  await bob(['id', '--out', file])
  await alice(['friend', 'add', file])
  return { relay, alice, bob, at, file }
}

const outboxOf = (t: Test, name: string) => readdirSync(join(t.testdirName, name, 'outbox'))
const other = identityOf('another relay').identity

t.test(
  'a relay with another key is not added, and one that does not answer is said to be unchecked',
  async (t) => {
    const { alice } = await setUp(t)
    const second = await startTestRelay(join(t.testdirName, 'second'))
    t.teardown(() => second.close())

    const wrong = await alice(['relays', 'add', `${second.url}#${other}`])
    const away = await alice(['relays', 'add', `http://127.0.0.1:1#${other}`])
    const right = await alice(['relays', 'add', `${second.url}#${second.key}`])

    t.match(wrong, { code: exit.failed, stderr: /ERR_UNTRUSTED/ })
    t.match(wrong.stderr, `${second.url} is another relay: its key is ${second.key}, not ${other}`)
    t.match(away, { code: exit.ok, stderr: /nobody answers at .* not checked yet/ })
    t.match(right, { code: exit.ok })
    t.notMatch(right.stderr, /not checked/)
  },
)

t.test(
  'what waits for a relay that never was ours goes with it, and nothing is said of it again',
  async (t) => {
    const { alice, at } = await setUp(t)
    const away = `http://127.0.0.1:1#${other}`
    await alice(['relays', 'add', away])
    await alice(['send', 'Bob', '--text', 'hello'])
    const lone = at('lone')
    await lone(['init', '--label', 'Lone'])
    await lone(['friend', 'add', join(t.testdirName, 'bob.relayid')])
    await lone(['relays', 'add', away])
    await lone(['send', 'Bob', '--text', 'hello'])

    const removed = await alice(['relays', 'remove', away])
    const pulled = await alice(['pull'])
    const dropped = await lone(['relays', 'remove', away])
    const silent = await lone(['outbox', '--flush'])

    t.match([removed, pulled], [{ code: exit.ok }, { code: exit.ok }])
    t.notMatch(pulled.stderr, /127\.0\.0\.1:1\b|queued/)
    t.same(
      outboxOf(t, 'alice').filter((name) => name.endsWith('.queued')),
      [],
    )
    t.match(dropped, { code: exit.ok, stderr: /^\d queued for that relay alone: dropped/m })
    t.match(silent, { code: exit.ok, stdout: '', stderr: '' })
  },
)

t.test('a relay in whose place another has come is left for good too', async (t) => {
  const { alice, at } = await setUp(t)
  const lone = at('lone')
  const liar = await startLyingRelay(t, (question) => sealReply(question, {}), { key: other })
  await lone(['init', '--label', 'Lone', '--relay', `${liar.url}#${liar.key}`])
  await lone(['friend', 'add', join(t.testdirName, 'bob.relayid')])
  await lone(['send', 'Bob', '--text', 'hello'])

  const dropped = await lone(['relays', 'remove', liar.url])
  await alice(['relays', 'remove', (await alice(['relays', 'list'])).rows[0].url])
  const retired = readFileSync(join(t.testdirName, 'alice', 'retired.json'), 'utf8')

  t.match(dropped.stderr, /^\d queued for that relay alone: dropped/m)
  t.match(retired, 'http', 'a relay that is there is still told of what waits')
})

t.test('friends are renamed, also by an old file, to names fit to be typed', async (t) => {
  const { relay, alice, bob, file } = await setUp(t)
  const second = await startTestRelay(join(t.testdirName, 'second'))
  t.teardown(() => second.close())
  await bob(['friend', 'add', '-'], { stdin: (await alice(['id'])).stdout })
  await bob(['relays', 'add', second.url])
  await alice(['pull'])

  const old = await alice(['friend', 'add', file])
  const renamed = await alice(['friend', 'add', file, '--as', 'Bobby'], { tty: true })
  const again = await alice(['friend', 'rename', 'bobby', 'Robert'], { tty: true })
  const friends = await alice(['friend', 'list'])
  const missing = await alice(['friend', 'rename', 'Carol', 'C'])

  const { key } = friends.rows[0]
  t.match(old, { code: exit.failed, stderr: /older than the one held/ })
  t.match(renamed, { code: exit.ok, stdout: `${key} is called Bobby now; the file is older` })
  t.equal(again.stdout, `${key} is called Robert now\n`)
  t.match(friends.rows, [{ alias: 'Robert', relays: [String, `${second.url}#${second.key}`] }])
  t.match(friends.rows[0].relays[0], relay.url)
  t.equal(missing.code, exit.notFound)
  for (const name of ['../../evil', 'a/b', 'a\\b', '', '..', ' a', 'a\u0007', 'a\u202eb', 'x'.repeat(65)])
    t.match(
      await alice(['friend', 'add', file, '--as', name]),
      { code: exit.failed, stderr: /printable/ },
      name,
    )
  t.match(await alice(['friend', 'rename', 'Robert', '👩‍🚀 Åsa']), { code: exit.ok })
})

t.test('who is meant is told from the case they typed, or the names are shown', async (t) => {
  const { alice, at } = await setUp(t)

  const sent = await alice(['send', 'bob', '--text', 'x'])
  const unknown = await alice(['send', 'bop', '--text', 'x'])
  await at('two')(['init', '--label', 'BOB'])
  await alice(['friend', 'add', '-'], { stdin: (await at('two')(['id'])).stdout })
  const both = await alice(['send', 'bob', '--text', 'x'])

  t.match(sent, { code: exit.ok, rows: [{ to: 'Bob' }] })
  t.match(unknown, { code: exit.notFound, stderr: /there is no friend bop; you have Bob/ })
  t.match(both, { code: exit.failed, stderr: /bob is 2 friends/ })
})

t.test('mistyped commands get a sentence of ours', async (t) => {
  const { alice } = await setUp(t)
  const send = ['send', 'Bob', '--text', 'x']
  const table: [string[], number, RegExp][] = [
    [[...send, '--max-pulls', '-1'], exit.usage, /--max-pulls takes a whole number above 0"/],
    [[...send, '--max-cost', '-5'], exit.usage, /--max-cost takes a whole number of satoshi"/],
    [['send', 'Bob', '--txt', 'hi'], exit.usage, /there is no option --txt"/],
    [['send', 'Bob', '--text'], exit.usage, /--text needs a value"/],
    [['send', 'Bob', '--text', '--tag', 'x'], exit.usage, /--text needs a value"/],
    [['account', '--all=yes'], exit.usage, /--all takes no value"/],
    [[...send, '--ttl', '400d'], exit.refused, /at most 366 days/],
    [['relays', 'add', 'https://relay.example#02abc'], exit.failed, /too short: it has 5 characters/],
    [['relays', 'add', `http://127.0.0.1:1#${other}0`], exit.failed, /too long/],
    [['relays', 'add', `http://127.0.0.1:1#${'0'.repeat(66)}`], exit.failed, /begins with 02 or 03/],
    [['friend', 'add', 'package.json'], exit.failed, /not an identity file/],
  ]
  for (const [args, code, stderr] of table) t.match(await alice(args), { code, stderr }, args.join(' '))
  t.match(await alice(['send', 'Bob', '--text', '-5']), { code: exit.ok }, 'a number is a message too')
})

t.test('help of a command is asked for either way', async (t) => {
  const [send, general] = await Promise.all([
    relayCommand('/nowhere', ['help', 'send']),
    relayCommand('/nowhere', ['help']),
  ])

  t.match(send, { code: exit.ok, stdout: /^relay send FRIEND / })
  t.match(general, { code: exit.ok, stdout: /relay \[--home DIR\] COMMAND/ })
})

t.test('without friends there is nobody to pull from', async (t) => {
  const { bob } = await setUp(t)

  t.match(await bob(['pull'], { tty: true }), {
    code: exit.ok,
    stderr: 'you have no friends yet: relay friend add FILE\n',
  })
})

t.test('a relay that is not running is named once', async (t) => {
  const { relay, alice } = await setUp(t)
  await alice(['send', 'Bob', '--text', 'x'])
  await relay.close()
  await alice(['send', 'Bob', '--text', 'y'])

  for (const args of [['pull'], ['quote', '--text', 'x'], ['account'], ['outbox', '--flush']]) {
    const { code, stdout, stderr } = await alice(args, { tty: true })
    t.equal(code, exit.unreachable, args.join(' '))
    t.equal(stderr.split('cannot reach').length, 2, `${args[0]}: ${stderr}`)
    t.notMatch(stdout, /in total/)
  }
})

t.test('listening goes on, and says so', async (t) => {
  const { relay, alice } = await setUp(t)
  await relay.close()

  const { code, stderr } = await alice(['listen', '--for', '2s'], { tty: true })

  t.equal(code, exit.ok)
  t.match(stderr, /lost .*; trying again until it answers/)
  t.equal(stderr.split('lost').length, 2)
})

t.test('the outbox says which relay lacks a record, and why', async (t) => {
  const { relay, alice } = await setUp(t, ['--open'])
  const seller = await startTestRelay(join(t.testdirName, 'seller'), {
    args: ['--price', 'egressGB=10000000'],
  })
  t.teardown(() => seller.close())
  await alice(['relays', 'add', seller.url])
  await alice(['relays', 'add', `http://127.0.0.1:1#${other}`])
  await alice(['send', 'Bob', '--text', 'hello'])

  const { stdout } = await alice(['outbox'], { tty: true })

  t.match(stdout, /LACKS/)
  t.match(stdout, `waits for http://127.0.0.1:1; ${seller.url}: no credit`)
  t.notMatch(stdout, relay.url)
})

t.test('a progress bar ends before what is saved is told', async (t) => {
  const { alice, bob } = await setUp(t)
  const path = join(t.testdirName, 'photo.jpg')
  writeFileSync(path, 'x'.repeat(300_000))
  await bob(['friend', 'add', '-'], { stdin: (await alice(['id'])).stdout })
  await alice(['send', 'Bob', '--file', path])

  const screen = Object.assign(new PassThrough(), { isTTY: true })
  const env = { RELAY_HOME: join(t.testdirName, 'bob') }
  const { signal } = new AbortController()
  await main(['pull'], { env, stdin: Readable.from(['']), stdout: screen, stderr: screen, signal })

  t.match(String(screen.read()), /100 % of 300\.0 kB\nsaved /)
})
