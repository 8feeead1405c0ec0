/** docs/protocol.md §4: "answered" means on the disk, shown below the page cache, where fsync is all there is. */
import t from 'tap'
import { compiled } from '../fixtures/compiled.ts'
import { type Item, makeItems, sealDelete, sealRead } from '../fixtures/acknowledged.ts'
import { chunks, sendBatch, sendPipelined, sendSingle, type Told } from '../fixtures/storm.ts'
import { openSocket, sealFor } from '../fixtures/wire.ts'
import { compileFaultyDisk, type Tail, until } from './fixtures/faulty-disk.ts'
import { type Outcome, Scene } from './fixtures/scene.ts'

t.setTimeout(300_000)
const folder = t.testdir()
const files = { library: compileFaultyDisk(folder), program: [compiled('relay/main.ts')] }

const same = (outcomes: string[]): Set<string> => new Set(outcomes)

t.test('no reply, and no push, leaves before its fsync', async (t) => {
  const scene = await Scene.open(t, files)
  const { disk, ledger, relay } = scene
  const stored = await makeItems(relay, 40)
  t.equal((await scene.write(stored)).acknowledged, 40)
  const [readable, deletable] = [stored.slice(0, 15), stored.slice(15, 30)]
  const [first, ...items] = (await makeItems(relay, 61)) as [Item, ...Item[]]
  const listener = await openSocket(relay.url)
  const listen = await sealFor(relay, first.receiver, { type: 'listen', afterTs: Date.now() + 1 })
  listener.send(listen.text)
  t.equal((await listener.next()).msg.request.result, true)
  t.ok((await listener.next()).push.live)
  let pushes = 0
  listener.ws.on('message', () => pushes++)
  let answers = 0
  let good = 0
  const count: Told = (_, reply) => {
    answers++
    if (reply.result === true || reply.record !== undefined) good++
  }
  const passed = disk.events('synced').length

  disk.obey('hold')
  ledger.sent([first, ...items])
  const firstSent = sendSingle(relay.url, first.sealed, count)
  await disk.happened('held', 1)
  const [batched, pipelined, ...single] = chunks(items, 20)
  const sealed = (some: readonly Item[]) => some.map(({ sealed }) => sealed)
  const reads = await Promise.all(readable.map((item) => sealRead(relay, item)))
  const deletes = await Promise.all(deletable.map((item) => sealDelete(relay, item)))
  const acts = [...sealed(single.flat()), ...reads, ...deletes]
  const othersSent = Promise.all([
    sendBatch(relay.url, sealed(batched!), count),
    sendPipelined(relay.url, sealed(pipelined!), count),
    ...acts.map((act) => sendSingle(relay.url, act, count)),
  ])
  t.ok(await scene.roundTrips(), 'what needs no disk is answered')
  t.equal(answers, 0, 'nothing is answered while the first fsync is held')
  t.equal(pushes, 0, 'nor pushed')

  disk.obey(`hold ${passed + 1}`)
  await firstSent
  await disk.happened('held', 2)
  t.ok(await scene.roundTrips())
  t.equal(answers, 1, 'the first fsync lets out the answer of its own batch and no other')
  await until('pushed', async () => pushes > 0)
  t.equal(pushes, 1, 'and the push about it')

  for (const item of deletable) ledger.deleting(item)
  disk.obey('pass')
  await othersSent
  t.equal(good, 1 + items.length + reads.length + deletes.length, 'then everything is answered')
  t.equal((await scene.write([first, ...items])).acknowledged, 61)
  t.equal(await ledger.check(relay), 25 + 61)
  listener.close()
})

t.test('a failed fsync is never answered true, and the relay recovers by itself', async (t) => {
  const scene = await Scene.open(t, files)
  const { disk, ledger, relay } = scene
  const [twice, deletable] = [await makeItems(relay, 10, { maxPulls: 2 }), await makeItems(relay, 10)]
  t.equal((await scene.write(await makeItems(relay, 60))).acknowledged, 60)
  t.equal((await scene.write(twice)).acknowledged, 10)
  for (const item of twice) ledger.deleting(item) // their pulls are counted, so no check may read them
  t.equal((await scene.write(deletable)).acknowledged, 10)
  const reads = await Promise.all(twice.map((item) => sealRead(relay, item)))
  const refusals = new Set(['ERR_INTERNAL', 'ERR_BUSY'])
  const onlyRefused = ({ acknowledged, codes }: Outcome) =>
    acknowledged === 0 && [...codes].every((code) => refusals.has(code))

  for (const round of [1, 2]) {
    const failing = await makeItems(scene.relay, 60)
    disk.obey('fail-sync')
    const outcomes = await Promise.all([scene.write(failing), scene.delete(deletable)])
    const read = await scene.read(reads)
    t.ok(outcomes.every(onlyRefused), `${round}: writes and deletes are refused: ${[...outcomes[0].codes]}`)
    t.ok(
      read.every((outcome) => refusals.has(outcome)),
      `and reads: ${[...same(read)]}`,
    )
    t.notOk(await scene.isHealthy(), 'the relay says that it is not well')
    t.ok(disk.events('failed').length > 0)
    disk.obey('pass')
    await scene.recovered()
    t.equal(await ledger.check(scene.relay), ledger.held.length, 'all it acknowledged before is there')
    t.equal((await scene.write(failing)).acknowledged, 60, 'what was refused can be written')
    t.equal((await scene.write(await makeItems(scene.relay, 60))).acknowledged, 60, 'and what is new')
    const { lostBytes } = await scene.powerFails()
    t.equal(
      await ledger.check(scene.relay),
      ledger.held.length,
      `and all survives the loss of ${lostBytes} bytes`,
    )
  }

  t.equal((await scene.delete(deletable)).acknowledged, 10)
  const others = () => Promise.all(twice.map((item) => sealRead(scene.relay, item)))
  t.same(same(await scene.read(reads)), new Set(['record']), 'a read that was refused may be made again')
  t.same(same(await scene.read(await others())), new Set(['record']), 'and counted once')
  t.same(same(await scene.read(await others())), new Set(['null']))
})

t.test('on a full disk nothing acknowledged is lost', async (t) => {
  const scene = await Scene.open(t, files)
  const { disk, ledger } = scene
  t.equal((await scene.write(await makeItems(scene.relay, 40))).acknowledged, 40)

  for (const room of [0, 3, 700, 40_000]) {
    const items = await makeItems(scene.relay, 60, { bytes: 1500 })
    disk.obey(`no-space ${room}`)
    const { acknowledged, codes } = await scene.write(items)
    t.ok(
      acknowledged < items.length && codes.size > 0,
      `room for ${room} bytes: ${acknowledged}, ${[...codes]}`,
    )
    disk.obey('pass')
    await scene.recovered()
    t.equal(await ledger.check(scene.relay), ledger.held.length, 'all it acknowledged is there')
    t.equal((await scene.write(items)).acknowledged, items.length, 'and there is room again')
  }

  await scene.powerFails()
  t.equal(
    await ledger.check(scene.relay),
    ledger.held.length,
    'what was written after the failures is on the disk',
  )
  t.ok(
    disk.events('full').some(({ number }) => number > 7),
    'a record was left in part',
  )
})

t.test('a kill in the middle of the write that fills the disk loses nothing acknowledged', async (t) => {
  const scene = await Scene.open(t, files)
  const { disk, ledger } = scene
  t.equal((await scene.write(await makeItems(scene.relay, 40))).acknowledged, 40)

  for (const room of [3, 1000, 40_000]) {
    const items = await makeItems(scene.relay, 60, { bytes: 1500 })
    disk.obey(`die ${room}`)
    const { acknowledged } = await scene.write(items)
    await scene.relay.kill('SIGKILL')
    disk.obey('pass')
    scene.relay = await disk.start()
    t.equal(
      await ledger.check(scene.relay),
      ledger.held.length,
      `all it acknowledged is there, ${acknowledged} now`,
    )
    t.equal((await scene.write(items)).acknowledged, items.length)
  }

  t.equal(disk.events('full').length, 3)
})

t.test('nothing acknowledged is lost with what was never synced when the power fails', async (t) => {
  const scene = await Scene.open(t, files)
  const { disk, ledger } = scene
  const rounds: [Tail, number][] = [
    ['nothing', 10],
    ['a part', 200],
    ['zeros', 200],
    ['nothing', 200],
    ['a part', 120],
  ]

  for (const [tail, answersUntilKill] of rounds) {
    const [items, more] = [await makeItems(scene.relay, 201), await makeItems(scene.relay, 100)]
    let killed: Promise<unknown> | undefined
    await scene.write(items, (answers) => {
      if (answers === answersUntilKill && answers < 200) killed = scene.relay.kill('SIGKILL')
    })
    if (killed === undefined) {
      t.equal((await scene.delete(ledger.held.slice(0, 20))).acknowledged, 20)
      // The worst moment: many records are written, and their fsync has not begun.
      const held = disk.events('held').length
      disk.obey('hold')
      ledger.sent(more)
      let answers = 0
      const texts = more.map(({ sealed }) => sealed)
      const sent = sendBatch(scene.relay.url, texts, () => answers++)
      await disk.happened('held', held + 1)
      await scene.relay.kill('SIGKILL')
      await sent
      t.equal(answers, 0)
    }
    const { lostBytes } = await scene.powerFails(tail)
    const { length } = ledger.held
    t.equal(
      await ledger.check(scene.relay),
      length,
      `${tail} left of ${lostBytes} bytes, all ${length} are there`,
    )
  }
})

t.test('nothing acknowledged is lost when the power fails while a table is being written', async (t) => {
  const scene = await Scene.open(t, files)
  const { disk, ledger } = scene
  const before = disk.events('created').filter(({ path }) => path.endsWith('.ldb')).length
  let killed: Promise<unknown> | undefined
  const table = disk.happened('created', before + 1, /\.ldb$/).then(() => {
    killed = scene.relay.kill('SIGKILL')
  })

  while (killed === undefined) await scene.write(await makeItems(scene.relay, 10, { bytes: 1 << 20 }))
  await table
  await killed
  const { lostBytes } = await scene.powerFails()

  t.equal(
    await ledger.check(scene.relay),
    ledger.held.length,
    `${ledger.held.length} MiB, ${lostBytes} bytes cut off`,
  )
})

t.test('a disk that lies loses what was acknowledged: the cut takes what was not synced', async (t) => {
  const scene = await Scene.open(t, files)
  scene.disk.obey('lie')
  const { acknowledged } = await scene.write(await makeItems(scene.relay, 40))

  const { lostBytes } = await scene.powerFails()

  t.equal(acknowledged, 40)
  t.ok(lostBytes > 40 * 200)
  await t.rejects(scene.ledger.check(scene.relay), /its owner finds the record/)
})
