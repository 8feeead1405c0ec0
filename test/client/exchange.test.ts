/** What two people can rely on when they write to each other through relays (docs/protocol.md §4, §5, §8.2). */
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Client } from '../../client/index.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import { toBase64, toUtf8 } from '../../market/bytes.ts'
import { seal } from '../../market/envelope.ts'
import { RECORD_PROTOCOL } from '../../market/identity.ts'
import { sealIdentity } from '../../market/identity-file.ts'
import { decodeRecord } from '../../market/record.ts'
import { Connection } from '../../client/wire/connection.ts'
import { fromKeyWallet } from '../../client/wallet.ts'
import { identityOf } from '../fixtures/keys.ts'
import { startLyingRelay, startProxy } from '../fixtures/lying-relay.ts'
import { befriend, couple, type Person, person, reopen, texts } from '../fixtures/people.ts'
import { spawnRelay, startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

/** A relay that lives as long as the test, counting what it is asked to read. */
async function counted(t: Test, name: string): Promise<RelayAddress & { reads: () => number }> {
  const real = await startTestRelay(join(t.testdirName, name))
  t.teardown(() => real.close())
  let reads = 0
  const address = await startProxy(t, real, (body, answer) => {
    reads += body.split('"type":"read"').length - 1
    return answer
  })
  return { ...address, reads: () => reads }
}

const friendOf = (one: Person, name: string) => one.client.friend(name)

t.test('text and a file go both ways, are acknowledged, and are not pulled twice', async (t) => {
  t.testdir()
  const [first, second] = [await counted(t, 'first'), await counted(t, 'second')]
  const { alice, bob } = await couple(t, [first], [second])
  const bytes = randomBytes(700_000)
  writeFileSync(join(t.testdirName, 'picture.bin'), bytes)

  const sent = await alice.client.send(await friendOf(alice, 'Bob'), 'hello Bob', { tag: 'greeting' })
  await alice.client.sendFile(await friendOf(alice, 'Bob'), join(t.testdirName, 'picture.bin'))
  await bob.client.send(await friendOf(bob, 'Alice'), 'hello Alice')
  const pulled = await bob.client.pull()
  const { files } = await bob.client.finish()
  const again = await bob.client.pull()
  const back = await alice.client.pull()

  t.match(sent, { state: 'delivered', accepted: [first.key] })
  t.match(pulled.messages, [
    { tag: 'greeting', payload: { text: 'hello Bob' } },
    { payload: { type: 'file' } },
  ])
  t.match(files, [{ state: 'saved', name: 'picture.bin' }])
  t.same(readFileSync(join(bob.home, 'files/Alice/picture.bin')), bytes)
  t.same(again.messages, [])
  t.equal(first.reads(), 5, 'one text, one file, three chunks')
  t.same(await texts(back.messages), ['hello Alice'])
  t.match(await alice.client.outbox(), [
    { type: 'text', state: 'acknowledged', pulledFrom: [first.key] },
    { type: 'file', state: 'acknowledged' },
  ])
  t.same(await texts(bob.client.inbox()), ['hello Bob'])
  t.same(
    alice.notices.filter(({ type }) => type === 'plain-http'),
    [],
    'this machine is no network',
  )
})

t.test('a record on two relays is read once, and either relay will do', async (t) => {
  t.testdir()
  const [first, second] = [await counted(t, 'first'), await counted(t, 'second')]
  const { alice, bob } = await couple(t, [first, second], [first])

  const sent = await alice.client.send(await friendOf(alice, 'Bob'), 'once')
  const { messages } = await bob.client.pull()

  t.equal(sent.accepted.length, 2)
  t.same(await texts(messages), ['once'])
  t.equal(first.reads() + second.reads(), 1)
})

t.test('what one relay cannot give comes from the next', async (t) => {
  t.testdir()
  const [first, second] = [await counted(t, 'first'), await counted(t, 'second')]
  let isLying = true
  const liar = await startProxy(t, first, (body, answer) =>
    isLying && body.includes('"type":"read"') ? answer.replaceAll('"content":"', '"content":"AAAA') : answer,
  )
  const { alice, bob } = await couple(t, [liar], [second])

  await alice.client.send(await friendOf(alice, 'Bob'), 'through')
  const lied = await bob.client.pull()
  isLying = false
  const told = await bob.client.pull()

  t.same(lied.messages, [])
  t.match(
    bob.notices.find(({ type }) => type === 'record-unread'),
    { error: { code: 'ERR_UNTRUSTED' } },
  )
  t.same(await texts(told.messages), ['through'], 'the cursor did not pass what was not read')
})

t.test('without a relay a message is queued, survives a restart, and goes up later', async (t) => {
  t.testdir()
  const relay = await spawnRelay(join(t.testdirName, 'relay'))
  const { alice, bob } = await couple(t, [relay], [relay])
  await relay.kill('SIGKILL')

  const sent = await alice.client.send(await friendOf(alice, 'Bob'), 'later', { attempts: 1 })
  const queued = await (await reopen(alice)).client.outbox()
  const failed = await bob.client.pull({ attempts: 1 })
  const again = await spawnRelay(join(t.testdirName, 'relay'), { port: relay.port })
  t.teardown(() => again.kill('SIGKILL'))
  const flushed = await (await reopen(alice)).client.flush()
  const { messages } = await bob.client.pull()

  t.match(sent, { state: 'queued', accepted: [], failures: [{ error: { code: 'ERR_UNREACHABLE' } }] })
  t.match(queued, [{ state: 'queued', summary: 'later' }])
  t.match(failed, { asked: 1, failures: [{ error: { code: 'ERR_UNREACHABLE' } }] })
  t.match(flushed, { delivered: 1, queued: 0 })
  t.same(await texts(messages), ['later'])
})

t.test('a record too old to be written bare is stored', async (t) => {
  t.testdir()
  const now = { ms: Date.now() }
  const relay = await startTestRelay(join(t.testdirName, 'relay'), { now: () => now.ms })
  t.teardown(() => relay.close())
  const { alice, bob } = await couple(t, [relay], [relay])
  now.ms += 200_000 // for this relay, everything we say is 200 s old

  const sent = await alice.client.send(await friendOf(alice, 'Bob'), 'old')

  t.match(sent, { state: 'delivered' })
  t.same(await texts((await bob.client.pull()).messages), ['old'])
})

t.test('what every relay refuses is an error and is not kept', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'), { args: ['--open', '--limit', 'ttl=60'] })
  t.teardown(() => relay.close())
  const { alice } = await couple(t, [relay], [relay])
  const bob = await friendOf(alice, 'Bob')

  await t.rejects(alice.client.send(bob, 'too long', { ttlSeconds: 61 }), { code: 'ERR_LIMIT' })

  t.same(await alice.client.outbox(), [])
})

t.test('payloads of unknown type and what does not decrypt are kept and shown as such', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const { alice, bob } = await couple(t, [relay], [relay])
  const key = await openKeyFile(join(alice.home, 'key.json'))
  const to = bob.client.identity
  const strange = toUtf8(toBase64(toUtf8('{"type":"hologram","depth":3}')))
  for (const [recordId, plaintext] of [
    ['strange', strange],
    ['noise', toUtf8('!')],
  ] as const) {
    const name = { protocolID: RECORD_PROTOCOL, keyID: recordId, counterparty: to }
    const content = toBase64(key.encryptBytes(plaintext, name))
    const request = { type: 'write' as const, recordId, ttl: 60, tag: '', content, relays: [relay.key] }
    const record = decodeRecord((await seal({ to, timestamp: Date.now(), request }, key)).text)
    await new Connection(relay, fromKeyWallet(key)).write(record)
  }

  const { messages } = await bob.client.pull()

  t.match(messages, [
    { payload: { type: 'unknown', head: { type: 'hologram', depth: 3 } } },
    { payload: { type: 'damaged' } },
  ])
})

t.test('friends are told when the relays change, on the old ones and the new', async (t) => {
  t.testdir()
  const [first, second] = [await counted(t, 'first'), await counted(t, 'second')]
  const { alice, bob } = await couple(t, [first], [second])

  await alice.client.addRelay(formatAddress(second))
  await alice.client.removeRelay(first.url)
  await bob.client.pull()
  const moved = await bob.client.friend('Alice')
  await alice.client.send(await friendOf(alice, 'Bob'), 'from the new place')
  const { messages } = await bob.client.pull()

  t.same(
    moved.relays.map(({ key }) => key),
    [second.key],
  )
  t.equal(moved.file.hash, (await alice.client.me()).hash)
  t.ok(bob.notices.some(({ type }) => type === 'friend-moved'))
  t.same(await texts(messages), ['from the new place'])
  t.same(moved.forks, [])
})

t.test('§5: what only moves the machines is not acked', async (t) => {
  t.testdir()
  const [first, second] = [await counted(t, 'first'), await counted(t, 'second')]
  const { alice, bob } = await couple(t, [first], [second])

  await alice.client.addRelay(formatAddress(second))
  await bob.client.pull()
  await bob.client.finish()

  t.same(readdirSync(join(bob.home, 'acks')), [])
  t.same(readdirSync(join(bob.home, 'outbox')), [], 'Bob sends nothing')
})

t.test('a wallet that fails makes no record damaged: it is read when the wallet works again', async (t) => {
  t.testdir()
  const { PrivateKey, ProtoWallet } = await import('@bsv/sdk')
  const relay = await counted(t, 'relay')
  const wallet = new ProtoWallet(PrivateKey.fromRandom())
  const home = join(t.testdirName, 'carol')
  let isLocked = false
  const decrypt = (...args: Parameters<typeof wallet.decrypt>) =>
    isLocked ? Promise.reject(new Error('locked')) : wallet.decrypt(...args)
  const lockable = Object.assign(Object.create(wallet), { decrypt }) as never
  const options = { label: 'Carol', relays: [formatAddress(relay)], wallet: lockable }
  const carol = { client: await Client.init(home, options), home, notices: [] }
  const bob = await person(join(t.testdirName, 'bob'), 'Bob', [relay])
  await befriend(carol, bob)
  writeFileSync(join(t.testdirName, 'file'), 'content')
  await bob.client.send(await friendOf(bob, 'Carol'), 'patience', { maxPulls: 1 })
  await bob.client.sendFile(await friendOf(bob, 'Carol'), join(t.testdirName, 'file'))

  isLocked = true
  const locked = await carol.client.pull()
  isLocked = false
  const { messages } = await carol.client.pull()
  isLocked = true
  const none = await carol.client.finish()
  isLocked = false
  const { files } = await carol.client.finish()

  t.match(locked, { messages: [], failures: [{ error: { message: 'locked' } }] })
  t.same(await texts(messages), ['patience'], 'by the one pull it had')
  t.same(none.files, [])
  t.match(files, [{ state: 'saved' }])
})

t.test('how often a record may be pulled is said only where every relay offers it', async (t) => {
  t.testdir()
  const simple = await startLyingRelay(t, () => '', { features: [] })
  const away = { url: 'http://127.0.0.1:1', key: identityOf('away').identity }
  const { alice } = await couple(t, [simple, away], [])
  const bob = await friendOf(alice, 'Bob')

  await t.rejects(alice.client.send(bob, 'x', { maxPulls: 1, attempts: 1 }), { code: 'ERR_UNSUPPORTED' })
  t.same(await alice.client.outbox(), [])
  await alice.client.removeRelay(simple.url, { attempts: 1 })
  const queued = await alice.client.send(bob, 'x', { maxPulls: 1, attempts: 1 })

  t.match(queued, { state: 'queued' })
})

t.test('what waited for a relay that was left goes to the new one', async (t) => {
  t.testdir()
  const gone = await spawnRelay(join(t.testdirName, 'gone'))
  const stays = await counted(t, 'stays')
  const { alice, bob } = await couple(t, [gone], [stays])
  await gone.kill('SIGKILL')
  await alice.client.send(await friendOf(alice, 'Bob'), 'moved along', { attempts: 1 })

  await alice.client.addRelay(formatAddress(stays), { attempts: 1 })
  await alice.client.removeRelay(gone.key, { attempts: 1 })
  await alice.client.flush()
  const { messages } = await bob.client.pull({ attempts: 1 })
  await bob.client.addFriend((await alice.client.me()).text)
  const later = await bob.client.pull()

  t.same(await texts([...messages, ...later.messages]), ['moved along'])
})

t.test('an older identity file is refused, a fork is kept to be shown, the chain is followed', async (t) => {
  t.testdir()
  const { alice, bob } = await couple(t, [], [])
  const key = await openKeyFile(join(alice.home, 'key.json'))
  const held = await alice.client.me()
  const next = (label: string, now: number) => sealIdentity({ label, relays: [], now, previous: held }, key)
  const newer = await next('Alice B', held.msg.timestamp + 10)
  const rival = await next('Alice C', held.msg.timestamp + 20)

  t.match(await bob.client.addFriend(newer.text), {
    succession: 'next',
    friend: { alias: 'Alice', label: 'Alice B' },
  })
  t.match(await bob.client.addFriend(newer.text), { succession: 'same' })
  await t.rejects(bob.client.addFriend(held.text), { code: 'ERR_CONFLICT', message: /older/ })
  await t.rejects(bob.client.addFriend(rival.text), { code: 'ERR_CONFLICT', message: /fork/ })

  t.match(await bob.client.friend('Alice'), { label: 'Alice B', forks: [rival.text] })
  t.match(bob.notices, [{ type: 'friend-forked' }])
  await t.rejects(bob.client.addFriend((await bob.client.me()).text), { code: 'ERR_CONFLICT' })
  await t.rejects(bob.client.addFriend(newer.text.replace('Alice B', 'Alice D')), {
    code: 'ERR_BAD_SIGNATURE',
  })
})

t.test('no label can stand in for an alias', async (t) => {
  t.testdir()
  const { alice, bob } = await couple(t, [], [])
  const mallory = await person(join(t.testdirName, 'mallory'), 'Alice')
  const text = (await mallory.client.me()).text

  await t.rejects(bob.client.addFriend(text), { code: 'ERR_CONFLICT' })
  await bob.client.addFriend(text, { alias: 'Mallory' })

  t.equal((await bob.client.friend('Alice')).key, alice.client.identity)
  t.equal((await bob.client.removeFriend('Mallory')).key, mallory.client.identity)
  await t.rejects(bob.client.friend('Mallory'), { code: 'ERR_NOT_FOUND' })
})

t.test(
  "strangers' records are listed and fetched only when asked for, and are not acknowledged",
  async (t) => {
    t.testdir()
    const relay = await counted(t, 'relay')
    const { alice, bob } = await couple(t, [relay], [relay])
    await bob.client.removeFriend('Alice')
    await alice.client.send(await friendOf(alice, 'Bob'), 'who am I')

    const pulled = await bob.client.pull()
    const [listed] = await bob.client.strangers()
    const before = relay.reads()
    const fetched = await bob.client.pullStrangers()
    await bob.client.finish()

    t.same(pulled.messages, [])
    t.match(listed?.entries, [{ tag: '', path: new RegExp(alice.client.identity) }])
    t.equal(before, 0)
    t.same(await texts(fetched.messages), ['who am I'])
    t.same((await bob.client.pullStrangers()).messages, [])
    t.same(await bob.client.outbox(), [])
    await alice.client.pull()
    t.match(await alice.client.outbox(), [{ state: 'delivered' }])
  },
)

t.test('a deleted record and all chunks of a deleted file are gone from the relays', async (t) => {
  t.testdir()
  const relay = await counted(t, 'relay')
  const { alice, bob } = await couple(t, [relay], [relay])
  writeFileSync(join(t.testdirName, 'file'), randomBytes(300_000))
  const text = await alice.client.send(await friendOf(alice, 'Bob'), 'regretted')
  const file = await alice.client.sendFile(await friendOf(alice, 'Bob'), join(t.testdirName, 'file'))

  await alice.client.delete(text.recordId)
  await alice.client.delete(file.recordId)
  const { messages } = await bob.client.pull()

  t.same(messages, [])
  t.match(await alice.client.outbox(), [{ state: 'deleted' }, { state: 'deleted' }])
  await t.rejects(alice.client.delete('nothing'), { code: 'ERR_NOT_FOUND' })
})

t.test('any wallet can own a home, and only that wallet', async (t) => {
  t.testdir()
  const { PrivateKey, ProtoWallet } = await import('@bsv/sdk')
  const relay = await counted(t, 'relay')
  const wallet = new ProtoWallet(PrivateKey.fromRandom()) as never
  const carol = {
    client: await Client.init(join(t.testdirName, 'carol'), {
      label: 'Carol',
      relays: [formatAddress(relay)],
      wallet,
    }),
    home: '',
    notices: [],
  }
  const bob = await person(join(t.testdirName, 'bob'), 'Bob', [relay])
  await befriend(carol, bob)

  await carol.client.send(await friendOf(carol, 'Bob'), 'from any wallet')
  await bob.client.send(await friendOf(bob, 'Carol'), 'to any wallet')

  t.same(await texts((await bob.client.pull()).messages), ['from any wallet'])
  t.same(await texts((await carol.client.pull()).messages), ['to any wallet'])
  const other = new ProtoWallet(PrivateKey.fromRandom()) as never
  await t.rejects(Client.open(join(t.testdirName, 'carol'), { wallet: other }), { code: 'ERR_CONFLICT' })
})

t.test('the sum of a saved file is the one its sender saw', async (t) => {
  t.testdir()
  const relay = await counted(t, 'relay')
  const { alice, bob } = await couple(t, [relay], [relay])
  for (const size of [0, 1]) {
    writeFileSync(join(t.testdirName, 'same name.txt'), Buffer.alloc(size, 65))
    await alice.client.sendFile(await friendOf(alice, 'Bob'), join(t.testdirName, 'same name.txt'))
    await bob.client.pull()
    await bob.client.finish()
  }
  const sums = ['same name.txt', 'same name (2).txt'].map((name) =>
    createHash('sha256')
      .update(readFileSync(join(bob.home, 'files/Alice', name)))
      .digest('hex'),
  )

  t.same(
    sums,
    ['', 'A'].map((text) => createHash('sha256').update(text).digest('hex')),
    'and no file replaces another',
  )
})
