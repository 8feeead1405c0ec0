/** Room is sold once: not more than there is by any number of writers, not twice over a restart, and what was sold is kept. */
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { Info } from '../../contracts/api.ts'
import { readConfig } from '../../relay/config.ts'
import { Capacity } from '../../relay/market/capacity.ts'
import { startRelay } from '../../relay/relay.ts'
import { openDatabase } from '../../relay/store/database.ts'
import { promisedBytes, stockOf, stockRow } from '../../relay/store/counters.ts'
import { Store } from '../../relay/store/store.ts'
import { openRelay, startTestRelay } from '../fixtures/relay.ts'
import { clock, makeRecord, openStore, termsOf } from '../fixtures/records.ts'
import { keysOf, openScene } from '../fixtures/wallet.ts'
import { json, paymentFor, recordFor, wireClient } from '../fixtures/web-files.ts'
import { actor, ask, askSigned, postSigned, sealRecord } from '../fixtures/wire.ts'

const content = Buffer.alloc(488)
/** With its 512 billed bytes besides. */
const recordBytes = 1000
const prices = ['--price', 'storageGBDay=4000000', '--price', 'egressGB=100000000']
const infoOf = async (url: string) => Info.parse(await (await fetch(`${url}/.well-known/relay`)).json())

t.test(
  'of many writers at once so many are taken as there is room for; a restart changes nothing',
  async (t) => {
    const args = [...prices, '--capacity', `${10 * recordBytes + 999}`]
    const relay = await openRelay(t, args)
    const [alice, bob] = [actor(), actor()]
    await relay.operator.grant({ key: alice.identity, satoshi: 1_000_000 })
    const records = await Promise.all(
      Array.from({ length: 30 }, () => sealRecord(relay, alice, bob, { content, ttl: 3600 })),
    )
    const answers = await Promise.all(records.map((record) => postSigned(relay, record)))
    t.equal(answers.filter(({ result }) => result === true).length, 10)
    const refused = answers.filter(({ code }) => code === 'ERR_BUSY')
    t.equal(refused.length, 20)
    t.match(refused[0], { reason: 'capacity', free: 999, retryAfterMs: 600_000 })
    const { owed, reserved, available } = (await askSigned(relay, alice, { type: 'account' })).result
      .purses[0]
    t.equal(Number(owed) + Number(reserved) + Number(available), 1_000_000)
    t.match((await infoOf(relay.url)).capacity, { bytes: 10_999, sold: 10_000, free: 999 })
    const stored = records[answers.findIndex(({ result }) => result === true)]!
    t.match(await postSigned(relay, stored), { result: true, receipt: {} }, 'what is stored is told again')
    const stranger = actor()
    const unpaid = await sealRecord(relay, stranger, bob, { content })
    t.match(
      await postSigned(relay, unpaid),
      { code: 'ERR_BUSY' },
      'nobody is asked to pay for what has no room',
    )
    await relay.close()

    const again = await startTestRelay(t.testdirName, { args, now: relay.now })
    t.match((await infoOf(again.url)).capacity, { sold: 10_000 })
    const more = () => sealRecord({ ...again, now: relay.now }, alice, bob, { content, ttl: 3600 })
    t.match(await postSigned(again, await more()), { code: 'ERR_BUSY' })
    const remove = { type: 'delete', recordId: stored.path.split('/').at(-1)! }
    t.match(await askSigned({ ...again, now: relay.now }, alice, remove), { result: true })
    const two = await Promise.all([more(), more()])
    const taken = await Promise.all(two.map((record) => postSigned(again, record)))
    t.equal(taken.filter(({ result }) => result === true).length, 1, 'what was given back is sold once')
    t.match(await again.operator.check({}, new AbortController().signal), { ok: true, records: 10 })
    await again.close()

    const smaller = await startTestRelay(t.testdirName, {
      args: [...prices, '--capacity', '5000'],
      now: relay.now,
    })
    t.match((await infoOf(smaller.url)).capacity, { bytes: 5000, sold: 10_000, free: 0 })
    const kept = records[answers.findLastIndex(({ result }) => result === true)]!
    const read = await ask({ ...smaller, now: relay.now }, bob, { type: 'read', path: kept.path })
    t.match(JSON.stringify(read), /content/, 'what was promised is kept')
    t.match(await smaller.operator.status({}), { capacity: { bytes: 5000, sold: 10_000, free: 0 } })
    await smaller.close()
  },
)

t.test('a store of before is counted when it is opened, and ends give room back', async (t) => {
  const directory = join(t.testdir(), 'store')
  const now = clock()
  const before = await openStore(t, { directory, now })
  for (let n = 0; n < 3; n++) {
    const record = await makeRecord({ content })
    await before.write(record, termsOf(record))
  }
  const stock = stockOf(before)
  t.match(stock, { records: 3, bytes: 3 * 488, ingressBytes: 3 * 488 })
  await before.close()
  const database = await openDatabase(directory)
  await database.write([{ key: stockRow, value: undefined }])
  await database.close()

  const store = await Store.open({ directory, now })
  t.teardown(() => store.close())
  t.same(stockOf(store), stock)
  t.equal(promisedBytes(stock), 3000)
  const capacity = new Capacity(store, 3999)
  t.throws(() => capacity.check(488), { code: 'ERR_BUSY', extras: { free: 999 } })
  capacity.check(487)
})

t.test(
  'a payment for what has no room is not taken; one for what is stored is answered as before',
  async (t) => {
    const scene = await openScene(t)
    const now = () => scene.clock.now
    const data = join(scene.directory, 'relay')
    const place = ['--data', data, '--listen', '127.0.0.1:0', '--min-free-disk', '0', ...prices]
    const config = readConfig([...place, '--chain', `devnet:${scene.devnet.url}`, '--capacity', '1000'], {})
    const log = pino({ level: 'silent' })
    const relay = { ...(await startRelay(config, { log, now, monotonic: now, followEveryMs: 50 })), now }
    t.teardown(() => relay.close())
    const [keys, wallet] = [keysOf('alice'), await scene.open('alice')]
    await scene.fund(wallet, [50_000, 50_000])
    const wire = await wireClient(relay, keys)
    const [first, second] = [
      await recordFor(relay, keys, keysOf('bob')),
      await recordFor(relay, keys, keysOf('bob')),
    ]
    const paying = async (record: typeof first) => {
      const offer = await wire.ask('PUT', record.path, record.text)
      t.equal(offer.status, 402)
      return { ...json, 'x-bsv-payment': await paymentFor(wallet, offer.headers) }
    }
    const [forFirst, forSecond] = [await paying(first), await paying(second)]
    t.equal((await wire.ask('PUT', first.path, first.text, forFirst)).status, 200)
    const received = async () =>
      (await askSigned(relay, keys, { type: 'account' })).result.purses.map((purse: any) => purse.received)
    const before = await received()

    const refused = await wire.ask('PUT', second.path, second.text, forSecond)
    t.match(refused, { status: 503, body: { code: 'ERR_BUSY', reason: 'capacity', broadcast: false } })
    t.match(await wire.ask('PUT', second.path, second.text), { status: 503, body: { reason: 'capacity' } })
    t.equal((await wire.ask('PUT', first.path, first.text, forFirst)).status, 200)
    t.same(await received(), before)
  },
)
