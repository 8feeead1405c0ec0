/** What each request of docs/protocol.md §4.2 does, for whom, and within which limits. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { fromHex } from '../../market/bytes.ts'
import { decodeRecord, formatPath } from '../../market/record.ts'
import { verifyMerklePath } from '../../market/merkle.ts'
import { checkReceipt } from '../../contracts/receipt.ts'
import { openRelay, start } from '../fixtures/relay.ts'
import { actor, ask, askSigned, post, postSigned, sealRecord } from '../fixtures/wire.ts'

const hour = 3_600_000

t.test('a written record is read byte for byte, and its receipt is about these bytes', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  for (const size of [1, 1023, 1024, 1025, 5000, 70_000]) {
    const record = await sealRecord(relay, alice, bob, { content: randomBytes(size), tag: 'täg "\\' })

    const written = await postSigned(relay, record)
    const read = await ask(relay, bob, { type: 'read', path: record.path })

    checkReceipt(written.receipt, decodeRecord(record.text), { firstSent: start, now: start })
    t.match(written.receipt, { at: start, paidUntil: start + hour, maxPulls: 4, charge: { reserved: '0' } })
    t.equal(read.text, record.text)
  }
})

t.test('who may is decided by the request alone, whether or not the record exists', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob, mallory] = [actor(), actor(), actor()]
  const record = await sealRecord(relay, alice, bob)
  await postSigned(relay, record)
  const missing = formatPath({ owner: alice.identity, receiver: bob.identity, recordId: 'missing' })
  const inner = await sealRecord(relay, alice, bob)
  const forged = JSON.parse(inner.text.replace('"tag":"test"', '"tag":"tent"'))

  for (const path of [record.path, missing]) {
    for (const who of [alice, mallory])
      t.match(await askSigned(relay, who, { type: 'read', path }), { code: 'ERR_FORBIDDEN' })
    for (const who of [bob, mallory])
      t.match(await askSigned(relay, who, { type: 'prove', path, index: 0 }), { code: 'ERR_FORBIDDEN' })
  }
  t.match(await askSigned(relay, bob, { type: 'store', record: JSON.parse(inner.text) }), {
    code: 'ERR_FORBIDDEN',
  })
  t.match(await askSigned(relay, alice, { type: 'store', record: forged }), { code: 'ERR_BAD_SIGNATURE' })
  const { recordId } = record.msg.request as any
  t.match(await askSigned(relay, mallory, { type: 'delete', recordId }), { result: true, receipt: null })
  t.equal(
    (await ask(relay, bob, { type: 'read', path: record.path })).text,
    record.text,
    'nothing was deleted',
  )
  t.match(
    await askSigned(relay, bob, { type: 'read', path: inner.path }),
    { result: null },
    'nothing was stored',
  )
  t.match(await askSigned(relay, mallory, { type: 'inventory' }), { result: [] })
  t.match(await askSigned(relay, mallory, { type: 'inventory', owner: alice.identity }), { result: [] })
})

t.test('an id means one record: the same again gives its receipt, another is a conflict', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob, { recordId: 'x' })
  const others = [
    await sealRecord(relay, alice, bob, { recordId: 'x' }),
    await sealRecord(relay, alice, actor(), { recordId: 'x' }),
  ]
  const { receipt } = await postSigned(relay, record)
  relay.clock.ms += 1000

  t.same((await postSigned(relay, record)).receipt, receipt)
  t.same((await askSigned(relay, alice, { type: 'store', record: JSON.parse(record.text) })).receipt, receipt)
  for (const other of others) t.match(await postSigned(relay, other), { code: 'ERR_CONFLICT' })
  t.match(await postSigned(relay, await sealRecord(relay, actor(), bob, { recordId: 'x' })), { result: true })
  for (let pull = 0; pull < 4; pull += 1) await ask(relay, bob, { type: 'read', path: record.path })
  t.match(await askSigned(relay, bob, { type: 'read', path: record.path }), { result: null }, 'used up')
  t.same((await postSigned(relay, record)).receipt, receipt, 'a used-up record still holds its id')
  t.match(await postSigned(relay, others[0]!), { code: 'ERR_CONFLICT' })
})

t.test('a tombstone lasts for the rest of the life of the record, at most an hour', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  for (const [ttl, lasts] of [
    [600, 600_000],
    [7200, hour],
  ] as const) {
    const sealedAt = relay.clock.ms
    const record = await sealRecord(relay, alice, bob, { recordId: `ttl-${ttl}`, ttl })
    const store = async () => askSigned(relay, alice, { type: 'store', record: JSON.parse(record.text) })
    const remove = async () => askSigned(relay, alice, { type: 'delete', recordId: `ttl-${ttl}` })
    await postSigned(relay, record)

    const { receipt } = await remove()

    t.same(receipt, { path: record.path, at: sealedAt })
    t.match(await askSigned(relay, bob, { type: 'read', path: record.path }), { result: null })
    t.match(await askSigned(relay, alice, { type: 'prove', path: record.path, index: 0 }), {
      code: 'ERR_NOT_FOUND',
    })
    t.match(await askSigned(relay, bob, { type: 'inventory' }), { result: [] })
    t.match(await postSigned(relay, record), { code: 'ERR_CONFLICT' }, 'the identical one too')
    relay.clock.ms = sealedAt + lasts - 1
    t.same((await remove()).receipt, receipt, 'repeated, the same receipt')
    t.match(await store(), { code: 'ERR_CONFLICT' })
    relay.clock.ms = sealedAt + lasts
    t.match(await remove(), { receipt: null })
    t.match(await store(), lasts === hour ? { result: true } : { code: 'ERR_EXPIRED' })
    await remove()
  }
  t.match(await askSigned(relay, alice, { type: 'delete', recordId: 'unknown' }), {
    result: true,
    receipt: null,
  })
})

t.test('a record is absent from the millisecond it expires', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob, { recordId: 'x', ttl: 60 })
  await postSigned(relay, record)
  const read = () => ask(relay, bob, { type: 'read', path: record.path })
  const listed = async () => [
    (await askSigned(relay, bob, { type: 'inventory' })).result.length,
    (await askSigned(relay, alice, { type: 'inventory', owner: alice.identity })).result.length,
  ]

  relay.clock.ms = start + 59_999
  t.equal((await read()).text, record.text)
  t.same(await listed(), [1, 1])
  relay.clock.ms = start + 60_000
  t.match((await read()).reply, { result: null })
  t.same(await listed(), [0, 0])
  t.match(await askSigned(relay, alice, { type: 'prove', path: record.path, index: 0 }), {
    code: 'ERR_NOT_FOUND',
  })
  t.match(await askSigned(relay, alice, { type: 'delete', recordId: 'x' }), { receipt: null })
  t.match(await postSigned(relay, record), { code: 'ERR_EXPIRED' })
  t.match(
    await postSigned(relay, await sealRecord(relay, alice, bob, { recordId: 'x' })),
    { result: true },
    'its id is free',
  )
})

t.test('limits of a record have their codes, and a record at the limits is stored', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'recordBytes=3000', '--limit', 'ttl=86400'])
  const [alice, bob] = [actor(), actor()]
  const write = async (given: Parameters<typeof sealRecord>[3]) =>
    post(relay.url, (await sealRecord(relay, alice, bob, given)).text)
  const relays = [relay.key, ...Array.from({ length: 7 }, () => actor().identity)]
  const most = { content: randomBytes(3000), ttl: 86_400, relays, recordId: `_${'~'.repeat(127)}` }

  const tooMuch = await write({ content: randomBytes(3001) })
  const tooLong = await write({ ttl: 86_401 })

  t.match(tooMuch, { status: 413, reply: { type: 'reply', code: 'ERR_TOO_LARGE' } })
  t.match(tooLong, { status: 429, reply: { type: 'reply', code: 'ERR_LIMIT' } })
  t.notOk('retryAfterMs' in tooLong.reply, 'waiting does not help')
  t.match(await write({ ...most, tag: '"'.repeat(128), maxPulls: Number.MAX_SAFE_INTEGER }), { status: 200 })
  for (const tag of ['', '\\'.repeat(128), 'é'.repeat(64), '\u{1F4E6}'.repeat(32)])
    t.match(await write({ tag }), { status: 200 })
  const [entry] = (await askSigned(relay, bob, { type: 'inventory', detail: true })).result
  t.equal(entry.tag, '"'.repeat(128))
  const malformed = [
    { tag: 'a'.repeat(129) },
    { tag: 'a\u0007' },
    { tag: '\u0085' },
    { ttl: 0 },
    { ttl: Number.MAX_SAFE_INTEGER },
    { maxPulls: 0 },
    { recordId: '.x' },
    { recordId: 'x'.repeat(129) },
    { relays: [...relays, actor().identity] },
    { relays: [relay.key, relay.key] },
  ]
  for (const given of malformed)
    t.match(await write(given), { status: 400, body: { code: 'ERR_MALFORMED' } }, JSON.stringify(given))
})

t.test('store takes a record of any age, none of the future and none that expired', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const store = async (given: Parameters<typeof sealRecord>[3]) => {
    const record = await sealRecord(relay, alice, bob, { relays: [bob.identity], ...given })
    return {
      record,
      reply: await askSigned(relay, alice, { type: 'store', record: JSON.parse(record.text) }),
    }
  }
  const day = 86_400_000

  const old = await store({ timestamp: start - 30 * day, ttl: 31 * 86_400 })
  t.match(old.reply, { result: true, receipt: { path: old.record.path, at: start, expires: start + day } })
  t.equal((await ask(relay, bob, { type: 'read', path: old.record.path })).text, old.record.text)
  t.match((await store({ timestamp: start + 10_000 })).reply, { result: true })
  t.match((await store({ timestamp: start + 10_001 })).reply, { code: 'ERR_MALFORMED' })
  t.match((await store({ timestamp: start - 3_599_999 })).reply, { result: true })
  t.match((await store({ timestamp: start - 3_600_000 })).reply, { code: 'ERR_EXPIRED' })
  const bare = await sealRecord(relay, alice, bob, { timestamp: start - 120_001 })
  t.match(await postSigned(relay, bare), { code: 'ERR_STALE' }, 'bare, an old record is refused')
})

t.test('a proof of any leaf verifies against the root of the receipt', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await sealRecord(relay, alice, bob, { content: randomBytes(10 * 1024 + 1), maxPulls: 1 })
  const { receipt } = await postSigned(relay, record)
  const prove = (index: number) => askSigned(relay, alice, { type: 'prove', path: record.path, index })

  for (const index of [0, 5, 10]) {
    const { result } = await prove(index)

    const leaf = Buffer.from(result.data, 'base64')
    const path = result.path.map(fromHex)
    t.ok(
      verifyMerklePath(fromHex(receipt.root), { leaf, index, bytes: receipt.bytes, path }),
      `leaf ${index}`,
    )
    t.match(result, { index, size: receipt.bytes })
  }
  t.match(await prove(11), { code: 'ERR_NOT_FOUND' })
  t.match(await prove(Number.MAX_SAFE_INTEGER), { code: 'ERR_NOT_FOUND' })
  t.equal(
    (await ask(relay, bob, { type: 'read', path: record.path })).text,
    record.text,
    'a proof is no pull',
  )
  t.match(await prove(0), { result: { index: 0 } }, 'a used-up record can be proven')
})

t.test('a quote costs nothing where nothing is charged', async (t) => {
  const relay = await openRelay(t)
  const { result } = await askSigned(relay, actor(), {
    type: 'quote',
    bytes: 1e9,
    ttl: 86_400,
    maxPulls: 100,
  })

  t.same(result, {
    satoshis: '0',
    prices: { storageGBDay: 0, egressGB: 0, ingressGB: 0 },
    expires: start + 600_000,
  })
})
