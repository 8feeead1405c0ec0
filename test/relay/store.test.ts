/** What may be done with a stored record: docs/protocol.md §4. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { Proof } from '../../contracts/api.ts'
import { checkReceipt, Receipt } from '../../contracts/receipt.ts'
import { fromBase64, fromHex } from '../../market/bytes.ts'
import { verifyMerklePath } from '../../market/merkle.ts'
import { freePrices } from '../../market/price.ts'
import { protocolLimits } from '../../market/units.ts'
import { bodyKey } from '../../relay/store/keys.ts'
import { Store } from '../../relay/store/store.ts'
import { identityOf } from '../fixtures/keys.ts'
import {
  clock,
  makeDelete,
  makeRead,
  makeRecord,
  openStore,
  pathOf,
  start,
  termsOf,
} from '../fixtures/records.ts'

const written = async (store: Store, facts: Parameters<typeof makeRecord>[0] = {}) => {
  const record = await makeRecord(facts)
  const result = await store.write(record, termsOf(record))
  return { record, result, path: pathOf(record) }
}

t.test('a written record is receipted and read back, every byte as it was signed', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })

  for (const bytes of [1, 2, 3, 1023, 1024, 1025, 5000, 300_000]) {
    const content = randomBytes(bytes)
    const { record, result, path } = await written(store, { content, tag: `"${bytes}" ünï 🙂`, maxPulls: 2 })

    t.equal(result.outcome, 'stored')
    const { receipt } = result as { receipt: Receipt }
    t.strictSame(Receipt.parse(receipt), receipt)
    t.doesNotThrow(() => checkReceipt(receipt, record, { firstSent: start, now: start }))
    t.strictSame(receipt.charge, { prices: freePrices, purse: 'credit', reserved: '0' })
    t.equal(receipt.paidUntil, record.expires)
    t.strictSame(await store.read(makeRead(path, 1)), { outcome: 'record', text: record.text, bytes })
  }
})

t.test(
  'the same record again is a duplicate with the original receipt, another of its id a conflict',
  async (t) => {
    const now = clock()
    const store = await openStore(t, { directory: t.testdir(), now })
    const { record, result } = await written(store, { recordId: 'a' })
    now.ms += 5000

    t.strictSame(await store.write(record, () => ({ ...termsOf(record)(), paidUntil: 1 })), {
      ...result,
      outcome: 'duplicate',
    })
    for (const other of [
      { content: Buffer.from('other') },
      { receiver: identityOf('other').identity },
      { ttl: 9 },
    ]) {
      t.strictSame((await written(store, { recordId: 'a', ...other })).result, { outcome: 'conflict' })
    }
    const mine = await written(store, { recordId: 'a', owner: identityOf('another owner') })
    t.equal(mine.result.outcome, 'stored', 'an id belongs to its owner')
    t.match(store.counters(record.msg.from), { records: 1, bytes: record.content.length })
  },
)

t.test('of two writers racing on one id exactly one wins', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const records = await Promise.all(
    [1, 2].map((n) => makeRecord({ recordId: 'a', content: Buffer.from(`${n}`) })),
  )

  const results = await Promise.all(
    [...records, ...records].map((record) => store.write(record, termsOf(record))),
  )

  t.strictSame(
    results.map(({ outcome }) => outcome),
    ['stored', 'conflict', 'duplicate', 'conflict'],
  )
})

t.test('an expired record counts as absent and its id is free, swept or not', async (t) => {
  const now = clock()
  const store = await openStore(t, { directory: t.testdir(), now })
  const { record, path } = await written(store, { recordId: 'a', ttl: 10 })
  now.ms = record.expires

  t.strictSame(await store.read(makeRead(path, 1, now.ms)), { outcome: 'absent' })
  t.strictSame(await store.delete(makeDelete(path)), { outcome: 'unknown' })
  t.strictSame(await store.write(record, termsOf(record)), { outcome: 'expired' })
  const to = identityOf('someone else').identity
  const next = await written(store, {
    recordId: 'a',
    receiver: to,
    timestamp: now.ms,
    content: Buffer.from('!'),
  })
  t.equal(next.result.outcome, 'stored')
  t.match(store.counters(record.msg.from), { records: 1, bytes: 1 }, 'it replaced the old one')
  const rest = { after: 0, limit: 10 }
  t.strictSame((await store.inventory({ view: { inbox: record.msg.to }, ...rest })).entries, [])
  const outbox = await store.inventory({ view: { outbox: record.msg.from }, ...rest })
  t.strictSame(
    outbox.entries.map((entry) => entry.path),
    [next.record.path],
  )
})

t.test('a deletion is receipted, the same again, and its tombstone refuses the id for an hour', async (t) => {
  const now = clock()
  const store = await openStore(t, { directory: t.testdir(), now })
  const { record, path } = await written(store, { ttl: 7200 })
  now.ms += 1000

  const deleted = await store.delete(makeDelete(path))
  now.ms += 1000
  t.strictSame(deleted, { outcome: 'deleted', receipt: { path: record.path, at: start + 1000 } })
  t.strictSame(await store.delete(makeDelete(path)), deleted)
  t.strictSame(await store.read(makeRead(path, 1)), { outcome: 'absent' })
  t.strictSame(await store.write(record, termsOf(record)), { outcome: 'conflict' }, 'the identical one too')
  t.match(store.counters(path.owner), { records: 0, bytes: 0, ingressBytes: record.content.length })
  t.equal(await store.hasRecords(path.owner), false)
  t.equal(await store.hasRecords(path.receiver), false)

  now.ms = start + 1000 + protocolLimits.tombstoneMs
  t.strictSame(await store.delete(makeDelete(path)), { outcome: 'unknown' })
  t.equal((await store.write(record, termsOf(record))).outcome, 'stored')
  t.equal((await store.delete(makeDelete({ owner: path.owner, recordId: 'never' }))).outcome, 'unknown')
})

t.test('a tombstone lives no longer than its record would have', async (t) => {
  const now = clock()
  const store = await openStore(t, { directory: t.testdir(), now })
  const { path } = await written(store, { recordId: 'a', ttl: 10 })
  const request = makeDelete(path)
  const deleted = await store.delete(request)
  const late = makeDelete(path, 'late')
  t.strictSame(await store.delete(late), deleted)
  now.ms += 10_000

  const next = await written(store, { recordId: 'a', timestamp: now.ms })

  t.equal(next.result.outcome, 'stored')
  t.strictSame(
    await store.delete(request),
    deleted,
    'the same signed request answers the same and deletes nothing more',
  )
  t.strictSame(await store.delete(late), deleted, 'also one that found the record deleted')
  t.equal((await store.read(makeRead(path, 'after'))).outcome, 'record')
})

t.test('maxPulls is served exactly that often, to however many ask at once', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const { record, path } = await written(store, { maxPulls: 7 })

  const results = await Promise.all(Array.from({ length: 50 }, (_, n) => store.read(makeRead(path, n))))

  t.equal(results.filter(({ outcome }) => outcome === 'record').length, 7)
  t.equal(results.filter(({ outcome }) => outcome === 'absent').length, 43)
  const bytes = record.content.length
  t.match(store.counters(path.owner), { pulls: 7, egressBytes: 7 * bytes, records: 1, bytes })
  const rest = { after: 0, limit: 10 }
  const listed = async (view: Parameters<Store['inventory']>[0]['view']) =>
    (await store.inventory({ view, ...rest })).entries.length
  t.equal(await listed({ inbox: path.receiver }), 0, 'used up: the receiver is not told of it')
  t.equal(await listed({ inbox: path.receiver, owners: [path.owner] }), 0)
  t.equal(await listed({ outbox: path.owner }), 1, 'its owner is')
})

t.test('a read is for the path it names', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const { path } = await written(store)
  const other = identityOf('other').identity

  t.strictSame(await store.read(makeRead({ ...path, receiver: other }, 1)), { outcome: 'absent' })
  t.strictSame(await store.read(makeRead({ ...path, owner: other }, 1)), { outcome: 'absent' })
  t.match(store.counters(path.owner), { pulls: 0 })
})

t.test('an identical read is the same pull, three times, and across a restart', async (t) => {
  const directory = t.testdir()
  const store = await Store.open({ directory, now: () => start })
  const { path, record } = await written(store, { maxPulls: 1 })
  const read = makeRead(path, 'same')
  const served = { outcome: 'record', text: record.text, bytes: record.content.length }

  const results = await Promise.all(Array.from({ length: 6 }, () => store.read(read)))
  t.strictSame(results, [served, served, served, served, { outcome: 'replayed' }, { outcome: 'replayed' }])
  t.match(store.counters(path.owner), { pulls: 1 })
  t.strictSame(await store.read(makeRead(path, 'another')), { outcome: 'absent' })
  await store.close()

  const again = await openStore(t, { directory })
  t.strictSame(await again.read(read), served, 'its pull is remembered')
  t.strictSame(await again.read(makeRead(path, 'another')), { outcome: 'absent' })
  t.match(again.counters(path.owner), { pulls: 1 })
})

t.test('deletion and expiry win over a repeat, and so does another record of the id', async (t) => {
  const now = clock()
  const store = await openStore(t, { directory: t.testdir(), now })
  const gone = await written(store)
  const short = await written(store, { ttl: 1 })
  const [first, second] = [makeRead(gone.path, 1), makeRead(short.path, 2)]
  await Promise.all([store.read(first), store.read(second)])
  await store.delete(makeDelete(gone.path))
  now.ms += 1000

  t.strictSame(await store.read(first), { outcome: 'absent' })
  t.strictSame(await store.read(second), { outcome: 'absent' })
  const { recordId } = short.path
  await written(store, { recordId, timestamp: now.ms })
  t.strictSame(await store.read(second), { outcome: 'absent' })
  t.equal((await store.read(makeRead(short.path, 3))).outcome, 'record')
})

t.test('a proof verifies against the receipt, once', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const { result, path, record } = await written(store, { content: randomBytes(5000), maxPulls: 1 })
  const { receipt } = result as { receipt: Receipt }
  await store.read(makeRead(path, 'last pull'))

  for (const index of [0, 1, 4]) {
    const request = { ...makeRead(path, `prove ${index}`), index }
    const proven = await store.prove(request)
    t.equal(proven.outcome, 'proof')
    const proof = Proof.parse((proven as { proof: Proof }).proof)
    t.equal(proof.index, index)
    t.equal(proof.size, record.content.length)
    const leaf = { leaf: fromBase64(proof.data), index, bytes: proof.size, path: proof.path.map(fromHex) }
    t.ok(verifyMerklePath(fromHex(receipt.root), leaf))
    t.strictSame(await store.prove(request), { outcome: 'replayed' })
    t.strictSame(await store.read(request), { outcome: 'replayed' }, 'nor is it a read')
  }
  await t.rejects(store.prove({ ...makeRead(path, 'beyond'), index: 5 }), { code: 'ERR_NOT_FOUND' })
  await store.delete(makeDelete(path))
  t.strictSame(await store.prove({ ...makeRead(path, 'deleted'), index: 0 }), { outcome: 'absent' })
})

t.test('arrivals are told once per batch, in order, when they can be read', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const records = await Promise.all(Array.from({ length: 5 }, () => makeRecord()))
  const batches: unknown[][] = []
  store.onArrivals((arrivals) => {
    t.equal(arrivals.at(-1)?.place, store.head())
    for (const arrival of arrivals) t.ok(store.get(bodyKey(arrival.place)))
    batches.push(arrivals.map(({ path, tag }) => [path, tag]))
  })

  await Promise.all([...records, ...records].map((record) => store.write(record, termsOf(record))))

  t.strictSame(batches, [records.map(({ path, msg }) => [path, msg.request.tag])])
})
