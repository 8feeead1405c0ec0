/** What an attacker proved against the client once: nobody on the path, no relay and no friend can do it again. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fromKeyWallet } from '../../client/wallet.ts'
import { sizeBytes } from '../../client/terminal/command.ts'
import { Connection } from '../../client/wire/connection.ts'
import { createContext } from '../../client/context.ts'
import { Refused } from '../../client/errors.ts'
import { Home } from '../../client/home/home.ts'
import { post } from '../../client/mail/post.ts'
import { PageCheck, resumeAfter } from '../../client/wire/places.ts'
import { timeText } from '../../client/terminal/show.ts'
import { openKeyFile } from '../../contracts/wallet/key-file.ts'
import { RECORD_PROTOCOL } from '../../market/identity.ts'
import type { RelayAddress } from '../../market/address.ts'
import { toBase64, toUtf8 } from '../../market/bytes.ts'
import { seal } from '../../market/envelope.ts'
import type { Payload } from '../../market/payload.ts'
import { decodeRecord } from '../../market/record.ts'
import { protocolLimits } from '../../market/units.ts'
import { type Question, sealReply, startLyingRelay, startProxy } from '../fixtures/lying-relay.ts'
import { couple, type Person, relayCommand, texts } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

/** Alice and Bob on a relay behind somebody who answers in its place while `says` is set. */
async function tapped(t: Test) {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const tap: { says: string | undefined; to: string } = { says: undefined, to: '' }
  const address = await startProxy(t, relay, (body, answer) =>
    tap.says !== undefined && body.includes(tap.to) ? tap.says : answer,
  )
  return { tap, relay, ...(await couple(t, [address], [address])) }
}

async function honest(t: Test) {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  return { relay, ...(await couple(t, [relay], [relay])) }
}

const plain = (code: string, extras = {}): string =>
  JSON.stringify({ status: 'error', code, description: 'x', ...extras })
const epoch = '0123456789abcdef'
const friendOf = ({ client }: Person, name: string) => client.friend(name)

t.test('an unsigned ERR_EXPIRED does not move the place a pull goes on from', async (t) => {
  const { tap, alice, bob } = await tapped(t)
  await alice.client.send(await friendOf(alice, 'Bob'), 'one')
  await bob.client.pull()
  Object.assign(tap, { to: '"inventory"', says: plain('ERR_EXPIRED', { resumeTs: 8e12 }) })

  const lied = await bob.client.pull()
  tap.says = undefined
  await alice.client.send(await friendOf(alice, 'Bob'), 'two')
  const after = await bob.client.pull()

  t.match(lied.failures, [{ error: { code: 'ERR_EXPIRED', signed: false } }])
  t.same(await texts(after.messages), ['two'])
})

t.test(
  'a signed place in the future is neither believed nor saved, and a saved one is forgotten',
  async (t) => {
    t.testdir()
    const reply = { result: [], cursor: `${epoch}.8000000000000000`, more: false }
    const address = await startLyingRelay(t, (question) => sealReply(question, reply), { features: [] })
    const { alice, bob } = await couple(t, [address], [address])
    const home = await Home.open(bob.home)
    const owner = alice.client.identity

    const { failures } = await bob.client.pull()
    const saved = await home.cursor(address.key, owner)
    await home.advance(address.key, owner, reply.cursor)
    await bob.client.pull()

    t.match(failures, [{ error: { code: 'ERR_UNTRUSTED' } }])
    t.equal(saved, undefined)
    t.equal(await home.cursor(address.key, owner), undefined)
  },
)

t.test('a new epoch is begun where the old one was left, at the latest', async (t) => {
  const now = 10_000_000
  const cursor = `${epoch}.${5000 * 1024}`
  const gone = (resumeTs: unknown, signed = true) =>
    new Refused('relay', { code: 'ERR_EXPIRED', error: 'gone', signed, extras: { resumeTs } })
  const table = [
    [gone(42), { afterTs: 42 }],
    [gone(8e12), { afterTs: 5000 }],
    [gone('x'), { afterTs: 0 }],
    [gone(-5), { afterTs: 0 }],
    [gone(42, false), undefined],
    [new Error('gone'), undefined],
  ] as const
  for (const [error, start] of table) t.same(resumeAfter(error, cursor, now), start)
  t.same(resumeAfter(gone(8e12), `${epoch}.8000000000000000`, now), {
    afterTs: now + protocolLimits.freshFutureMs,
  })
})

t.test('an unsigned refusal drops nothing: the message waits and goes up later', async (t) => {
  const { tap, alice, bob } = await tapped(t)
  const to = await friendOf(alice, 'Bob')
  for (const code of ['ERR_CONFLICT', 'ERR_EXPIRED', 'ERR_FORBIDDEN', 'ERR_TOO_LARGE']) {
    tap.says = plain(code)
    const sent = await alice.client.send(to, code)
    t.match(sent, { state: 'queued', failures: [{ error: { code, signed: false } }] })
    const flushed = await alice.client.flush({ attempts: 1 })
    t.match(flushed, { delivered: 0 })
  }
  t.ok((await alice.client.outbox()).every(({ state }) => state === 'queued'))
  tap.says = undefined

  const flushed = await alice.client.flush()
  const { messages } = await bob.client.pull()

  t.match(flushed, { delivered: 4, queued: 0 })
  t.equal((await texts(messages)).length, 4)
})

t.test('an unsigned refusal deletes nothing and loses no file', async (t) => {
  const { tap, alice, bob } = await tapped(t)
  const to = await friendOf(alice, 'Bob')
  const { recordId } = await alice.client.send(to, 'to be deleted')
  Object.assign(tap, { to: '"delete"', says: plain('ERR_NOT_FOUND') })
  await alice.client.delete(recordId)
  tap.says = undefined
  await alice.client.flush()
  await forge(alice, { chunks: ['chunk-1'], size: 4 }, { 'chunk-1': toUtf8('four') })
  const pulled = await bob.client.pull()
  Object.assign(tap, { to: '"read"', says: plain('ERR_MALFORMED') })

  const { files } = await bob.client.finish({ attempts: 1 })

  t.same(await texts(pulled.messages), [])
  t.same(files, [])
  t.match(bob.notices.at(-1), { type: 'transfer-failed', error: { code: 'ERR_MALFORMED', signed: false } })
})

/** A record from Alice to Bob whose plaintext is what it is. */
async function write(alice: Person, bob: Person, options: { relay: RelayAddress; text: string; id: string }) {
  const { relay, text, id } = options
  const key = await openKeyFile(join(alice.home, 'key.json'))
  const to = bob.client.identity
  const name = { protocolID: RECORD_PROTOCOL, keyID: id, counterparty: to }
  const content = toBase64(key.encryptBytes(toUtf8(toBase64(toUtf8(text))), name))
  const request = { type: 'write' as const, recordId: id, ttl: 60, tag: '', content, relays: [relay.key] }
  const record = decodeRecord((await seal({ to, timestamp: Date.now(), request }, key)).text)
  await new Connection(relay, fromKeyWallet(key)).write(record)
}

t.test('a payload nested 20 000 deep is a damaged message among others', async (t) => {
  const { relay, alice, bob } = await honest(t)
  const to = await friendOf(alice, 'Bob')
  const text = `{"type":"x","a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`
  await alice.client.send(to, 'before')
  await write(alice, bob, { relay, text, id: 'deep' })
  await alice.client.send(to, 'after')

  const pulled = await relayCommand(bob.home, ['pull'])
  const inbox = await relayCommand(bob.home, ['inbox', '--human'])

  t.equal(pulled.code, 0)
  t.same(pulled.rows.map(({ payload }) => payload.type).sort(), ['damaged', 'text', 'text'])
  t.equal(inbox.code, 0)
  t.match(inbox.stdout, /before[\s\S]*after/)
})

t.test('a time beyond what a date can say is shown as its number', async (t) => {
  t.equal(timeText(9e15), '9000000000000000')
  t.equal(timeText(0), '1970-01-01 00:00:00 UTC')
})

/** Sends a `file` record of our own making with chunks of any kind. */
async function forge(
  alice: Person,
  head: Partial<Payload & { size: number }> | object,
  chunks: Record<string, Uint8Array>,
) {
  const to = await friendOf(alice, 'Bob')
  const wallet = fromKeyWallet(await openKeyFile(join(alice.home, 'key.json')))
  const home = await Home.open(alice.home)
  const ctx = createContext({ home, wallet, quorum: 1, now: Date.now, notify: () => {} })
  for (const [recordId, bytes] of Object.entries(chunks)) {
    const payload = { type: 'chunk' as const, size: bytes.length }
    await post(ctx, { to: to.key, recordId, tag: 'chunk', payload, bytes })
  }
  const file = { type: 'file', name: 'bomb.bin', chunkBytes: 4, sha256: '0'.repeat(64), ...head }
  await alice.client.send(to, file as Payload)
}

t.test('a file that names a chunk or a list of chunks again and again is not written', async (t) => {
  const { alice, bob } = await honest(t)
  await forge(alice, { size: 12, chunks: ['a', 'a', 'a'] }, { a: toUtf8('four') })
  await forge(alice, { size: 16, parts: ['p', 'p'] }, { p: toUtf8('["a","b"]'), b: toUtf8('four') })
  await forge(alice, { size: 8, parts: ['q', 'r'] }, { q: toUtf8('["a"]'), r: toUtf8('["a"]') })
  await forge(alice, { size: 4, parts: ['s', 'u'] }, { s: toUtf8('["a","b"]') })
  await bob.client.pull()

  const { files } = await bob.client.finish()

  t.equal(files.length, 4)
  t.ok(files.every(({ state }) => state === 'failed'))
  t.same(
    readdirSync(join(bob.home, 'transfers')).filter((name) => name.endsWith('.part')),
    [],
  )
})

t.test('a large file waits until it is asked for, and no file takes the last of the disk', async (t) => {
  const { alice, bob } = await honest(t)
  await forge(alice, { size: 8, chunks: ['a', 'b'] }, { a: toUtf8('four'), b: toUtf8('more') })
  await bob.client.pull()

  const small = await bob.client.finish({ maxFileBytes: 7 })
  const full = await bob.client.finish({ keepFreeBytes: Number.MAX_SAFE_INTEGER })
  const shown = await relayCommand(bob.home, ['pull', '--max-file', '7', '--human'], { tty: true })
  const asked = await relayCommand(bob.home, ['pull', '--max-file', '8B'])

  t.match(small.files, [{ state: 'waiting' }])
  t.same(full.files, [])
  t.match(bob.notices.at(-1), { type: 'transfer-failed', error: { code: 'ERR_NO_SPACE' } })
  t.match(shown.stdout, /bomb\.bin \(8 B\) waits/)
  t.match(asked.rows, [{ event: 'file', state: 'failed' }], 'fetched, and found not to have its hash')
  t.equal((await relayCommand(bob.home, ['pull', '--max-file', 'big'])).code, 2)
  t.equal(sizeBytes('2GiB', 'x'), 2 ** 31)
  t.equal(sizeBytes('5MB', 'x'), 5e6)
})

t.test('acks leave no more marks than a relay that was offered a record may give it away', async (t) => {
  const { relay, alice, bob } = await honest(t)
  const { recordId } = await alice.client.send(await friendOf(alice, 'Bob'), 'hi')
  const to = await friendOf(bob, 'Alice')
  const before = readdirSync(join(alice.home, 'outbox')).length
  const ack = (key: string) => {
    const pull = (_: unknown, index: number) => ({ recordId, re: `${index}`.padStart(64, '0'), bytes: 1 })
    return { type: 'ack' as const, relay: key, pulls: Array.from({ length: 50 }, pull) }
  }

  for (const key of [relay.key, relay.key, `02${'ab'.repeat(32)}`]) await bob.client.send(to, ack(key))
  await alice.client.pull()

  t.equal(readdirSync(join(alice.home, 'outbox')).length, before + 4)
  t.match(await alice.client.outbox(), [{ state: 'acknowledged', pulledFrom: [relay.key] }])
})

const endless: Record<string, (question: Question, count: number) => object> = {
  'stands still': () => ({ result: [], cursor: `${epoch}.5`, more: true }),
  'goes round': (_, count) => ({ result: [], cursor: `${epoch}.${5 + (count % 2)}`, more: true }),
  'is longer than was asked for': ({ from }) => ({
    result: Array.from({ length: 101 }, (_, index) => entry(from, index)),
    cursor: `${epoch}.5`,
    more: false,
  }),
}

const entry = (from: string, index: number) => ({
  path: `/02${'ab'.repeat(32)}/outbox/${from}/r${index}`,
  ...{ at: 1, bytes: 1, tag: '', expires: 9 },
})

for (const [name, page] of Object.entries(endless)) {
  t.test(`a list that ${name} is not read on`, async (t) => {
    t.testdir()
    let count = 0
    const answer = (question: Question) => sealReply(question, page(question, count++))
    const address = await startLyingRelay(t, answer, { features: ['detail'] })
    const { bob } = await couple(t, [address], [address])

    const { failures } = await bob.client.pull()
    const [strangers] = await bob.client.strangers()

    t.match(failures, [{ error: { code: 'ERR_UNTRUSTED' } }])
    t.match(strangers, { entries: [], error: { code: 'ERR_UNTRUSTED' } })
    t.ok(count < 20, `${count} pages`)
  })
}

t.test('a list that goes on is read on, empty pages included', async (t) => {
  const pages = new PageCheck()
  for (let place = 1; place < 10; place++) {
    const reply = { result: [], cursor: `${epoch}.${place}`, more: true }
    t.doesNotThrow(() => pages.take({ reply, limit: 1, now: 0 }))
  }
})

t.test('what a relay says is cut and cleaned before it is shown', async (t) => {
  t.testdir()
  const description = `\u001b[31m\u202e\n${'y'.repeat(1_000_000)}`
  const address = await startLyingRelay(t, () =>
    JSON.stringify({ status: 'error', code: 'ERR_FORBIDDEN', description }),
  )
  const { bob } = await couple(t, [address], [address])

  const { failures } = await bob.client.pull()

  const { message } = failures[0]!.error
  t.ok(message.length < 500)
  t.notMatch(message, /[\p{Cc}\p{Cf}]/u)
})
