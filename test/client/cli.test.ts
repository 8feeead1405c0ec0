/** The command as people and scripts meet it: results, talk, exit codes. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { commands } from '../../client/terminal/commands/index.ts'
import { Session } from '../../client/terminal/session.ts'
import { bytesText, jsonLine, manyLines, oneLine, table } from '../../client/terminal/show.ts'
import { compiled } from '../fixtures/compiled.ts'
import { identityOf } from '../fixtures/keys.ts'
import { sealReply, startLyingRelay } from '../fixtures/lying-relay.ts'
import { relayCommand } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3, refused: 4, notFound: 5, payment: 6 }

/** Alice and Bob, each other's friends, on one relay; `alice` and `bob` type commands. */
async function setUp(t: Test, args?: string[]) {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'), args && { args })
  t.teardown(() => relay.close())
  const at = (name: string) => (args: string[], options?: Parameters<typeof relayCommand>[2]) =>
    relayCommand(join(t.testdirName, name), args, options)
  const [alice, bob] = [at('alice'), at('bob')]
  const address = `${relay.url}#${relay.key}`
  await alice(['init', '--label', 'Alice', '--relay', address])
  await bob(['init', '--label', 'Bob', '--relay', relay.url])
  await bob(['friend', 'add', '-'], { stdin: (await alice(['id'])).stdout })
  await bob(['id', '--out', join(t.testdirName, 'bob.relayid')])
  await alice(['friend', 'add', join(t.testdirName, 'bob.relayid'), '--as', 'Bobby'])
  return { relay, address, alice, bob, at }
}

t.test('the first five minutes, piped: JSON lines on stdout, talk on stderr', async (t) => {
  const { address, relay, alice, bob } = await setUp(t)

  const sent = await alice([
    'send',
    'Bobby',
    '--text',
    'hello',
    '--tag',
    'greeting',
    '--ttl',
    '1h',
    '--max-pulls',
    '2',
  ])
  const piped = await alice(['send', 'Bob', '-'], { stdin: 'from\nstdin' })
  const pulled = await bob(['pull'])
  const inbox = await bob(['inbox', '--json'])
  await alice(['pull'])
  const outbox = await alice(['outbox', '--flush'])
  const removed = await alice(['delete', sent.rows[0].id])
  const ping = await alice(['ping'])
  const friends = await alice(['friend', 'list'])
  const relays = await bob(['relays', 'list'])

  t.match(sent, { code: exit.ok, rows: [{ state: 'delivered', to: 'Bobby', relays: [relay.key] }] })
  t.match(piped, { code: exit.ok })
  t.match(pulled.rows, [
    { event: 'message', friend: 'Alice', tag: 'greeting', payload: { type: 'text', text: 'hello' } },
    { payload: { text: 'from\nstdin' } },
  ])
  t.match(inbox.rows, pulled.rows)
  t.match(outbox.rows, [
    { state: 'acknowledged', friend: 'Bobby' },
    { state: 'acknowledged', relays: '1/1' },
  ])
  t.match(removed, { code: exit.ok, rows: [{ state: 'deleted' }] })
  t.match(ping, { code: exit.ok, rows: [{ relay: address, ms: Number }] })
  t.match(friends.rows, [{ alias: 'Bobby', label: 'Bob', relays: [address], forks: 0 }])
  t.match(relays.rows, [{ address }], 'an address without key was pinned')
  t.notMatch(sent.stderr, /plain http/, 'this machine is no network')
})

t.test('on a terminal: tables, sentences, a progress bar, and files with names', async (t) => {
  const { alice, bob, relay } = await setUp(t)
  const path = join(t.testdirName, 'photo.jpg')
  writeFileSync(path, 'x'.repeat(300_000))
  const tty = { tty: true }

  const sent = await alice(['send', 'Bobby', '--file', path], tty)
  await alice(['send', 'Bobby', '--text', 'two\nlines'], tty)
  const pulled = await bob(['pull'], tty)
  const inbox = await bob(['inbox', '--human'])
  const outbox = await alice(['outbox'], tty)
  const id = await alice(['id'], tty)
  const ping = await alice(['ping', relay.url], tty)
  const friends = await bob(['friend', 'list'], tty)
  const gone = await bob(['friend', 'remove', 'Alice'], tty)
  const none = await bob(['friend', 'list'], tty)

  t.match(sent.stdout, /^delivered [0-9a-f]{32} to Bobby\n$/)
  t.match(sent.stderr, /sending photo\.jpg \[#{24}\] 100 % of 300\.0 kB/)
  t.match(pulled.stdout, /Alice: sends the file photo\.jpg \(300\.0 kB\)/)
  t.match(pulled.stdout, /Alice: two\n {4}lines/)
  t.match(pulled.stdout, /saved .*files\/Alice\/photo\.jpg/)
  t.equal(readFileSync(join(t.testdirName, 'bob/files/Alice/photo.jpg')).length, 300_000)
  t.match(inbox.stdout, /^SENT +FROM +TAG +MESSAGE\n/)
  t.match(outbox.stdout, /^SENT +ID +FRIEND +TYPE +STATE +RELAYS +SUMMARY\n/)
  t.match(id.stdout, /^label {3}Alice\nkey {5}0[23]/)
  t.match(ping.stdout, /^RELAY +MS +ERROR\n/)
  t.match(friends.stdout, /Alice/)
  t.match(gone.stdout, /no longer your friend/)
  t.match(none, { stdout: '', stderr: 'no friends yet\n' })
})

t.test('what strangers write reaches no terminal raw, and no pipe either', async (t) => {
  const { alice, bob } = await setUp(t)
  const nasty = '\u001b[2J\u0007\u009b1m\u202egnp\u2028end'

  await alice(['send', 'Bobby', '--text', nasty])
  const shown = await bob(['pull'], { tty: true })
  const piped = await bob(['inbox'])

  t.notMatch(shown.stdout, /[^\P{Cc}\n]|[\p{Cf}\u2028]/u)
  t.notMatch(piped.stdout, /[^\P{Cc}\n]|[\p{Cf}\u2028]/u)
  t.match(shown.stdout, '\\u001b[2J')
  t.equal(piped.rows[0].payload.text, nasty, 'and nothing is lost')
})

t.test('exit 1: failed, with code and sentence as an object where results are objects', async (t) => {
  const { alice, bob } = await setUp(t)
  const file = join(t.testdirName, 'bob.relayid')
  writeFileSync(join(t.testdirName, 'forged.relayid'), readFileSync(file, 'utf8').replace('"Bob"', '"Rob"'))
  await bob(['relays', 'remove', (await bob(['relays', 'list'])).rows[0].key])
  await alice(['pull'])

  const twice = await alice(['init', '--label', 'Alice'])
  const forged = await alice(['friend', 'add', join(t.testdirName, 'forged.relayid')], { tty: true })
  const rollback = await alice(['friend', 'add', file])
  const noRelay = await bob(['send', 'Alice', '--text', 'x'])
  const locked = await alice(['id'], { env: { RELAY_PASSPHRASE: 'wrong' } })

  t.equal(twice.code, exit.failed)
  t.match(JSON.parse(twice.stderr), { code: 'ERR_CONFLICT', exit: 1, error: String })
  t.match(forged, { code: exit.failed, stderr: /^relay: .* \(ERR_BAD_SIGNATURE\)\n$/ })
  t.match(rollback, { code: exit.failed, stderr: /older/ })
  t.match(noRelay, { code: exit.failed, stderr: /no relay/ })
  t.match(locked, { code: exit.failed, stderr: /ERR_FORBIDDEN/ })
})

t.test('exit 2: usage', async (t) => {
  const { alice } = await setUp(t)
  const wrong = [
    [],
    ['fly'],
    ['send'],
    ['send', 'Bobby'],
    ['send', 'Bobby', '--text', 'a', '--file', 'b'],
    ['send', 'Bobby', 'loose'],
    ['send', 'Bobby', '--text', 'a', '--ttl', 'long'],
    ['send', 'Bobby', '--text', 'a', '--max-pulls', '0'],
    ['send', 'Bobby', '--text', 'a', '--max-cost=-1'],
    ['quote'],
    ['account', '--entries', '2', '--all'],
    ['pull', '--sideways'],
    ['friend', 'greet'],
    ['relays', 'add'],
    ['init'],
    ['listen', '--for', '5'],
    ['send', 'Bobby', '--text', ''],
    ['send', 'Bobby', '-'],
    ['id', '--home'],
    ['pull', '--proxy', 'http://127.0.0.1:1'],
    ['send', 'Bobby', '--text', 'a', '--relays', '9'],
  ]
  for (const args of wrong) {
    const { code, stderr, stdout } = await alice(args)
    t.match(
      { code, stdout, stderr },
      { code: exit.usage, stdout: '', stderr: /"code":"ERR_USAGE"/ },
      args.join(' '),
    )
  }
})

t.test('exit 3: no relay reached; but queued is a success that says so', async (t) => {
  const { alice, bob, relay } = await setUp(t)
  await relay.close()

  const other = await startTestRelay(join(t.testdirName, 'other'))
  t.teardown(() => other.close())
  const sent = await alice(['send', 'Bobby', '--text', 'later'])
  const outbox = await alice(['outbox'])
  const runs = await Promise.all([
    bob(['pull']),
    bob(['ping']),
    bob(['relays', 'add', 'http://127.0.0.1:1']),
    bob(['inbox', '--strangers']),
    alice(['outbox', '--flush']),
  ])

  await bob(['relays', 'add', other.url])
  const some = await bob(['ping'])

  t.match(some, { code: exit.unreachable, rows: [{ ms: null }, { ms: Number }] })
  t.match(runs[0]!.stderr, /your relay: cannot reach/)
  t.match(sent, { code: exit.ok, rows: [{ state: 'queued' }], stderr: /queued/ })
  t.match(outbox.rows, [{ state: 'queued', relays: '0/1' }])
  for (const run of runs) t.match(run, { code: exit.unreachable, stderr: /"code":"ERR_UNREACHABLE"/ })
})

t.test('exit 4: refused by a relay', async (t) => {
  const stranger = identityOf('somebody else').identity
  const { alice } = await setUp(t, ['--allow', stranger])

  const refused = await alice(['send', 'Bobby', '--text', 'hello'])

  t.match(refused, { code: exit.refused, stdout: '', stderr: /ERR_(NO_ACCOUNT|FORBIDDEN)/ })
})

t.test('exit 5: not found', async (t) => {
  const { alice, at } = await setUp(t)
  const runs = [
    ['send', 'Nobody', '--text', 'x'],
    ['delete', 'nothing'],
    ['friend', 'remove', 'Nobody'],
    ['relays', 'remove', 'http://x'],
    ['friend', 'add', '/no/such.relayid'],
    ['send', 'Bobby', '--file', '/no/such.bin'],
  ]

  for (const args of runs) t.match(await alice(args), { code: exit.notFound, stderr: /ERR_NOT_FOUND/ })
  t.match(await at('nobody')(['pull']), { code: exit.notFound, stderr: /relay init/ })
})

t.test('exit 6: payment needed', async (t) => {
  const { alice } = await setUp(t, ['--price', 'egressGB=10000000'])

  const refused = await alice(['send', 'Bobby', '--text', 'hello'], { tty: true })

  t.match(refused, { code: exit.payment, stdout: '', stderr: /What helps: .* \(ERR_PAYMENT_REQUIRED\)\n$/ })
  t.match((await alice(['--help'])).stdout, /6 payment needed/)
})

t.test('a relay that is not the pinned one is no relay of ours', async (t) => {
  const { alice } = await setUp(t)
  const liar = await startLyingRelay(t, (question) =>
    sealReply(question, { result: null }, { signer: identityOf('liar') }),
  )

  const ping = await alice(['ping', `${liar.url}#${liar.key}`])

  t.match(ping, { code: exit.failed, rows: [{ code: 'ERR_UNTRUSTED' }] })
})

t.test('one relay that is away does not hide what strangers left on another', async (t) => {
  const { bob, relay } = await setUp(t)
  await relayCommand(join(t.testdirName, 'carol'), ['init', '--label', 'Carol', '--relay', relay.url])
  const file = join(t.testdirName, 'bob.relayid')
  await relayCommand(join(t.testdirName, 'carol'), ['friend', 'add', file])
  await relayCommand(join(t.testdirName, 'carol'), ['send', 'Bob', '--text', 'psst'])
  const away = `http://127.0.0.1:1#${identityOf('away').identity}`
  await bob(['relays', 'add', away])

  const listed = await bob(['inbox', '--strangers'])

  t.match(listed, { code: exit.ok, rows: [{ bytes: Number }], stderr: /127\.0\.0\.1:1\b/ })
})

t.test('nothing is made where there is no identity, and an empty RELAY_HOME is none', async (t) => {
  const folder = t.testdir()
  const home = join(folder, 'nobody')

  const id = await relayCommand(home, ['id'])
  const label = await relayCommand(home, ['init', '--label', 'x'.repeat(65)])
  const version = await relayCommand('', ['version'])

  t.equal(id.code, exit.notFound)
  t.match(label, { code: exit.failed, stderr: /the label has 1 to 64 characters/ })
  t.same(readdirSync(folder), [])
  t.equal(
    new Session({ env: { RELAY_HOME: '' }, stdout: process.stdout } as never, {}).directory,
    join(homedir(), '.relay'),
  )
  t.match(version.stdout, /^\d+\.\d+\.\d+\n$/)
  t.match((await relayCommand('', ['-h'])).stdout, /messages and files/)
})

t.test('a file that cannot be sent, or that every relay refuses, leaves nothing behind', async (t) => {
  const { alice } = await setUp(t, ['--allow', identityOf('somebody else').identity])
  const path = join(t.testdirName, 'file.bin')
  writeFileSync(path, 'x'.repeat(300_000))

  const folder = await alice(['send', 'Bobby', '--file', t.testdirName])
  const refused = await alice(['send', 'Bobby', '--file', path])

  t.match(folder, { code: exit.failed, stderr: /ERR_MALFORMED/ })
  t.match(refused, { code: exit.refused, stderr: /ERR_NO_ACCOUNT/ })
  t.same((await alice(['outbox'])).rows, [])
})

t.test('with nothing to say, ping and pull say so', async (t) => {
  const { bob, relay } = await setUp(t)

  const pulled = await bob(['pull'], { tty: true })
  await bob(['relays', 'remove', relay.url])
  const ping = await bob(['ping'])

  t.match(pulled, { code: exit.ok, stderr: /^nothing new$/m })
  t.match(ping, { code: exit.ok, stderr: /no relays yet/ })
})

t.test('a damaged file is named, and everything else goes on', async (t) => {
  const { alice, bob } = await setUp(t)
  const ids = await Promise.all(['one', 'two'].map((text) => alice(['send', 'Bobby', '--text', text])))
  const outboxFolder = join(t.testdirName, 'alice/outbox')
  const record = readdirSync(outboxFolder).find(
    (name) => name.startsWith(ids[0]!.rows[0].id) && name.endsWith('.record'),
  )!
  writeFileSync(join(outboxFolder, record), 'x')
  writeFileSync(join(t.testdirName, 'bob/friends', `${identityOf('gone').identity}.json`), '{')

  const outbox = await alice(['outbox'])
  const friends = await bob(['friend', 'list'])
  const pulled = await bob(['pull'])

  t.match(outbox, { code: exit.ok, rows: [{ summary: 'two' }], stderr: /\.record is damaged/ })
  t.match(friends, { code: exit.ok, rows: [{ alias: 'Alice' }], stderr: /\.json is damaged/ })
  t.match(pulled, { code: exit.ok, rows: [{}, {}] })
})

t.test('an identity file is read up to its largest size only', async (t) => {
  const { bob } = await setUp(t)

  t.match(await bob(['friend', 'add', '/dev/zero']), { code: exit.failed, stderr: /ERR_TOO_LARGE/ })
})

t.test('strangers wait until they are asked for', async (t) => {
  const { alice, bob } = await setUp(t)
  await bob(['friend', 'remove', 'Alice'])
  await alice(['send', 'Bobby', '--text', 'psst', '--tag', 'hi'])

  const listed = await bob(['inbox', '--strangers'])
  const silent = await bob(['pull'])
  const pulled = await bob(['pull', '--strangers', '--no-files'])
  const shown = await bob(['inbox'], { tty: true })

  t.match(listed.rows, [{ tag: 'hi', bytes: Number }])
  t.same(silent.rows, [])
  t.match(pulled.rows, [{ friend: null, payload: { text: 'psst' } }])
  t.match(shown.stdout, /psst/)
})

t.test('relays are added, listed and removed; every change makes the next identity file', async (t) => {
  const { alice, bob, relay } = await setUp(t)
  const other = await startTestRelay(join(t.testdirName, 'other'))
  t.teardown(() => other.close())

  const added = await alice(['relays', 'add', other.url], { tty: true })
  const again = await alice(['relays', 'add', other.url])
  await alice(['relays', 'remove', relay.url])
  const pulled = await bob(['pull'])
  const friends = await bob(['friend', 'list'])

  t.match(added.stdout, `added ${other.url}#${other.key} (trusted on first use`)
  t.equal(again.code, exit.failed)
  t.match(pulled.rows, [{ payload: { type: 'identity' } }, { payload: { type: 'identity' } }])
  t.match(pulled.stderr, /is now on/)
  t.match(friends.rows, [{ relays: [`${other.url}#${other.key}`] }])
})

t.test('an encrypted key opens with its passphrase only', async (t) => {
  t.testdir()
  const home = join(t.testdirName, 'home')
  const env = { RELAY_PASSPHRASE: 'correct horse' }

  await relayCommand(home, ['init', '--label', 'A'], { env })

  t.equal((await relayCommand(home, ['id'], { env })).code, exit.ok)
  t.equal((await relayCommand(home, ['id'])).code, exit.failed)
})

t.test('listen stops after its time, when interrupted, and with nobody to listen to', async (t) => {
  const { bob } = await setUp(t)

  const timed = await bob(['listen', '--for', '1s'])
  const interrupted = await bob(['listen'], { signal: AbortSignal.abort() })

  t.equal(timed.code, exit.ok)
  t.match(timed.stderr, /live on/)
  t.equal(interrupted.code, exit.ok)
})

t.test('help and version, everywhere', async (t) => {
  const help = await relayCommand('/nowhere', ['--help'])
  t.equal(help.code, exit.ok)
  for (const { name } of commands) {
    t.match(help.stdout, `  ${name} `)
    t.match((await relayCommand('/nowhere', [name, '--help'])).stdout, `relay ${name}`)
  }
  t.match((await relayCommand('/nowhere', ['--version'])).stdout, /^\d+\.\d+\.\d+\n$/)
})

t.test('the program is the command, in a process of its own', (t) => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [compiled('client/main.ts'), '--home', join(t.testdir(), 'h'), ...args], {
      encoding: 'utf8',
    })

  const made = run('init', '--label', 'Process')
  const wrong = run('fly')

  t.match(JSON.parse(made.stdout), { label: 'Process', key: /^0[23]/ })
  t.equal(made.status, exit.ok)
  t.match(wrong, { status: exit.usage, stdout: '' })
  t.end()
})

t.test('tables, sizes and escapes', async (t) => {
  t.equal(
    table(
      ['a', 'b'],
      [
        { a: 'x\n\u001b', b: 1 },
        { a: undefined, b: ['p', 'q'] },
      ],
    ),
    'A         B\nx \\u001b  1\n-         p q\n',
  )
  t.equal(oneLine('a\r\nb\u{e0041}'), 'a b\\udb40\\udc41')
  t.equal(manyLines('a\n\u0000', '> '), 'a\n> \\u0000')
  t.same(JSON.parse(jsonLine({ x: '\u202e\u0085' })), { x: '\u202e\u0085' })
  t.same([0, 999, 1000, 5_000_000].map(bytesText), ['0 B', '999 B', '1.0 kB', '5.0 MB'])
})
