/** Many requests in one body, answered with one signature: docs/protocol.md §3.5. */
import { createHash, randomBytes } from 'node:crypto'
import t from 'tap'
import { BatchReplyEnvelope, Refusal, replies as schemas } from '../../contracts/api.ts'
import { decode, type Sealed, verify } from '../../market/envelope.ts'
import { openRelay, start } from '../fixtures/relay.ts'
import {
  type Actor,
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

/** The answers to a batch, held against the documents: signed once, to the first who signed, about this text. */
async function batch(relay: Target, requests: readonly Sealed<any>[], to: Actor): Promise<any[]> {
  const text = `[${requests.map((request) => request.text).join(',')}]`
  const answer = await post(relay.url, text)
  const { msg } = verify(decode<any>(answer.text, BatchReplyEnvelope as any))
  const { type, re, replies } = msg.request
  const hash = createHash('sha256').update(text).digest('hex')
  t.same([answer.status, msg.from, msg.to, type, re], [200, relay.key, to.identity, 'replies', hash])
  t.same(
    replies.map((reply: any) => reply.re),
    requests.map((request) => request.hash),
  )
  for (const [i, { re, record, ...fields }] of replies.entries()) {
    const type = requests[i]!.msg.request.type as keyof typeof schemas
    if (record === undefined) ('code' in fields ? Refusal : schemas[type]).parse(fields)
  }
  return replies
}

t.test(
  'elements take effect in order, and a listing shows what was done before it and nothing after',
  async (t) => {
    const relay = await openRelay(t)
    const [alice, bob] = [actor(), actor()]
    const record = await sealRecord(relay, alice, bob, { recordId: 'x', maxPulls: 1 })
    const inventory = () => sealFor(relay, bob, { type: 'inventory' })
    const read = () => sealFor(relay, bob, { type: 'read', path: record.path })
    const other = await sealRecord(relay, alice, bob)

    const answers = await batch(
      relay,
      [
        await inventory(),
        record,
        await inventory(),
        await sealFor(relay, alice, { type: 'read', path: record.path }), // refused at once: nobody may overtake the write
        await inventory(),
        await read(),
        await read(),
        await inventory(),
        await sealFor(relay, alice, { type: 'prove', path: record.path, index: 0 }),
        await sealFor(relay, alice, { type: 'delete', recordId: 'x' }),
        await sealFor(relay, alice, { type: 'inventory', owner: alice.identity }),
        record,
        await sealFor(relay, alice, { type: 'store', record: JSON.parse(other.text) }),
        await inventory(),
      ],
      bob,
    )

    t.match(answers, [
      { result: [] },
      { result: true, receipt: { path: record.path, at: start } },
      { result: [record.path] },
      { code: 'ERR_FORBIDDEN' },
      { result: [record.path] },
      { record: JSON.parse(record.text) },
      { result: null },
      { result: [] },
      { result: { index: 0 } },
      { result: true, receipt: { path: record.path } },
      { result: [] },
      { code: 'ERR_CONFLICT' },
      { result: true, receipt: { path: other.path } },
      { result: [other.path] },
    ])
    t.equal(JSON.stringify(answers[5].record), record.text, 'a record keeps its bytes')
  },
)

t.test(
  'what cannot be attributed is answered in its place without re; the first who signed is answered',
  async (t) => {
    const relay = await openRelay(t)
    const [alice, bob] = [actor(), actor()]
    const good = await sealFor(relay, alice, { type: 'inventory' })
    const second = await sealFor(relay, bob, { type: 'inventory' })
    const forged = (await sealFor(relay, actor(), { type: 'delete', recordId: 'x' })).text.replace(
      '"x"',
      '"y"',
    )
    const stale = await sealFor(relay, alice, { type: 'inventory' }, { timestamp: start - 120_001 })
    const elsewhere = await sealFor(relay, alice, { type: 'inventory' }, { to: bob.identity })

    const texts = ['1', '{}', forged, elsewhere.text, stale.text, second.text, good.text, good.text]
    const { status, body, reply } = await postBatch(relay.url, texts)

    t.equal(status, 200)
    t.equal(body.msg.to, alice.identity, 'a stale message is attributed too')
    const malformed = { re: undefined, code: 'ERR_MALFORMED' }
    const expected = [
      malformed,
      malformed,
      { re: undefined, code: 'ERR_BAD_SIGNATURE' },
      { re: undefined, code: 'ERR_WRONG_RELAY' },
      { re: stale.hash, code: 'ERR_STALE', time: start },
      { re: second.hash, result: [] },
      { re: good.hash, result: [] },
      { re: good.hash, code: 'ERR_REPLAYED' },
    ]
    t.match(reply.replies, expected)
    t.match(await postBatch(relay.url, [forged, '1']), {
      status: 400,
      body: { status: 'error', code: 'ERR_MALFORMED' },
    })
  },
)

t.test('a batch is refused whole when it is not canonical, empty or too long', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'batch=4'])
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob)
  const seal = async () => (await sealFor(relay, alice, { type: 'delete', recordId: 'x' })).text
  const four = [await seal(), await seal(), await seal(), await seal()]
  const loose = (await seal()).replace('{"from"', '{ "from"')

  const malformed = { status: 400, body: { status: 'error', code: 'ERR_MALFORMED' } }
  t.match(await postBatch(relay.url, [record.text, loose]), malformed)
  t.match(await post(relay.url, `[${record.text}, ${four[0]}]`), malformed)
  t.match(await post(relay.url, `[${record.text}`), malformed)
  t.match(await post(relay.url, '[]'), malformed)
  const tooLong = await postBatch(relay.url, [record.text, ...four])
  t.match(tooLong, { status: 413, body: { status: 'error', code: 'ERR_TOO_LARGE' } })
  t.match(await askSigned(relay, bob, { type: 'inventory' }), { result: [] }, 'nothing was carried out')
  t.match(await postBatch(relay.url, four), { status: 200 })
})

t.test('what does not fit into the answer is not carried out and may be sent again', async (t) => {
  const limits = ['recordBytes=12000', 'replyBytes=60000', 'batch=16', 'page=10']
  const relay = await openRelay(t, ['--open', ...limits.flatMap((limit) => ['--limit', limit])])
  const [alice, bob] = [actor(), actor()]
  const records = await Promise.all(
    Array.from({ length: 5 }, () =>
      sealRecord(relay, alice, bob, { content: randomBytes(12_000), maxPulls: 1 }),
    ),
  )
  for (const record of records) await postSigned(relay, record)
  const reads = await Promise.all(records.map(({ path }) => sealFor(relay, bob, { type: 'read', path })))

  const first = await batch(relay, reads, bob)

  const refused = reads.filter((_, i) => first[i].record === undefined)
  t.ok(refused.length > 0 && refused.length < 5)
  for (const answer of first.slice(5 - refused.length))
    t.match(answer, { code: 'ERR_LIMIT', retryAfterMs: 0 })
  t.match(
    await askSigned(relay, bob, { type: 'inventory' }),
    { result: { length: refused.length } },
    'they cost no pull',
  )
  let left = refused
  for (let round = 0; left.length > 0 && round < 5; round += 1) {
    const answers = await batch(relay, left, bob)
    left = left.filter((_, i) => answers[i].record === undefined)
  }
  t.same(left, [], 'every record is read in the end')
})

t.test('the answer is bounded whatever the elements are', async (t) => {
  const limits = ['recordBytes=12000', 'replyBytes=60000', 'batch=16', 'page=10']
  const relay = await openRelay(t, ['--open', ...limits.flatMap((limit) => ['--limit', limit])])
  const [alice, bob] = [actor(), actor()]
  const given = { content: randomBytes(12_000), maxPulls: 100 }
  const size = async (texts: string[]) => (await postBatch(relay.url, texts)).text.length

  const record = await sealRecord(relay, alice, bob, given)
  const reads = await Promise.all(
    Array.from({ length: 15 }, () => sealFor(relay, bob, { type: 'read', path: record.path })),
  )
  t.ok(
    (await size([record.text, ...reads.map(({ text }) => text)])) <= 60_000,
    'records written by the same batch',
  )

  const longest = { recordId: 'x'.repeat(127), tag: '"'.repeat(128), ttl: 30_000_000 }
  for (let i = 0; i < 10; i += 1) {
    await postSigned(
      relay,
      await sealRecord(relay, alice, bob, { ...longest, recordId: longest.recordId + i }),
    )
  }
  const lists = await Promise.all(
    Array.from({ length: 16 }, () => sealFor(relay, bob, { type: 'inventory', detail: true, limit: 10 })),
  )
  const listed = await postBatch(
    relay.url,
    lists.map(({ text }) => text),
  )
  t.ok(listed.text.length <= 60_000, 'longest entries')
  t.ok(listed.reply.replies.filter((reply: any) => reply.result?.length === 10).length >= 3)

  const quoted = `{"msg":{"${'\u0001x'.repeat(3000).replaceAll('\u0001', '\\u0001')}":1}}`
  const good = await sealFor(relay, bob, { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 })
  t.ok(
    (await size([good.text, ...Array<string>(15).fill(quoted)])) <= 60_000,
    'refusals that quote what was sent',
  )
  t.match(await ask(relay, bob, { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 }), { status: 200 })
})

t.test('listen is for WebSockets, and a batch is for HTTP', async (t) => {
  const relay = await openRelay(t)
  const bob = actor()
  const listen = await sealFor(relay, bob, { type: 'listen', afterTs: 0 })
  const inventory = await sealFor(relay, bob, { type: 'inventory' })

  t.match(await batch(relay, [listen, inventory], bob), [{ code: 'ERR_MALFORMED' }, { result: [] }])
  t.match(await askSigned(relay, bob, { type: 'listen', afterTs: 0 }), { code: 'ERR_MALFORMED' })
  const socket = await openSocket(relay.url)
  socket.send(`[${(await sealFor(relay, bob, { type: 'inventory' })).text}]`)
  t.match(await socket.next(), { status: 'error', code: 'ERR_MALFORMED' })
  socket.close()
})
