/** Backups: what they hold, how much of a relay's time they take, and what becomes of them when something fails. */
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { backupLimits, writeBackup } from '../../relay/store/backup.ts'
import type { Bounds, Scan } from '../../relay/store/database.ts'
import * as keys from '../../relay/store/keys.ts'
import { restoreBackup } from '../../relay/store/restore.ts'
import { Counters, decodeHead, type StoredHead } from '../../relay/store/rows.ts'
import type { Store } from '../../relay/store/store.ts'
import { into, keyText, makeData, never, rowsOf, slices } from '../fixtures/backups.ts'
import { faultyDisk } from '../fixtures/database.ts'
import { makeDelete, makeRead, makeRecord, openStore, pathOf, start, termsOf } from '../fixtures/records.ts'

t.test('a snapshot is one moment', async (t) => {
  const { database } = await makeData(t, { rows: 10 })
  t.teardown(() => database.close())
  const before = await rowsOf(database)
  const snapshot = database.snapshot()
  const key = Buffer.from('z00000005')
  await database.write([
    { key, value: undefined },
    { key: Buffer.from('zz'), value: Buffer.of(1) },
  ])

  t.strictSame(await rowsOf(snapshot), before)
  t.strictSame(snapshot.get(key), Buffer.alloc(300, 5))
  t.equal(snapshot.get(Buffer.from('zz')), undefined)
  t.equal(database.get(key), undefined)
  await snapshot.close()
  t.throws(() => snapshot.get(key), { code: 'ERR_INTERNAL' })

  const late = database.snapshot()
  await database.close()
  t.throws(() => late.get(key), { code: 'ERR_BUSY' })
  t.throws(() => database.snapshot(), { code: 'ERR_BUSY' })
  await late.close()
})

/** Checks that every row about a record agrees with every other; returns the ids of records and of tombstones. */
async function checkWhole(t: Test, store: Store) {
  const rows = await rowsOf(store)
  const has = (key: Buffer) => rows.has(key.toString('latin1'))
  const expected = { b: 0, i: 0, j: 0, o: 0, x: 0 }
  const held = new Map<string, { records: number; bytes: number }>()
  const [records, deleted] = [new Set<string>(), new Set<string>()]
  let last = 0
  for (const [key, value] of rows) {
    if (!key.startsWith('h')) continue
    const bytes = Buffer.from(key, 'latin1')
    const [owner, recordId] = [keys.ownerOfKey(bytes), bytes.toString('latin1', 34)]
    const head = decodeHead(Buffer.from(value, 'hex'))
    last = Math.max(last, head.place)
    expected.x++
    if (!has(keys.expiryKey(head.expires, head.place))) t.fail(`${recordId} never expires`)
    if (head.state === 'deleted') {
      deleted.add(recordId)
      continue
    }
    records.add(recordId)
    const { place, receiver, pullsLeft }: StoredHead = head
    const listed = pullsLeft > 0 ? 1 : 0
    expected.b++
    expected.o++
    expected.i += listed
    expected.j += listed
    if (!has(keys.bodyKey(place))) t.fail(`${recordId} has no body`)
    if (!has(keys.placeKey(keys.outboxPrefix(owner), place))) t.fail(`${recordId} is in no outbox`)
    if (has(keys.placeKey(keys.inboxPrefix(receiver), place)) !== listed > 0) t.fail(`${recordId}: inbox`)
    const counted = held.get(owner) ?? { records: 0, bytes: 0 }
    held.set(owner, { records: counted.records + 1, bytes: counted.bytes + head.bytes })
  }
  for (const [table, count] of Object.entries(expected)) {
    t.equal([...rows.keys()].filter((key) => key.startsWith(table)).length, count, `rows of ${table}`)
  }
  for (const [key, value] of rows) {
    if (!key.startsWith('c')) continue
    const counters = Counters.decode(Buffer.from(value, 'hex'))
    t.match(counters, held.get(keys.ownerOfKey(Buffer.from(key, 'latin1'))) ?? { records: 0, bytes: 0 })
  }
  t.ok(store.head() >= last, 'no record is above the last place')
  return { records, deleted }
}

t.test('a backup in the middle of writes, reads and deletes is a consistent moment', async (t) => {
  const data = t.testdir()
  writeFileSync(join(data, 'relay.key'), keyText)
  const store = await openStore(t, { directory: join(data, 'store') })
  const written = new Set<string>()
  const deleted = new Set<string>()
  const begun = { written: new Set<string>(), deleted: new Set<string>() }
  const done = new AbortController()
  let acknowledged = 0
  const work = async (writer: number) => {
    for (let n = 0; !done.signal.aborted; n++) {
      const record = await makeRecord({ recordId: `${writer}-${n}`, maxPulls: (n % 2) + 1 })
      const { recordId } = record.msg.request
      begun.written.add(recordId)
      await store.write(record, termsOf(record))
      written.add(recordId)
      if (n % 3 === 1) await store.read(makeRead(pathOf(record), 'once'))
      if (n % 3 === 2) {
        begun.deleted.add(recordId)
        await store.delete(makeDelete(pathOf(record)))
        deleted.add(recordId)
      }
      acknowledged++
    }
  }
  const untilAcknowledged = async (count: number) => {
    while (acknowledged < count) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const workers = Promise.all(Array.from({ length: 16 }, (_, writer) => work(writer)))
  await untilAcknowledged(500)

  // The moment of the call, in which nothing else happens.
  const before = { written: new Set(written), deleted: new Set(deleted) }
  const asked = { written: new Set(begun.written), deleted: new Set(begun.deleted) }
  let waits = 0
  const pace = { monotonic: slices(10), wait: () => untilAcknowledged(acknowledged + 20 * ++waits) }
  await writeBackup(into(data, store.snapshot(), { pace }))
  done.abort()
  await workers
  await restoreBackup({ backup: join(data, 'backup'), data: join(data, 'new'), now: start })

  t.ok(waits >= 3, 'writes went on meanwhile')
  const restored = await openStore(t, { directory: join(data, 'new', 'store') })
  const found = await checkWhole(t, restored)
  const [kept, gone] = [found.records, found.deleted]
  t.strictSame(
    [...before.written].filter((id) => !kept.has(id) && !asked.deleted.has(id)),
    [],
    'what was written before is there',
  )
  t.strictSame(
    [...before.deleted].filter((id) => !gone.has(id)),
    [],
    'what was deleted before is not',
  )
  t.strictSame(
    [...kept, ...gone].filter((id) => !asked.written.has(id)),
    [],
    'nothing is from later',
  )
  t.ok(kept.size + gone.size < written.size)
})

t.test('a store of a newer version is not backed up', async (t) => {
  const { data, database, meta } = await makeData(t)
  const value = Buffer.from(JSON.stringify({ ...meta, version: meta.version + 1 }))
  const snapshot = database.snapshot()
  await database.write([{ key: keys.metaKey('store'), value }])
  const newer = { code: 'ERR_INTERNAL', extras: { reason: 'newer' } }
  await t.rejects(writeBackup(into(data, database.snapshot())), newer)
  await writeBackup(into(data, snapshot))
  await database.close()
})

t.test('only a directory of its own is backed up to', async (t) => {
  const { data, database } = await makeData(t, { rows: 10 })
  t.teardown(() => database.close())
  const attempt = (directory: string) => writeBackup(into(data, database.snapshot(), { directory }))
  mkdirSync(join(data, 'used'))
  writeFileSync(join(data, 'used', 'file'), '')
  mkdirSync(join(data, 'empty'), { mode: 0o755 })

  await t.rejects(attempt(join(data, 'used')), { code: 'ERR_CONFLICT' })
  t.strictSame(readdirSync(join(data, 'used')), ['file'])
  await t.rejects(attempt(join(data, 'relay.key')), { code: 'ERR_INTERNAL' })
  await attempt(join(data, 'empty'))
  t.equal(statSync(join(data, 'empty')).mode & 0o777, 0o700)
  await t.rejects(attempt(join(data, 'empty')), { code: 'ERR_CONFLICT' }, 'a backup is not written over')
  const together = await Promise.allSettled([attempt(join(data, 'one')), attempt(join(data, 'one'))])
  t.strictSame(together.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  await restoreBackup({ backup: join(data, 'one'), data: join(data, 'new'), now: start })
})

t.test('a backup that is interrupted, or whose store fails, leaves nothing', async (t) => {
  const disk = faultyDisk()
  const { data, database } = await makeData(t)
  await database.close()
  let reopened: () => void = () => {}
  const store = await openStore(t, {
    directory: join(data, 'store'),
    openDatabase: disk.open,
    reopenDelaysMs: [0],
    onState: (state) => state === 'ready' && reopened(),
  })
  const attempt = (signal: AbortSignal, wait?: () => Promise<void>) =>
    writeBackup(
      into(data, store.snapshot(), { signal, pace: { monotonic: slices(10), ...(wait && { wait }) } }),
    )
  const nothing = (name: string) => t.notOk(existsSync(join(data, 'backup')), name)

  await t.rejects(attempt(AbortSignal.abort()), { code: 'ERR_BUSY' })
  nothing('before it began')
  const operator = new AbortController()
  const interrupted = attempt(operator.signal)
  setTimeout(() => operator.abort(), 20)
  await t.rejects(interrupted, { code: 'ERR_BUSY' })
  nothing('while it waited')

  const record = await makeRecord()
  disk.fail = 'before'
  const ready = new Promise<void>((resolve) => {
    reopened = resolve
  })
  const failing = attempt(never, async () => {
    await t.rejects(store.write(record, termsOf(record)), { code: 'ERR_INTERNAL' })
  })
  await t.rejects(failing, { code: 'ERR_BUSY' })
  nothing('when the store was reopened')
  await ready

  const snapshot = store.snapshot()
  await t.rejects(writeBackup(into(data, snapshot, { key: join(data, 'no.key') })), { code: 'ERR_INTERNAL' })
  nothing('without a key')
  const deeper = { directory: join(data, 'deep', 'er') }
  await t.rejects(writeBackup(into(data, store.snapshot(), deeper)), { code: 'ERR_NOT_FOUND' })
  t.notOk(existsSync(join(data, 'deep')), 'no directory is made above it')
  t.throws(() => snapshot.get(keys.metaKey('store')), { code: 'ERR_INTERNAL' }, 'the snapshot was closed')
  await attempt(never, async () => {})
})

t.test('a backup works for its share of the time and waits for the rest, within reason', async (t) => {
  const { data, database } = await makeData(t, { rows: backupLimits.readRows * 6 })
  t.teardown(() => database.close())
  const workedMs = [2, 1, 2, 6, 5, 400, 40]
  const waits: number[] = []
  let now = 0
  const snapshot = database.snapshot()
  const scan = (bounds: Bounds): Scan => {
    const rows = snapshot.scan(bounds)
    const next = (size: number) => {
      now += workedMs.shift() ?? 0
      return rows.next(size)
    }
    return { ...rows, next }
  }
  const wait = async (ms: number) => {
    waits.push(ms)
    now += ms
  }

  await writeBackup(into(data, { ...snapshot, scan }, { pace: { duty: 0.2, monotonic: () => now, wait } }))

  t.strictSame(
    waits,
    [20, 24, 20, backupLimits.waitMs, 160],
    'four times as long as 2 + 1 + 2, 6, 5 … ms of work',
  )
})
