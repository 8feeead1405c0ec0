/** A folder in step with a friend's and with our own other devices, through relays that are real (docs/protocol.md §5). */
import { randomBytes } from 'node:crypto'
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { RelayAddress } from '../../market/address.ts'
import { startProxy } from '../fixtures/lying-relay.ts'
import { befriend, person, relayCommand, reopen } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)
t.testdir()
const at = (...names: string[]) => join(t.testdirName, ...names)
const relay = await startTestRelay(at('relay'))
t.teardown(() => relay.close())

/** Two people on one relay, each with a directory called `shared`. */
async function pair(name: string, address: RelayAddress = relay) {
  const alice = await person(at(name, 'alice'), 'Alice', [address])
  const bob = await person(at(name, 'bob'), 'Bob', [address])
  await befriend(alice, bob)
  const [hers, his] = [at(name, 'a', 'shared'), at(name, 'b', 'shared')]
  for (const directory of [hers, his]) mkdirSync(directory, { recursive: true })
  return {
    ...{ alice, bob, hers, his },
    up: () => alice.client.folders.sync(hers, bob.client.identity),
    down: () => bob.client.folders.sync(his, alice.client.identity),
  }
}

/** Every file below `directory`, with what it says. */
function filesIn(directory: string): Record<string, string> {
  const all = readdirSync(directory, { recursive: true, withFileTypes: true })
  const files = all.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name))
  return Object.fromEntries(
    files.sort().map((path) => [path.slice(directory.length + 1), readFileSync(path, 'latin1')]),
  )
}

function write(directory: string, path: string, content: string | Buffer): void {
  mkdirSync(dirname(join(directory, path)), { recursive: true })
  writeFileSync(join(directory, path), content)
}

t.test(
  '200 files travel once; a second sync moves a fraction, and old versions leave the relay',
  async (t) => {
    const { alice, hers, his, up, down } = await pair('many')
    for (let file = 0; file < 200; file++) write(hers, `notes/${file % 7}/${file}.txt`, randomBytes(1500))
    const large = randomBytes(900_000)
    write(hers, 'large.bin', large)
    write(hers, 'empty', '')

    const first = await up()
    const taken = await down()
    const back = await up()
    const idle = await up()
    write(hers, 'notes/3/3.txt', 'changed')
    write(
      hers,
      'large.bin',
      Buffer.concat([large.subarray(0, 400_000), Buffer.from('inserted'), large.subarray(400_000)]),
    )
    rmSync(join(hers, 'notes/1/1.txt'))
    const second = await up()
    const taken2 = await down()

    t.equal(first.state, 'delivered')
    t.ok(first.sent.records < 10, `${first.sent.records} records for 202 files`)
    t.equal(taken.received.length, 202)
    t.match([back.state, idle.state], ['unchanged', 'unchanged'])
    t.equal(idle.sent.bytes + idle.fetchedBytes, 0)
    t.ok(second.sent.bytes * 3 < first.sent.bytes, `${second.sent.bytes} of ${first.sent.bytes} bytes`)
    t.ok(taken2.fetchedBytes <= second.sent.bytes, `${taken2.fetchedBytes} fetched`)
    t.same(taken2.received.sort(), ['large.bin', 'notes/3/3.txt'])
    t.same(taken2.removed, ['notes/1/1.txt'])
    t.same(filesIn(his), filesIn(hers))
    const live = (await alice.client.outbox()).filter(
      ({ type, state }) => type === 'folder' && state !== 'deleted',
    )
    t.equal(live.length, 1, 'one version is on the relay')
  },
)

t.test('both sides change: what differs stays side by side, and both end up with the same', async (t) => {
  const { hers, his, up, down } = await pair('both')
  write(hers, 'plan.txt', 'first')
  write(hers, 'gone.txt', 'to be deleted')
  write(hers, 'edited.txt', 'one deletes, one edits')
  await up()
  await down()
  write(hers, 'plan.txt', 'hers')
  write(his, 'plan.txt', 'his, later')
  const later = Date.now() / 1000 + 60
  utimesSync(join(his, 'plan.txt'), later, later)
  write(his, 'sub/new.txt', 'from Bob')
  rmSync(join(his, 'gone.txt'))
  rmSync(join(hers, 'edited.txt'))
  write(his, 'edited.txt', 'edited by Bob')

  await up()
  const his1 = await down()
  const hers1 = await up()
  await down()
  await up()
  const quiet = [await down(), await up()]

  t.same(his1.conflicts, [], 'the later one has the name')
  t.equal(hers1.conflicts.length, 1)
  t.match(hers1.conflicts[0], /^plan\.conflict-[0-9a-f]{8}\.txt$/)
  t.same(hers1.removed, ['gone.txt'])
  t.same(filesIn(hers), filesIn(his))
  t.match(filesIn(his), {
    'plan.txt': 'his, later',
    'edited.txt': 'edited by Bob',
    'sub/new.txt': 'from Bob',
  })
  t.equal(filesIn(his)[hers1.conflicts[0]!], 'hers')
  t.same(
    quiet.map(({ state }) => state),
    ['unchanged', 'unchanged'],
  )
})

t.test('own devices: two homes of one key, each with changes of its own', async (t) => {
  const { client, home } = await person(at('own', 'home'), 'Carol', [relay])
  cpSync(home, at('own', 'other'), { recursive: true })
  const other = await reopen({ client, home: at('own', 'other'), notices: [] })
  const [here, there] = [at('own', 'here', 'docs'), at('own', 'there', 'docs')]
  for (const directory of [here, there]) mkdirSync(directory, { recursive: true })
  write(here, 'a.txt', 'from here')
  write(there, 'b/c.txt', 'from there')
  write(there, 'same.txt', 'same')
  write(here, 'same.txt', 'same')

  await client.folders.sync(here, 'self')
  await other.client.folders.sync(there, 'self')
  const last = await client.folders.sync(here, 'self')
  await other.client.pull()

  t.same(last.conflicts, [])
  t.same(filesIn(here), filesIn(there))
  t.same(Object.keys(filesIn(here)), ['a.txt', 'b/c.txt', 'same.txt'])
  // A home that was copied when it had the folder already says to be the same copy, until it notices.
  cpSync(home, at('own', 'twin'), { recursive: true })
  const [state] = readdirSync(at('own', 'twin', 'sync'))
  const file = at('own', 'twin', 'sync', state!, 'folder.json')
  const elsewhere = at('own', 'elsewhere', 'docs')
  cpSync(here, elsewhere, { recursive: true })
  writeFileSync(file, readFileSync(file, 'utf8').replace(here, elsewhere))
  const twin = await reopen({ client, home: at('own', 'twin'), notices: [] })
  write(here, 'news.txt', 'from the original')
  write(elsewhere, 'twin.txt', 'from the twin')
  await client.folders.sync(here, 'self')
  const noticed = await twin.client.folders.sync(elsewhere, 'self')
  await client.folders.sync(here, 'self')

  t.same(noticed.received, ['news.txt'])
  t.same(filesIn(here), filesIn(elsewhere))
  t.match(await client.folders.list(), [{ name: 'docs', directory: here, peer: client.identity }])
})

t.test(
  'what cannot be shared is said: links, names of some systems, and a directory that is suddenly empty',
  async (t) => {
    const { alice, hers, up, down, his } = await pair('odd')
    for (let file = 0; file < 12; file++) write(hers, `f${file}`, `${file}`)
    symlinkSync('/etc/passwd', join(hers, 'link'))
    write(hers, 'CON.txt', 'a device')
    write(hers, 'F0', 'the same as f0, for some')
    write(hers, '.git/hooks/post-checkout', 'runs')
    mkdirSync(join(hers, 'empty'))
    const first = await up()
    await down()
    for (const name of readdirSync(hers)) rmSync(join(hers, name), { recursive: true })
    await t.rejects(up(), { code: 'ERR_CONFLICT' })
    const meant = await relayCommand(alice.home, ['sync', hers, 'Bob', '--allow-empty', '--json'])
    await down()

    t.same(first.skipped.map(({ path }) => path).sort(), ['.git', 'CON.txt', 'empty', 'f0', 'link'])
    t.match(meant, { code: 0, rows: [{ event: 'sync', state: 'delivered' }] })
    t.same(Object.keys(filesIn(his)), [])
    t.same((await relayCommand(alice.home, ['sync', at('odd'), 'Bob', '--name', 'shared'])).code, 1)
  },
)

t.test('while no relay takes it, it waits, and a later call goes on', async (t) => {
  let [isAway, uploads] = [true, 0]
  const address = await startProxy(t, relay, async (body, answer) => {
    const isPack = body.includes('"tag":"chunk"')
    if (isPack && !isAway) uploads += 1
    return isPack && isAway ? undefined : answer
  })
  const { alice, bob, hers, his, down } = await pair('away', address)
  for (let file = 0; file < 8; file++) write(hers, `${file}`, randomBytes(100_000))

  const waits = await alice.client.folders.sync(hers, bob.client.identity, { attempts: 1 })
  const nothing = await down()
  isAway = false
  const goesOn = await alice.client.folders.sync(hers, bob.client.identity)
  await down()

  t.equal(waits.state, 'queued')
  t.ok(waits.failures.length > 0)
  t.same(nothing.received, [])
  t.equal(goesOn.state, 'delivered')
  t.ok(uploads <= 6, `${uploads} uploads of 5 records`)
  t.same(filesIn(his), filesIn(hers))
})
