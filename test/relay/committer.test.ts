/** Many writers, one fsync: docs/protocol.md §4.4 and the guarantees in relay/store/committer.ts. */
import t from 'tap'
import { committerLimits } from '../../relay/store/committer.ts'
import { metaKey } from '../../relay/store/keys.ts'
import { timeOf } from '../../relay/store/place.ts'
import { NumberRow } from '../../relay/store/rows.ts'
import { Store } from '../../relay/store/store.ts'
import { faultyDisk } from '../fixtures/database.ts'
import { clock, makeRecord, openStore, start, termsOf } from '../fixtures/records.ts'

const key = (name: string) => Buffer.from(`~${name}`)
const value = (text: string) => Buffer.from(text)

t.test('an operation sees all that operations before it wrote, durable or not', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  await store.commit((batch) => batch.put(key('a'), value('1')))

  const seen = await Promise.all([
    store.commit((batch) => batch.get(key('a'))?.toString()),
    store.commit((batch) => batch.put(key('a'), value('2'))),
    store.commit((batch) => batch.get(key('a'))?.toString()),
    store.commit((batch) => batch.del(key('a'))),
    store.commit((batch) => batch.get(key('a'))?.toString()),
  ])

  t.strictSame(seen, ['1', undefined, '2', undefined, undefined])
  t.equal(store.get(key('a')), undefined)
})

t.test('the last place, which is written with every batch, is read as it is', async (t) => {
  const store = await openStore(t, { directory: t.testdir(), now: clock() })
  const placeIn = (value: Buffer | undefined) => (value === undefined ? 0 : NumberRow.decode(value).value)
  const take = () =>
    store.commit((batch) => batch.put(key('place'), NumberRow.encode({ value: batch.nextPlace() })))

  for (let times = 0; times < 2; times++) {
    await take()
    const seen = await store.commit((batch) => placeIn(batch.get(metaKey('place'))))
    t.equal(seen, placeIn(store.get(key('place'))))
  }
})

t.test('an operation that throws rejects alone and leaves nothing', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const heard: unknown[] = []
  store.onArrivals((arrivals) => heard.push(...arrivals))
  const arrival = { place: 1, owner: 'o', receiver: 'r', recordId: 'i', path: 'p', tag: '' }

  const results = await Promise.allSettled([
    store.commit((batch) => batch.put(key('kept'), value('1'))),
    store.commit((batch) => {
      batch.put(key('kept'), value('2'))
      batch.put(key('new'), value('2'))
      batch.del(key('kept'))
      batch.put(key('new'), value('3'))
      batch.announce(arrival)
      throw new Error('changed my mind')
    }),
    store.commit((batch) => batch.get(key('kept'))?.toString()),
  ])

  t.match(results, [{ status: 'fulfilled' }, { status: 'rejected' }, { value: '1' }])
  t.equal(store.get(key('kept'))?.toString(), '1')
  t.equal(store.get(key('new')), undefined)
  t.strictSame(heard, [])
})

t.test('operations share a write up to a bound, and what only reads writes nothing', async (t) => {
  const disk = faultyDisk()
  const store = await openStore(t, { directory: t.testdir(), openDatabase: disk.open })
  disk.writes.length = 0
  const { batchOperations } = committerLimits

  await Promise.all(
    Array.from({ length: batchOperations + 1 }, (_, n) =>
      store.commit((batch) => batch.put(key(`${n}`), value('x'))),
    ),
  )
  await Promise.all([store.commit((batch) => batch.get(key('1'))), store.commit(() => 1)])

  t.strictSame(
    disk.writes.map(({ changes }) => changes),
    [batchOperations + 1, 2],
    'each with the row of the last place',
  )
})

t.test('a batch holds no more bytes than its bound', async (t) => {
  const disk = faultyDisk()
  const store = await openStore(t, { directory: t.testdir(), openDatabase: disk.open })
  disk.writes.length = 0
  const big = Buffer.alloc(committerLimits.batchBytes / 2)

  await Promise.all([1, 2, 3].map((n) => store.commit((batch) => batch.put(key(`${n}`), big), big.length)))

  t.equal(disk.writes.length, 3, 'with their keys, two are over it')
})

t.test('what a writer saw is durable when he hears of it, even when he wrote nothing', async (t) => {
  const disk = faultyDisk()
  const store = await openStore(t, { directory: t.testdir(), openDatabase: disk.open })
  const hold = disk.hold()
  const order: string[] = []

  const writer = store.commit((batch) => batch.put(key('a'), value('1')))
  const reader = store.commit((batch) => batch.get(key('a'))).then(() => order.push('told'))
  await hold.reached
  order.push('written')
  hold.release()
  await Promise.all([writer, reader])

  t.strictSame(order, ['written', 'told'])
})

t.test('the queue is bounded in operations and in bytes', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const { queuedOperations, queuedBytes } = committerLimits
  const many = Array.from({ length: queuedOperations }, () => store.commit(() => 1))

  await t.rejects(
    store.commit(() => 1),
    { code: 'ERR_BUSY' },
  )
  await Promise.all(many)
  const large = store.commit(() => 1, queuedBytes)
  await t.rejects(
    store.commit(() => 1, 1),
    { code: 'ERR_BUSY' },
  )
  await large
  t.equal(await store.commit(() => 2, queuedBytes), 2, 'and empties again')
})

t.test('places rise strictly, and time with them, whatever the clock does', async (t) => {
  const now = clock()
  const directory = t.testdir()
  const store = await Store.open({ directory, now })
  const take = (from: Store) =>
    from.commit((batch) => [batch.nextPlace(), batch.put(key('a'), value('1'))][0] as number)

  const places = [await take(store), await take(store)]
  now.ms -= 100_000
  places.push(await take(store))
  await store.close()
  const again = await openStore(t, { directory, now })
  places.push(await take(again))
  now.ms = start + 5
  places.push(await take(again))

  t.strictSame(places, [
    start * 1024,
    start * 1024 + 1,
    start * 1024 + 2,
    start * 1024 + 3,
    (start + 5) * 1024,
  ])
  t.equal(timeOf(places[3]!), start)
  t.equal(again.head(), places[4])
})

t.test('a listener that throws stops neither the others nor the writers', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const heard: number[] = []
  const record = await makeRecord()
  store.onArrivals(() => {
    throw new Error('deaf')
  })
  const stop = store.onArrivals((arrivals) => heard.push(arrivals.length))

  t.equal((await store.write(record, termsOf(record))).outcome, 'stored')
  stop()
  const next = await makeRecord()
  await store.write(next, termsOf(next))

  t.strictSame(heard, [1])
})

t.test('closing finishes what was accepted and accepts no more', async (t) => {
  const directory = t.testdir()
  const store = await Store.open({ directory, now: () => start })
  const accepted = Array.from({ length: 600 }, (_, n) =>
    store.commit((batch) => batch.put(key(`${n}`), value('x'))),
  )
  const closed = store.close()

  await t.rejects(
    store.commit(() => 1),
    { code: 'ERR_BUSY' },
  )
  await Promise.all([...accepted, closed])

  const again = await openStore(t, { directory })
  t.ok(accepted.every((_, n) => again.get(key(`${n}`)) !== undefined))
})
