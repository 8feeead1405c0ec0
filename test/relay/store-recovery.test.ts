/** When the disk fails: what the committer promises in relay/store/committer.ts. */
import t, { type Test } from 'tap'
import type { SealedRecord } from '../../market/record.ts'
import type { StoreState } from '../../relay/store/committer.ts'
import { faultyDisk } from '../fixtures/database.ts'
import { makeRecord, openStore, termsOf } from '../fixtures/records.ts'

/** Opens a store on a faulty disk; `enters(state)` resolves when the store next enters that state. */
async function openFaulty(t: Test, directory: string) {
  const disk = faultyDisk()
  let entered: (state: StoreState) => void = () => {}
  const onState = (state: StoreState) => entered(state)
  const store = await openStore(t, { directory, openDatabase: disk.open, onState, reopenDelaysMs: [0, 0, 0] })
  const enters = (state: StoreState) =>
    new Promise<void>((resolve) => {
      entered = (now) => now === state && resolve()
    })
  const heard: string[] = []
  store.onArrivals((arrivals) => heard.push(...arrivals.map(({ recordId }) => recordId)))
  return { disk, store, enters, heard, write: (record: SealedRecord) => store.write(record, termsOf(record)) }
}

t.test('a failed write: nobody is told true, the handle is given up, the store comes back', async (t) => {
  const { disk, store, enters, heard, write } = await openFaulty(t, t.testdir())
  const records = await Promise.all([makeRecord(), makeRecord(), makeRecord()] as const)
  await write(records[0])
  const before = store.head()
  disk.writes.length = 0
  disk.fail = 'before'
  disk.failOpens = 2
  const hold = disk.hold()
  const ready = enters('ready')

  const failed = write(records[1])
  await hold.reached
  const queued = write(records[2])
  hold.release()

  await t.rejects(failed, { code: 'ERR_INTERNAL' }, 'its outcome is unknown')
  t.equal(store.state, 'recovering')
  await t.rejects(queued, { code: 'ERR_BUSY' }, 'this one did not run')
  t.throws(() => store.counters(records[0].msg.from), { code: 'ERR_BUSY' })
  await t.rejects(
    store.commit(() => 1),
    { code: 'ERR_BUSY' },
  )
  await t.rejects(store.hasRecords(records[0].msg.to), { code: 'ERR_BUSY' })
  await ready
  t.equal(store.state, 'ready')
  t.equal((await write(records[0])).outcome, 'duplicate', 'what was acknowledged is there')
  t.equal((await write(records[1])).outcome, 'stored', 'what was not is not')
  t.ok(store.head() > before + 1, 'a place that was handed out is not handed out again')
  t.strictSame(
    heard,
    [records[0], records[1]].map(({ msg }) => msg.request.recordId),
  )
  t.strictSame(
    disk.writes.map(({ handle }) => handle),
    [0, 1],
  )
})

t.test('a batch that proves durable after a failed fsync is announced late, not never', async (t) => {
  const { disk, enters, heard, write } = await openFaulty(t, t.testdir())
  const record = await makeRecord()
  disk.fail = 'after'
  const ready = enters('ready')

  await t.rejects(write(record), { code: 'ERR_INTERNAL' })
  await ready

  t.strictSame(heard, [record.msg.request.recordId])
  t.equal((await write(record)).outcome, 'duplicate')
})

t.test('a store that cannot be reopened says so and stays busy', async (t) => {
  const { disk, store, enters, write } = await openFaulty(t, t.testdir())
  disk.fail = 'before'
  disk.failOpens = Number.POSITIVE_INFINITY
  const failed = enters('failed')

  await t.rejects(write(await makeRecord()), { code: 'ERR_INTERNAL' })
  await failed

  t.equal(store.state, 'failed')
  await t.rejects(write(await makeRecord()), { code: 'ERR_BUSY' })
})
