/** What several relays are worth: copies and quorum, relays that die, lie or lose everything, and readers who wait for none of them. */
import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Home } from '../../client/home/home.ts'
import { entries } from '../../client/home/outbox.ts'
import { Patience } from '../../client/mail/patience.ts'
import { race } from '../../client/wire/race.ts'
import type { RelayAddress } from '../../market/address.ts'
import { seal } from '../../market/envelope.ts'
import { keyFile } from '../../relay/data-directory.ts'
import { shop } from '../fixtures/audited.ts'
import { ask, startProxy } from '../fixtures/lying-relay.ts'
import { couple, relayCommand, reopen, texts } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3, payment: 6, forged: 7 }

/** A relay behind a door that can be shut, held, or led to another store with the same key. */
async function relayOf(t: Test, name: string, args?: string[]) {
  const data = join(t.testdirName, name)
  const options = args && { args }
  const real = await startTestRelay(data, options)
  t.teardown(() => real.close())
  const target = { url: real.url, key: real.key }
  const door = { isShut: false, held: '', asked: 0 }
  const stuck: (() => void)[] = []
  t.teardown(() => {
    for (const free of stuck) free()
  })
  const address = await startProxy(t, target, async (body, answer) => {
    door.asked += 1
    if (door.held !== '' && body.includes(door.held)) await new Promise<void>((free) => stuck.push(free))
    return door.isShut ? undefined : answer
  })
  return {
    ...address,
    door,
    /** The same relay after it lost its disk, but for its key. */
    async lose() {
      mkdirSync(`${data}-empty`, { recursive: true })
      copyFileSync(keyFile(data), keyFile(`${data}-empty`))
      const empty = await startTestRelay(`${data}-empty`, options)
      t.teardown(() => empty.close())
      target.url = empty.url
    },
  }
}

const holders = async (home: string) =>
  [...(await entries(Home.at(home))).values()].map(({ accepted, queued }) => [[...accepted], [...queued]])

t.test('a source that is silent is raced by the next after a bounded delay', async (t) => {
  const asked: string[] = []
  const sources = { slow: () => new Promise<string>(() => undefined), none: async () => undefined }
  const more = { bad: async () => Promise.reject(new Error('bad')), good: async () => 'good' }
  const all: Record<string, () => Promise<string | undefined>> = { ...sources, ...more }
  const from = (names: string[]) => {
    const one = (name: string) => {
      asked.push(name)
      return all[name]!()
    }
    return race(names, one, { hedgeMs: 5 })
  }

  t.equal(await from(['slow', 'bad', 'good', 'none']), 'good')
  t.same(asked, ['slow', 'bad', 'good'], 'and who is not needed is not asked')
  t.equal(await from(['none']), undefined)
  await t.rejects(from(['none', 'bad']), { message: 'bad' })
  const stop = AbortSignal.abort(new Error('stopped'))
  await t.rejects(
    race(['good'], async () => 'good', { signal: stop }),
    { message: 'stopped' },
  )
})

t.test(
  'a record goes to as many relays as the user wants, and another takes the place of a dead one',
  async (t) => {
    t.testdir()
    const [a, b, c] = [await relayOf(t, 'a'), await relayOf(t, 'b'), await relayOf(t, 'c')]
    const { alice, bob } = await couple(t, [a, b, c], [b])

    const set = await relayCommand(alice.home, ['relays', '--keep', '2', '--quorum', '2'])
    const most = await relayCommand(alice.home, ['relays', '--keep', '4'])
    const more = await relayCommand(alice.home, ['relays', '--quorum', '3'])
    const send = (...args: string[]) => relayCommand(alice.home, ['send', 'Bob', '--text', ...args])
    const two = await send('two')
    a.door.isShut = true
    const spared = await send('without a')
    const last = await send('a is asked last')
    c.door.isShut = true
    const short = await send('one is too few')
    b.door.isShut = true
    const none = await send('later', '--relays', '1', '--quorum', '1')
    for (const { door } of [a, b, c]) door.isShut = false
    const wrong = await send('x', '--relays', '1', '--quorum', '2')
    const { client } = await reopen(alice)
    const asked = a.door.asked
    await client.flush()
    const pulled = await bob.client.pull()

    t.match(set, { code: exit.ok, rows: [{ keep: 2, quorum: 2 }] })
    t.match([most, more], [{ code: exit.usage, stderr: /you have 3/ }, { stderr: /3 relays cannot sign/ }])
    t.match(two.rows, [{ state: 'delivered' }])
    t.same(new Set(two.rows[0].relays), new Set([a.key, b.key]))
    t.match(spared.rows, [{ state: 'delivered' }])
    t.same(new Set(spared.rows[0].relays), new Set([b.key, c.key]))
    t.match(last.rows, [{ state: 'delivered' }])
    t.same(new Set(last.rows[0].relays), new Set([b.key, c.key]))
    t.match(short.rows, [{ state: 'queued', relays: [b.key] }])
    t.match(none.rows, [{ state: 'queued', relays: [] }])
    t.match(wrong, { code: exit.usage, stderr: /2 relays cannot sign for what 1 get/ })
    t.ok(a.door.asked > asked, 'what waited for a goes there when it is back')
    t.match(
      (await client.outbox()).map(({ summary, state }) => [summary, state]),
      [
        ['two', 'delivered'],
        ['without a', 'delivered'],
        ['a is asked last', 'delivered'],
        ['one is too few', 'delivered'],
        ['later', 'delivered'],
      ],
      'which is told by the quorum of each',
    )
    t.same((await texts(pulled.messages)).length, 5)

    const path = join(t.testdirName, 'file.bin')
    writeFileSync(path, randomBytes(1000))
    const file = (...args: string[]) => relayCommand(alice.home, ['send', 'Bob', '--file', path, ...args])
    const known = await entries(Home.at(alice.home))
    const few = await file('--relays', '1', '--quorum', '1')
    const ofFile = [...(await entries(Home.at(alice.home)))].filter(([id]) => !known.has(id))
    c.door.isShut = true
    const threeOf = { keep: 3, quorum: 3, attempts: 1 }
    const waiting = await client.sendFile(await client.friend('Bob'), path, threeOf)
    const other = await file('--relays', '2')
    c.door.isShut = false
    const all = await file('--relays', '3')

    t.match(few.rows, [{ state: 'delivered' }])
    t.same(
      ofFile.map(([, { accepted }]) => [...accepted]),
      [few.rows[0].relays, few.rows[0].relays],
      'a file and its chunk are on the one relay',
    )
    t.equal(few.rows[0].relays.length, 1)
    t.match(waiting, { state: 'queued' })
    t.match(other, { code: exit.failed, stderr: /began with other numbers of relays/ })
    t.match(all.rows, [{ state: 'delivered', relays: [String, String, String] }])
  },
)

t.test('a relay that holds a chunk back, or its lists, is not waited for', async (t) => {
  t.testdir()
  const [a, b] = [await relayOf(t, 'a'), await relayOf(t, 'b')]
  const { alice, bob } = await couple(t, [a, b], [b])
  const content = randomBytes(150_000)
  writeFileSync(join(t.testdirName, 'picture'), content)
  await alice.client.sendFile(await alice.client.friend('Bob'), join(t.testdirName, 'picture'))

  await bob.client.pull()
  a.door.held = '"type":"read"'
  const { files } = await bob.client.finish({ hedgeMs: 20 })
  await alice.client.send(bob.client.identity, 'one relay is enough')
  a.door.held = '"type"'
  const pulled = await bob.client.pull({ patienceMs: 20 })

  t.match(files, [{ state: 'saved' }])
  t.same(await texts(pulled.messages), ['one relay is enough'])
  t.match(pulled.failures, [{ relay: a.url, error: { code: 'ERR_UNREACHABLE' } }])
})

t.test('a relay that answers little by little for ever is not waited for either', async (t) => {
  const address = (one: number) => ({ url: `http://${one}.example`, key: `02${`${one}`.repeat(64)}` })
  const groups = [1, 2].map((one) => ({ address: address(one), owners: ['somebody'] }))
  const patience = new Patience(groups, { patienceMs: 5 })
  t.teardown(() => patience.end())
  const slow = patience.begin(address(2))
  patience.begin(address(1)).done()
  while (!slow.signal.aborted) {
    slow.asks()
    await new Promise(setImmediate)
    slow.heard()
  }

  t.match(slow.signal.reason, { code: 'ERR_UNREACHABLE' })
})

t.test('a relay that lost its disk is noticed, and has back what it is paid for', async (t) => {
  t.testdir()
  const [a, b] = [await relayOf(t, 'a'), await relayOf(t, 'b')]
  const { alice, bob } = await couple(t, [a, b], [a])
  for (const text of ['one', 'two', 'three']) await alice.client.send(bob.client.identity, text)
  const gone = await alice.client.send(bob.client.identity, 'deleted')
  await alice.client.delete(gone.recordId)

  const whole = await relayCommand(alice.home, ['check'])
  await a.lose()
  const lost = await relayCommand(alice.home, ['check', '--human'])
  b.door.isShut = true
  const both = await relayCommand(alice.home, ['check'])
  b.door.isShut = false
  const said: string[] = []
  const { client } = await reopen(alice)
  const repaired = await client.redundancy.repair(a.url, {
    onCost: ({ records }) => said.push(String(records)),
  })
  const again = await relayCommand(alice.home, ['repair'])
  const after = await relayCommand(alice.home, ['check', a.url])
  const pulled = await bob.client.pull({ only: ({ key }: RelayAddress) => key === a.key })

  t.match(whole, { code: exit.ok, rows: [{ health: 'whole', expected: 3, proofs: 3 }, { health: 'whole' }] })
  t.match(lost, { code: exit.failed, stdout: /emptied +3 +3/ })
  t.match(both, { code: exit.failed, rows: [{ health: 'emptied' }, { health: 'silent' }] })
  t.match(repaired, [
    { before: { missing: { length: 3 } }, copied: { length: 3 }, after: { health: 'whole' } },
  ])
  t.same(said, ['3'])
  t.match(again, { code: exit.ok, rows: [{ repaired: 0, health: 'whole' }, { repaired: 0 }] })
  t.match(after, { code: exit.ok, rows: [{ health: 'whole', proofs: 3, failed: 0 }] })
  t.same((await texts(pulled.messages)).sort(), ['one', 'three', 'two'])
  const [audit] = await client.audit(a.url)
  t.match(audit, { failedProofs: { length: 6 } }, 'what it signed it did not have, each time, stays evidence')
})

t.test('a repair has its price, and is not paid beyond what is allowed', async (t) => {
  t.testdir()
  const relay = await shop(t, 'relay')
  const { alice, to } = await couple(t, [relay], [relay])
  await relay.grant(alice, 1_000_000)
  for (const text of ['one', 'two']) await alice.client.send(to, text)
  await relay.close()
  mkdirSync(join(t.testdirName, 'other'))
  copyFileSync(keyFile(join(t.testdirName, 'relay')), keyFile(join(t.testdirName, 'other')))
  const args = ['--listen', new URL(relay.url).host, '--price', 'storageGBDay=4000000000']
  const empty = await startTestRelay(join(t.testdirName, 'other'), { args })
  t.teardown(() => empty.close())

  const dear = await relayCommand(alice.home, ['repair', '--max-cost', '1'])
  const poor = await relayCommand(alice.home, ['repair'])
  await empty.operator.grant({ key: alice.client.identity, satoshi: 1_000_000 })
  const paid = await relayCommand(alice.home, ['repair', '--max-cost', '100000'])
  const [account] = await alice.client.account()

  t.match(dear, { code: exit.payment, stderr: /2 records of .* at most \d+ satoshi.*and 1 are allowed/s })
  t.match(poor, {
    code: exit.payment,
    rows: [{ repaired: 0, unmoved: [{ code: 'ERR_PAYMENT_REQUIRED' }, {}] }],
  })
  t.match(paid, { code: exit.ok, rows: [{ repaired: 2, health: 'whole', satoshis: /\d+/ }] })
  const purse = 'purses' in account! ? account.purses[0]! : undefined
  t.ok(Number(purse?.reserved) <= Number(paid.rows[0].satoshis))
})

t.test('a relay that lists what it does not have is called a liar, and asked last', async (t) => {
  t.testdir()
  const honest = await relayOf(t, 'honest')
  const real = await shop(t, 'real', ['--open'])
  const liar = await startProxy(t, real, async (body, answer) => {
    if (!body.includes('"type":"prove"')) return answer
    const { hash: re, from: to } = ask(body)
    const no = { type: 'reply' as const, re, code: 'ERR_NOT_FOUND', error: 'ERR_NOT_FOUND: gone' }
    const head = { to, timestamp: Date.now(), nonce: '0123456789abcdef' }
    return (await seal({ ...head, request: no }, real.signer)).text
  })
  const { alice, to } = await couple(t, [liar, honest], [honest])
  await alice.client.send(to, 'one')

  const checked = await relayCommand(alice.home, ['check'])
  await alice.client.send(to, 'two', { keep: 1 })

  t.match(checked, {
    code: exit.forged,
    rows: [{ health: 'lying', failed: 1, missing: 0 }, { health: 'whole' }],
  })
  t.same(
    (await holders(alice.home)).map(([accepted]) => accepted!.includes(honest.key)),
    [true, true],
  )
  t.equal((await holders(alice.home)).filter(([accepted]) => accepted!.includes(liar.key)).length, 1)

  const migrating = alice.client.redundancy.migrate(honest.url, liar.url, { waitSeconds: 0 })
  await t.rejects(migrating, { code: 'ERR_UNTRUSTED', message: /cannot prove .* is not left/ })
  t.equal((await alice.client.relays()).length, 2)
})
