/** What a folder is not: a way into the rest of a disk, a way to fill it, or lost when somebody pulls the plug. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { LocalEntry } from '../../client/home/folders.ts'
import { tagOf } from '../../client/sync/hear.ts'
import { forgetOld } from '../../client/sync/merge.ts'
import { joined } from '../../client/sync/versions.ts'
import { firstCut, fileSizes } from '../../client/sync/cut.ts'
import { Connection } from '../../client/wire/connection.ts'
import { toUtf8 } from '../../market/bytes.ts'
import { seal } from '../../market/envelope.ts'
import {
  checkEntries,
  type FolderEntry,
  formatEntries,
  parseEntries,
  pathFault,
} from '../../market/folder.ts'
import type { Payload } from '../../market/payload.ts'
import { shop } from '../fixtures/audited.ts'
import { ask, startProxy } from '../fixtures/lying-relay.ts'
import { befriend, couple, person, relayCommand, spawnCommand, writerFor } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)
t.testdir()
const at = (...names: string[]) => join(t.testdirName, ...names)
const relay = await startTestRelay(at('relay'))
t.teardown(() => relay.close())

const device = 'e'.repeat(16)
const hash = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex')

function entry(path: string, content = 'x', more: Partial<FolderEntry> = {}): FolderEntry {
  const pieces =
    content === '' ? [] : [{ sha256: hash(content), length: content.length, at: 'c'.repeat(32), offset: 0 }]
  const about = {
    version: [[device, 1]] as [string, number][],
    size: content.length,
    modifiedMs: 1,
    sha256: hash(content),
  }
  return { path, ...about, pieces, ...more } as FolderEntry
}

t.test('paths that are none, on any system, are refused with all that is beside them', async (t) => {
  const wrong = [
    '',
    '/etc/x',
    '../x',
    'a/../../x',
    'a//b',
    './a',
    'C:/x',
    'a\\b',
    'a/.',
    'nul',
    'a/COM1.txt',
    'x\u202etxt',
    'a\0b',
  ]
  wrong.push(
    'trailing.',
    ' lead',
    'tail ',
    '.git/config',
    'a/.GIT/hooks/x',
    'GIT~1/config',
    '.relay-sync/x',
    'e\u0301',
    'a:b',
    `${'d/'.repeat(40)}x`,
    'n'.repeat(300),
  )
  for (const path of wrong) {
    t.not(pathFault(path), undefined, JSON.stringify(path))
    t.throws(() => checkEntries([entry('fine'), entry(path)]), { code: 'ERR_MALFORMED' })
  }
  for (const path of ['a', '.hidden', 'a b/c.d', 'é', 'x'.repeat(200)])
    t.equal(pathFault(path), undefined, path)
  t.throws(() => checkEntries([entry('a'), entry('a')]), /twice/)
  t.throws(() => checkEntries([entry('a/b'), entry('A/c')]), /take it for/)
  t.throws(() => checkEntries([entry('Read.me'), entry('read.me')]), /take it for/)
  t.throws(() => checkEntries([entry('a'), entry('a/b')]), /a file and a folder/)
  t.throws(() => checkEntries([entry('a', 'x', { size: 5 })]), /pieces are not its size/)
  t.throws(() => parseEntries('{"path":"a"}\n'), { code: 'ERR_MALFORMED' })
  t.throws(() => parseEntries('\n'.repeat(50_001)), /more than 50000/)
  t.throws(() => parseEntries(formatEntries([entry('a')]).slice(0, -1)), /cut off/)
})

t.test('cuts come back to where they were after what was inserted', async (t) => {
  const bytes = Buffer.alloc(600_000)
  for (let place = 0, state = 7; place < bytes.length; place++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[place] = state >>> 16
  }
  const cuts = (whole: Uint8Array) => {
    const found: string[] = []
    for (let start = 0; start < whole.length; ) {
      const length = firstCut(whole.subarray(start), fileSizes)
      found.push(hash(whole.subarray(start, start + length)))
      start += length
    }
    return found
  }
  const before = cuts(bytes)
  const after = new Set(cuts(Buffer.concat([Buffer.from('inserted'), bytes])))

  t.ok(before.length > 5)
  t.ok(before.filter((one) => !after.has(one)).length <= 2, 'only what the insertion is in is new')
})

/** A friend whose client writes whatever it likes about the folder called `shared`. */
async function liar(name: string) {
  const eve = await person(at(name, 'eve'), 'Eve', [relay])
  const bob = await person(at(name, 'bob'), 'Bob', [relay])
  await befriend(eve, bob)
  const directory = at(name, 'shared')
  mkdirSync(directory)
  const { wallet, record } = await writerFor(eve)
  const connection = new Connection(relay, wallet)
  const to = bob.client.identity
  const put = async (recordId: string, what: { payload: Payload; bytes?: Uint8Array; tag: string }) => {
    await connection.write(await record(relay, { to, recordId, ...what }))
  }
  let sequence = 0
  /** A version that says `list`, whose files' pieces are `bytes`. */
  const tell = async (
    list: string,
    bytes: string,
    change: Partial<Extract<Payload, { type: 'folder' }>> = {},
  ) => {
    sequence += 1
    const [id, listId] = [sequence.toString(16).padStart(32, 'a'), sequence.toString(16).padStart(32, 'b')]
    if (sequence === 1)
      await put('c'.repeat(32), {
        payload: { type: 'chunk', size: bytes.length },
        bytes: toUtf8(bytes),
        tag: 'chunk',
      })
    const text = toUtf8(list)
    await put(listId, { payload: { type: 'chunk', size: text.length }, bytes: text, tag: 'chunk' })
    const pieces = [{ sha256: hash(text), length: text.length, at: listId, offset: 0 }]
    const about = {
      type: 'folder' as const,
      name: 'shared',
      device,
      sequence,
      size: text.length,
      sha256: hash(text),
      pieces,
    }
    const payload = { ...about, ...change }
    await put(id, { payload, tag: tagOf(eve.client.identity, { peer: to, name: 'shared' }) })
  }
  return { bob, eve, directory, tell, sync: () => bob.client.folders.sync(directory, eve.client.identity) }
}

t.test('a hostile version is refused whole and said; a link of our own leads nowhere', async (t) => {
  const { bob, directory, tell, sync } = await liar('hostile')
  mkdirSync(at('hostile', 'outside'))
  symlinkSync(at('hostile', 'outside'), join(directory, 'link'))
  // Shared with somebody else too, whose files are just coming.
  mkdirSync(join(directory, '.relay-sync', 'another'), { recursive: true })
  const names: readonly FolderEntry[][] = [
    [entry('fine.txt'), entry('../escape')],
    [entry('fine.txt'), entry('/absolute')],
    [entry('fine.txt'), entry('.git/hooks/pre-commit')],
  ]
  for (const entries of names) await tell(entries.map((one) => `${JSON.stringify(one)}\n`).join(''), 'x')
  await tell('x', 'x', { size: 2 ** 30 })
  const refused = await sync()
  const again = await sync()
  await tell(formatEntries([entry('link/x', 'x'), entry('good.txt', 'x'), entry('lie.txt', 'y')]), 'x')
  const mixed = await relayCommand(bob.home, ['sync', directory, 'Eve', '--json'])

  t.equal(refused.refused.length, 4)
  t.same(refused.received, [])
  t.same(again.refused, [], 'nothing is read twice')
  t.match(mixed.rows[0].received, ['good.txt'])
  t.match(mixed.rows[0].skipped.map(({ path }: { path: string }) => path).sort(), [
    'lie.txt',
    'link',
    'link/x',
  ])
  t.same(readdirSync(at('hostile', 'outside')), [])
  t.same(readdirSync(directory).sort(), ['.relay-sync', 'good.txt', 'link'])
  t.same(readdirSync(join(directory, '.relay-sync')), ['another'])
  t.equal(existsSync(at('hostile', 'escape')), false)
})

t.test('versions and lists stay what others take, whatever another copy counts or deletes', async (t) => {
  const { directory, tell, sync } = await liar('counts')
  const all = Array.from({ length: 64 }, (_, one): [string, number] => [`${one}`.padStart(16, '0'), one + 1])
  await tell(formatEntries([entry('a', 'x', { version: all })]), 'x')
  const taken = await sync()
  writeFileSync(join(directory, 'a'), 'changed by Bob')
  const told = await sync()
  const gone = (path: string, deletedMs: number): [string, LocalEntry] => [
    path,
    { entry: { path, version: all, deletedMs }, mtimeMs: 0, ctimeMs: 0 },
  ]
  const index = new Map(Array.from({ length: 50_003 }, (_, place) => gone(`${place}`, 50_003 - place)))
  index.set('file', { entry: entry('file'), mtimeMs: 0, ctimeMs: 0 })
  forgetOld(index, 100_000)

  t.same([taken.received, told.state], [['a'], 'delivered'])
  t.equal((await sync()).state, 'unchanged', 'what was kept can be read')
  t.same(joined(all, [[device, 99]]), joined([[device, 99]], joined(all, [[device, 99]])))
  t.equal(joined(all, [[device, 99]]).length, 64)
  t.same([index.size, index.has('file'), index.has('49999'), index.has('49998')], [50_000, true, false, true])
})

t.test('a relay that lists versions which are not there, or is silent, hides no other', async (t) => {
  t.testdir()
  const real = await shop(t, 'real', ['--open'])
  let isSilent = false
  const lying = await startProxy(t, real, async (body, answer) => {
    if (isSilent && body.includes('"type":"read"')) await new Promise(() => {})
    const isAsked = body.includes('"type":"inventory"') && body.includes('"tag":"folder-')
    if (isSilent || !isAsked) return answer
    const { hash: re, from: to, request } = ask(body)
    const about = { at: Date.now(), bytes: 400, expires: Date.now() + 1e6, pullsLeft: 4, tag: request.tag }
    const path = (one: number) => `/${request.owner[0]}/outbox/${to}/${`${one}`.padStart(32, 'f')}`
    const result = Array.from({ length: 20 }, (_, one) => ({ path: path(one), ...about }))
    const cursor = `0123456789abcdef.${Date.now() * 1024}` as const
    const head = { to, timestamp: Date.now(), nonce: '0123456789abcdef' }
    return (await seal({ ...head, request: { type: 'reply', re, result, cursor, more: false } }, real.signer))
      .text
  })
  const { alice, bob, to } = await couple(t, [lying, relay], [relay])
  const [hers, his] = [join(t.testdirName, 'hers', 'shared'), join(t.testdirName, 'his', 'shared')]
  for (const directory of [hers, his]) mkdirSync(directory, { recursive: true })
  writeFileSync(join(hers, 'news'), 'there all the same')
  await alice.client.folders.sync(hers, to)
  const first = await bob.client.folders.sync(his, alice.client.identity)
  writeFileSync(join(hers, 'more'), 'though the first says nothing')
  await alice.client.folders.sync(hers, to)
  isSilent = true
  const second = await bob.client.folders.sync(his, alice.client.identity)

  t.same([first.received, second.received], [['news'], ['more']])
})

t.test('an upload and a download that are killed go on where they were', async (t) => {
  let [seen, writes, isStalling, what] = [0, 0, true, '"type":"write"']
  let reached = () => {}
  let stalled = new Promise<void>((resolve) => {
    reached = resolve
  })
  const address = await startProxy(t, relay, async (body, answer) => {
    if (body.includes('"type":"write"') && body.includes('"tag":"chunk"')) writes += 1
    if (!isStalling || !body.includes(what) || ++seen < 3) return answer
    reached()
    await new Promise(() => {})
    return undefined
  })
  const alice = await person(at('kill', 'alice'), 'Alice', [address])
  const bob = await person(at('kill', 'bob'), 'Bob', [address])
  await befriend(alice, bob)
  const [hers, his] = [at('kill', 'a', 'shared'), at('kill', 'b', 'shared')]
  for (const directory of [hers, his]) mkdirSync(directory, { recursive: true })
  for (let file = 0; file < 12; file++)
    writeFileSync(join(hers, `${file}`), Buffer.alloc(120_000, `${file} `))

  const up = spawnCommand(alice.home, ['sync', hers, 'Bob'])
  await stalled
  up.child.kill('SIGKILL')
  await up.ended
  isStalling = false
  const sent = await alice.client.folders.sync(hers, bob.client.identity)
  const uploaded = writes
  ;[seen, isStalling, what] = [0, true, '"type":"read"']
  stalled = new Promise<void>((resolve) => {
    reached = resolve
  })
  const down = spawnCommand(bob.home, ['sync', his, 'Alice'])
  await stalled
  down.child.kill('SIGKILL')
  await down.ended
  isStalling = false
  await bob.client.folders.sync(his, alice.client.identity)

  t.equal(sent.state, 'delivered')
  t.ok(uploaded <= 7 + 4, `7 records took ${uploaded} uploads`)
  for (const name of readdirSync(hers)) t.same(readFileSync(join(his, name)), readFileSync(join(hers, name)))
  t.same(readdirSync(his).sort(), readdirSync(hers).sort(), 'and nothing else is there')
})

t.test('what it costs is said before anything goes up, and held', async (t) => {
  const shop = await startTestRelay(at('shop'), { args: ['--price', 'storageGBDay=4000000'] })
  t.teardown(() => shop.close())
  const carol = await person(at('carol'), 'Carol', [shop])
  const directory = at('paid')
  mkdirSync(directory)
  writeFileSync(join(directory, 'a'), Buffer.alloc(50_000, 'a'))
  await shop.operator.grant({ key: carol.client.identity, satoshi: 100_000 })
  const dear = await relayCommand(carol.home, ['sync', directory, 'self', '--max-cost', '1'])
  const untouched = await carol.client.outbox()
  const heard: string[] = []
  const onQuote = ({ satoshis }: { satoshis: string }) => void heard.push(satoshis)
  const paid = await carol.client.folders.sync(directory, 'self', { onQuote, maxCost: 100_000 })
  const letter = { subject: 'dear', text: 'x' }
  const mail = carol.client.mail.write(carol.client.identity, letter, {
    attach: [join(directory, 'a')],
    maxCost: 1,
  })

  await t.rejects(mail, { code: 'ERR_COST' })
  t.equal(dear.code, 6)
  t.same(untouched, [])
  t.equal(paid.state, 'delivered')
  const quoted = Number(heard[0])
  const { total } = paid.reserved
  t.ok(quoted > 0 && Number(total) <= quoted, `${total} of ${quoted}`)
})
