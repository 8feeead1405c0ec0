/** What expired goes, and only that; and never on the word of a clock that jumped. Disk space: DiskGuard. */
import { join } from 'node:path'
import t from 'tap'
import { protocolLimits } from '../../market/units.ts'
import { Clock } from '../../relay/clock.ts'
import { DiskGuard } from '../../relay/store/disk.ts'
import { everything } from '../../relay/store/keys.ts'
import type { Store } from '../../relay/store/store.ts'
import { lastSweep, Sweeper, sweepLimits } from '../../relay/store/sweeper.ts'
import {
  clock,
  makeDelete,
  makeRead,
  makeRecord,
  openStore,
  pathOf,
  start,
  type TestClock,
  termsOf,
} from '../fixtures/records.ts'

const dayMs = 86_400_000

async function setUp(t: Parameters<typeof openStore>[0], directory: string, now: TestClock = clock()) {
  const store = await openStore(t, { directory, now })
  // A monotonic clock that agrees with the wall clock as long as `skewMs` does not change.
  const skew = { ms: 0 }
  const sweeper = new Sweeper({ store, now, monotonic: () => now.ms - start - skew.ms })
  const write = async (facts: Parameters<typeof makeRecord>[0]) => {
    const record = await makeRecord({ timestamp: now.ms, ...facts })
    await store.write(record, termsOf(record))
    return pathOf(record)
  }
  return { store, sweeper, now, skew, write }
}

async function rows(store: Store): Promise<Record<string, number>> {
  const scan = store.scan(everything)
  const counts: Record<string, number> = {}
  for (const [key] of await scan.next(10_000)) {
    const table = key.toString('latin1', 0, 1)
    counts[table] = (counts[table] ?? 0) + 1
  }
  await scan.close()
  return counts
}

t.test(
  'everything of an expired record, tombstone and answer goes, in time; nothing else does',
  async (t) => {
    const { store, sweeper, now, write } = await setUp(t, t.testdir())
    const short = await write({ ttl: 60, maxPulls: 1 })
    const long = await write({ ttl: 86_400 })
    const deleted = await write({ ttl: 60 })
    await store.read(makeRead(short, 1))
    await store.read(makeRead(long, 2))
    await store.delete(makeDelete(deleted))
    const full = { b: 2, c: 1, h: 3, i: 1, j: 1, m: 3, o: 2, p: 2, q: 3, x: 3 }
    t.strictSame(await rows(store), full)

    now.ms += 59_999
    t.equal(await sweeper.run(), 0)
    t.strictSame(await rows(store), { ...full, m: 4 }, 'only the time of the sweep is new')
    now.ms += 1
    t.equal(await sweeper.run(), 2)
    t.strictSame(await rows(store), { b: 1, c: 1, h: 1, i: 1, j: 1, m: 4, o: 1, p: 2, q: 3, x: 1 })
    t.match(store.counters(long.owner), { records: 1, pulls: 2 })
    t.equal((await store.read(makeRead(long, 3))).outcome, 'record')

    now.ms = start + protocolLimits.freshPastMs + sweepLimits.answersMs + 1
    t.equal(await sweeper.run(), 4)
    t.equal((await rows(store)).q, undefined)
  },
)

t.test('a row left over from a record that was replaced does not take the new one with it', async (t) => {
  const { store, sweeper, now, write } = await setUp(t, t.testdir())
  await write({ recordId: 'a', ttl: 10 })
  now.ms += 10_000
  const sweep = sweeper.run()
  const path = await write({ recordId: 'a', ttl: 10 })
  await sweep
  now.ms += 5000

  await sweeper.run()

  t.equal((await store.read(makeRead(path, 1, now.ms))).outcome, 'record')
})

t.test('the pull log is kept for its own time, owner by owner', async (t) => {
  const { store, sweeper, now, write } = await setUp(t, t.testdir())
  for (let pull = 0; pull < 3; pull++) {
    await store.read(makeRead(await write({ ttl: 60 }), pull))
    now.ms += 4 * dayMs
    await sweeper.run()
  }
  t.equal((await rows(store)).p, 3)

  for (; now.ms < start + 90 * dayMs; now.ms += dayMs) await sweeper.run()
  t.equal((await rows(store)).p, 3, 'for 90 days')
  for (let run = 0; run < 3; run++, now.ms += dayMs) await sweeper.run()
  t.equal((await rows(store)).p, 2, 'and then no longer')
})

t.test('many rows go in many small operations', async (t) => {
  const { store, sweeper, now } = await setUp(t, t.testdir())
  const template = await makeRecord({ ttl: 1 })
  const count = 3 * sweepLimits.stepRows + 1
  await Promise.all(
    Array.from({ length: count }, (_, n) => {
      const msg = { ...template.msg, request: { ...template.msg.request, recordId: `r${n}` } }
      return store.write({ ...template, msg }, termsOf(template))
    }),
  )
  now.ms += 1000

  const [removed, again] = await Promise.all([sweeper.run(), sweeper.run()])

  t.equal(removed, count)
  t.equal(again, removed, 'runs do not overlap')
  t.strictSame(await rows(store), { c: 1, m: 4 })
})

t.test('after a jump of the clock nothing goes until a person confirms the time', async (t) => {
  const directory = t.testdir()
  for (const jumpMs of [sweepLimits.clockJumpMs + 1, -sweepLimits.clockJumpMs - 1]) {
    const { store, sweeper, now, skew, write } = await setUp(t, join(directory, `${jumpMs}`))
    await write({ ttl: 1, timestamp: start - 1000 + 10 })
    now.ms += 10
    skew.ms = jumpMs // the wall clock gained it, the monotonic clock did not

    t.equal(await sweeper.run(), 0)
    t.match(sweeper.state, { state: 'waiting for confirmation', reason: /jumped/ })
    skew.ms = 0
    t.equal(await sweeper.run(), 0, 'it waits even when the clock is back')
    t.equal((await rows(store)).h, 1)
    sweeper.confirm()
    t.strictSame(sweeper.state, { state: 'running' })
    t.equal(await sweeper.run(), 1)
  }
})

t.test('no clock that is trusted makes a read count twice, nor one set back at every restart', async (t) => {
  const hour = 3_600_000
  const now = clock(start + hour)
  const { store, sweeper, skew, write } = await setUp(t, t.testdir(), now)
  const monotonic = () => now.ms - start - skew.ms
  const guard = new Clock({ now, monotonic, lastStamp: 0 })
  const set = (driftMs: number) => {
    now.ms = start + hour + driftMs
    skew.ms = driftMs
    t.equal(guard.trouble, undefined)
  }
  const path = await write({ ttl: 86_400 })
  set(-hour)
  const read = makeRead(path, 'once', now.ms)
  t.equal((await store.read(read)).outcome, 'record')
  set(hour)
  await sweeper.run()
  t.strictSame(sweeper.state, { state: 'running' })
  const latest = now.ms
  set(-hour)

  await store.read(read)

  t.equal(store.counters(path.owner).pulls, 1)
  await sweeper.run()
  t.equal(lastSweep(store), latest, 'what a relay that starts now holds its clock against')
  t.match(new Clock({ now, monotonic, lastStamp: latest }).trouble, /last sweep/)
})

t.test('after a long pause nothing goes until a person confirms the time, restarts included', async (t) => {
  const directory = t.testdir()
  const now = clock()
  const first = await setUp(t, directory, now)
  await first.write({ ttl: 60 })
  await first.sweeper.run()
  await first.store.close()
  now.ms += sweepLimits.pauseMs + 1

  const { store, sweeper } = await setUp(t, directory, now)
  t.equal(await sweeper.run(), 0)
  t.match(sweeper.state, { state: 'waiting for confirmation', reason: /days passed/ })
  sweeper.confirm()
  t.equal(await sweeper.run(), 1)
  t.equal((await rows(store)).h, undefined)
  now.ms += sweepLimits.pauseMs
  await sweeper.run()
  t.strictSame(sweeper.state, { state: 'running' })
})

t.test(
  'a write is refused before the disk is full, counting what was admitted since the last look',
  async (t) => {
    const now = clock()
    let free = 1000
    let looks = 0
    const freeBytes = () => {
      looks++
      return free
    }
    const guard = new DiskGuard({ directory: '/', minFreeBytes: 400, now, freeBytes })

    guard.admit(500)
    guard.admit(100)
    t.throws(() => guard.admit(1), { code: 'ERR_BUSY', extras: { retryAfterMs: Number } })
    free = 800
    t.throws(() => guard.admit(1), { code: 'ERR_BUSY' })
    t.equal(looks, 1)
    now.ms += 1000
    guard.admit(400)
    t.throws(() => guard.admit(1), { code: 'ERR_BUSY' })
    now.ms -= 5000
    guard.admit(1)
    t.equal(looks, 3, 'a clock set back does not blind it')
    t.doesNotThrow(() => new DiskGuard({ directory: t.testdir(), minFreeBytes: 0, now }).admit(1))
  },
)
