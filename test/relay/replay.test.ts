/** One request, one effect, whatever is repeated over whatever transport: docs/protocol.md §3.3, §4.3. */
import { BigNumber, ECDSA } from '@bsv/sdk'
import t from 'tap'
import { fromHex } from '../../market/bytes.ts'
import { type Sealed, seal } from '../../market/envelope.ts'
import { childPrivateKey, invoiceNumber, MESSAGE_KEY_ID, MESSAGE_PROTOCOL } from '../../market/identity.ts'
import { identityOf } from '../fixtures/keys.ts'
import { openRelay, start, startTestRelay } from '../fixtures/relay.ts'
import {
  actor,
  ask,
  askSigned,
  openSocket,
  post,
  postBatch,
  postSigned,
  sealFor,
  sealRecord,
  type Target,
} from '../fixtures/wire.ts'

/** The text of the record in an answer, or the fields of the reply. */
type Outcome = string | { code?: string; result?: unknown; receipt?: unknown }

const outcomeOf = (body: any): Outcome =>
  body.msg?.request.type === 'write' ? JSON.stringify(body) : (body.msg?.request ?? body)

const transports: { [name: string]: (relay: Target, sealed: Sealed) => Promise<Outcome> } = {
  http: async (relay, { text }) => outcomeOf((await post(relay.url, text)).body),
  batch: async (relay, { text }) => {
    const [answer] = (await postBatch(relay.url, [text])).reply.replies
    return answer.record === undefined ? answer : JSON.stringify(answer.record)
  },
  socket: async (relay, { text }) => {
    const socket = await openSocket(relay.url)
    socket.send(text)
    return outcomeOf(await socket.next().finally(() => socket.close()))
  },
}
const { http, batch, socket } = transports as Record<'http' | 'batch' | 'socket', (typeof transports)['http']>
const replayed = { code: 'ERR_REPLAYED' }

t.test(
  'write, store and delete repeated get their result and receipt again, over any transport',
  async (t) => {
    const relay = await openRelay(t)
    const [alice, bob] = [actor(), actor()]
    const record = await sealRecord(relay, alice, bob, { recordId: 'a' })
    const other = await sealRecord(relay, alice, bob, { recordId: 'b' })
    const store = await sealFor(relay, alice, { type: 'store', record: JSON.parse(other.text) })
    const remove = await sealFor(relay, alice, { type: 'delete', recordId: 'a' })

    for (const request of [record, store, remove]) {
      const { result, receipt } = await postSigned(relay, request)
      t.match({ result, receipt }, { result: true, receipt: { at: start } })
      relay.clock.ms += 1
      for (const [name, send] of Object.entries(transports)) {
        t.match(await send(relay, request), { re: request.hash, result, receipt }, name)
      }
      relay.clock.ms = start
    }
    t.match(await http(relay, record), { code: 'ERR_CONFLICT' }, 'but after the delete the write is refused')
  },
)

t.test('an answered read is answered three times more, by the same bytes, and is one pull', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  for (const order of [
    [http, batch, socket, http],
    [batch, socket, http, batch],
    [socket, http, batch, socket],
  ]) {
    const record = await sealRecord(relay, alice, bob, { maxPulls: 2 })
    await postSigned(relay, record)
    const read = await sealFor(relay, bob, { type: 'read', path: record.path })

    for (const send of order) t.equal(await send(relay, read), record.text)

    for (const send of order) t.match(await send(relay, read), replayed)
    t.equal((await ask(relay, bob, { type: 'read', path: record.path })).text, record.text, 'the second pull')
    t.match(await askSigned(relay, bob, { type: 'read', path: record.path }), { result: null })
  }
})

t.test('a read that was answered with null or an error is not answered by a record later', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob)
  const early = await sealFor(relay, bob, { type: 'read', path: record.path })
  const forbidden = await sealFor(relay, alice, { type: 'read', path: record.path })
  t.match(await http(relay, early), { result: null })
  t.match(await http(relay, forbidden), { code: 'ERR_FORBIDDEN' })
  await postSigned(relay, record)

  for (const send of Object.values(transports)) {
    t.match(await send(relay, early), replayed)
    t.match(await send(relay, forbidden), replayed)
  }
})

t.test('deletion and expiry win over a repeat', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  for (const end of ['delete', 'expiry']) {
    const record = await sealRecord(relay, alice, bob, { recordId: end, ttl: 60 })
    await postSigned(relay, record)
    const read = await sealFor(relay, bob, { type: 'read', path: record.path })
    t.equal(await http(relay, read), record.text)
    if (end === 'delete') await askSigned(relay, alice, { type: 'delete', recordId: end })
    else relay.clock.ms += 60_000

    t.match(await http(relay, read), { result: null }, end)
  }
})

t.test('inventory, quote, prove and listen are answered once', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob)
  await postSigned(relay, record)
  const requests = [
    { type: 'inventory' },
    { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 },
    { type: 'prove', path: record.path, index: 0 },
    { type: 'prove', path: record.path, index: 9 },
    { type: 'listen', afterTs: start },
  ]
  for (const request of requests) {
    const sealed = await sealFor(relay, alice, request)
    const first = (await socket(relay, sealed)) as { code?: string }
    t.equal(first.code, 'index' in request && request.index === 9 ? 'ERR_NOT_FOUND' : undefined)
    for (const send of Object.values(transports)) t.match(await send(relay, sealed), replayed, request.type)
  }
})

t.test('another signature of the same bytes is the same request', async (t) => {
  const relay = await openRelay(t)
  const signer = identityOf('replayer')
  const invoice = invoiceNumber(MESSAGE_PROTOCOL, MESSAGE_KEY_ID)
  const key = new BigNumber([...childPrivateKey(signer.privateKey, fromHex(signer.identity), invoice)])
  const sign = (digest: Uint8Array) =>
    Uint8Array.from(
      ECDSA.sign(new BigNumber([...digest]), key, true, new BigNumber(12_345)).toDER() as number[],
    )
  const message = { to: relay.key, timestamp: start, nonce: '0'.repeat(16), request: { type: 'inventory' } }
  const [one, two] = [await seal(message, signer), await seal(message, { identity: signer.identity, sign })]
  t.not(one.text, two.text)

  t.match(await http(relay, one), { result: [] })
  t.match(await http(relay, two), replayed)
})

t.test('a restart forgets nothing that was done', async (t) => {
  const data = t.testdir()
  const now = () => start
  const first = await startTestRelay(data, { now })
  const [alice, bob] = [actor(), actor()]
  const target = { ...first, now }
  const last = await sealRecord(target, alice, bob, { maxPulls: 1 })
  const kept = await sealRecord(target, alice, bob, { maxPulls: 2 })
  const gone = await sealRecord(target, alice, bob, { recordId: 'gone' })
  for (const record of [last, kept, gone]) await postSigned(target, record)
  const reads = [last, kept].map(({ path }) => sealFor(target, bob, { type: 'read', path }))
  const [readLast, readKept] = (await Promise.all(reads)) as [Sealed, Sealed]
  const prove = await sealFor(target, alice, { type: 'prove', path: kept.path, index: 0 })
  const remove = await sealFor(target, alice, { type: 'delete', recordId: 'gone' })
  const written = await http(target, kept)
  t.equal(await http(target, readLast), last.text)
  t.equal(await http(target, readKept), kept.text)
  t.match(await http(target, prove), { result: { index: 0 } })
  const { receipt } = (await http(target, remove)) as any
  await first.close()

  const second = await startTestRelay(data, { now })
  t.teardown(() => second.close())
  const again = { ...second, now }

  t.equal(second.key, first.key)
  t.equal(await http(again, readLast), last.text, 'the lost answer to the last pull')
  for (const send of [http, batch, socket]) t.equal(await send(again, readKept), kept.text)
  t.match(await http(again, readKept), replayed, 'at most three times more')
  t.match(await http(again, prove), replayed)
  t.match(await http(again, remove), { result: true, receipt })
  t.match(await http(again, kept), { receipt: (written as any).receipt })
  t.match(await http(again, gone), { code: 'ERR_CONFLICT' })
  t.equal((await ask(again, bob, { type: 'read', path: kept.path })).text, kept.text, 'repeats cost no pull')
  for (const { path } of [kept, last])
    t.match(await askSigned(again, bob, { type: 'read', path }), { result: null })
})

t.test('50 readers at once get exactly maxPulls records, and a lost answer again', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob, { maxPulls: 7 })
  await postSigned(relay, record)
  const reads = await Promise.all(
    Array.from({ length: 50 }, () => sealFor(relay, bob, { type: 'read', path: record.path })),
  )
  const ways = Object.values(transports)

  const outcomes = await Promise.all(reads.map((read, i) => ways[i % ways.length]!(relay, read)))

  const served = reads.filter((_, i) => outcomes[i] === record.text)
  t.equal(served.length, 7)
  t.equal(outcomes.filter((outcome) => typeof outcome !== 'string' && outcome.result === null).length, 43)
  for (const read of served) t.equal(await http(relay, read), record.text)
  t.match(await askSigned(relay, bob, { type: 'read', path: record.path }), { result: null })
})

t.test('50 copies of one read at once are one pull, answered four times', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob, { maxPulls: 2 })
  await postSigned(relay, record)
  const read = await sealFor(relay, bob, { type: 'read', path: record.path })
  const ways = Object.values(transports)

  const outcomes = await Promise.all(
    Array.from({ length: 50 }, (_, i) => ways[i % ways.length]!(relay, read)),
  )

  t.equal(outcomes.filter((outcome) => outcome === record.text).length, 4)
  t.equal(outcomes.filter((outcome) => (outcome as any).code === 'ERR_REPLAYED').length, 46)
  t.equal((await ask(relay, bob, { type: 'read', path: record.path })).text, record.text)
  t.match(await askSigned(relay, bob, { type: 'read', path: record.path }), { result: null })
})

t.test('of two writers racing for one id exactly one gets a receipt', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const ways = Object.values(transports)
  for (let round = 0; round < 18; round += 1) {
    const given = { recordId: `race-${round}` }
    const rivals = [await sealRecord(relay, alice, bob, given), await sealRecord(relay, alice, bob, given)]
    const send = (record: Sealed, i: number) =>
      ways[(round + i * (1 + (round % 2))) % ways.length]!(relay, record)

    const outcomes = (await Promise.all(rivals.map(send))) as { code?: string; result?: unknown }[]

    const winner = outcomes.findIndex(({ result }) => result === true)
    t.equal(outcomes[1 - winner]?.code, 'ERR_CONFLICT')
    t.equal((await ask(relay, bob, { type: 'read', path: rivals[0]!.path })).text, rivals[winner]?.text)
  }
})
