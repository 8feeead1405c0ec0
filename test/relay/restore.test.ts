/** What is restored from a backup, from what nothing is, and what a restored store owes to those it served before. */
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writeBackup } from '../../relay/store/backup.ts'
import type { MarketError } from '../../market/errors.ts'
import { openDatabase } from '../../relay/store/database.ts'
import { type Meta, storeVersion } from '../../relay/store/meta.ts'
import { timeOf } from '../../relay/store/place.ts'
import { restoreBackup } from '../../relay/store/restore.ts'
import { Store } from '../../relay/store/store.ts'
import { allButMeta, backedUp, dayMs, into, keyText, makeData, rowsIn, rowsOf } from '../fixtures/backups.ts'
import { makeRecord, openStore, start, termsOf } from '../fixtures/records.ts'

/** What a store tells the holder of a cursor that is not its own. */
function resumeOf(store: Store, cursor: string): unknown {
  try {
    return `place ${store.placeOfCursor(cursor)}`
  } catch (error) {
    return (error as MarketError).extras.resumeTs
  }
}

t.test('a restored store has every row of its backup, and an epoch of its own', async (t) => {
  const { data, meta, lastPlace, backup, rows } = await backedUp(t)
  const target = join(data, 'deep', 'new')
  const now = start + dayMs

  const restored = await restoreBackup({ backup: backup.directory, data: target, now })

  t.match(backup, {
    takenAt: start,
    rows: rows.size - 1,
    bytes: statSync(join(backup.directory, 'store.backup')).size,
  })
  t.match(restored, { takenAt: start, rows: rows.size - 1, epoch: /^[0-9a-f]{16}$/ })
  t.strictSame(allButMeta(await rowsIn(join(target, 'store'))), allButMeta(rows))
  t.equal(readFileSync(join(target, 'relay.key'), 'utf8'), keyText)
  const mode = (path: string) => statSync(path).mode & 0o777
  t.strictSame([mode(backup.directory), mode(target), mode(join(target, 'store'))], [0o700, 0o700, 0o700])
  t.strictSame(
    [backup.directory, target].map((directory) => mode(join(directory, 'relay.key'))),
    [0o600, 0o600],
  )
  t.strictSame(readdirSync(backup.directory).sort(), ['relay.key', 'store.backup'])
  t.strictSame(readdirSync(target).sort(), ['relay.key', 'store'])
  const store = await openStore(t, { directory: join(target, 'store') })
  const { epoch } = restored
  const earlier = [{ epoch: meta.epoch, lastPlace }]
  t.strictSame(store.meta, { version: storeVersion, epoch, startedAt: now, restoredAt: now, earlier })
  t.not(epoch, meta.epoch)
})

t.test('rows of any size, and none', async (t) => {
  const { data, database } = await makeData(t, { rows: 0 })
  const [small, large] = [join(data, 'small'), join(data, 'large')]
  await writeBackup(into(data, database.snapshot(), { directory: small }))
  const huge = Buffer.alloc(9 << 20, 'huge')
  await database.write([
    { key: Buffer.from('y'), value: Buffer.alloc(0) },
    { key: Buffer.from('z'), value: huge },
    { key: Buffer.concat([Buffer.from('z'), Buffer.alloc(2000, 7)]), value: huge },
  ])
  await writeBackup(into(data, database.snapshot(), { directory: large }))
  const rows = await rowsOf(database)
  await database.close()

  for (const backup of [small, large]) await restoreBackup({ backup, data: `${backup}-new`, now: start })

  t.strictSame(allButMeta(await rowsIn(join(`${small}-new`, 'store'))), allButMeta(rows).slice(0, 1))
  t.strictSame(allButMeta(await rowsIn(join(`${large}-new`, 'store'))), allButMeta(rows))
})

t.test('nobody loses a record over a restore, whatever the clocks show', async (t) => {
  const { data, backup, meta, lastPlace } = await backedUp(t)
  const last = timeOf(lastPlace)
  for (const [name, restoredAt] of [
    ['a day later', last + dayMs],
    ['in the same millisecond', last],
    ['by a clock that is a day behind the last arrival', last - dayMs],
  ] as const) {
    const target = join(data, name)
    await restoreBackup({ backup: backup.directory, data: target, now: restoredAt })
    // Until its relay starts, a clock may be set once more.
    for (const now of [restoredAt + 1000, restoredAt - 3_600_000]) {
      const store = await Store.open({ directory: join(target, 'store'), now: () => now })
      const record = await makeRecord({ timestamp: now })
      await store.write(record, termsOf(record))
      const arrived = store.head()
      t.equal(
        resumeOf(store, `${meta.epoch}.${lastPlace - 2000}`),
        timeOf(lastPlace - 2000) - 1,
        `${name}: behind`,
      )
      for (const lost of [lastPlace, lastPlace + 1, lastPlace + 1e6, (last + 2 * dayMs) * 1024]) {
        t.ok(last - 1 < timeOf(arrived), `${name}: what arrives is listed`)
        t.equal(
          resumeOf(store, `${meta.epoch}.${lost}`),
          last - 1,
          `${name}: what is in the backup is not repeated`,
        )
      }
      t.equal(resumeOf(store, `0123456789abcdef.${lastPlace}`), 0, 'of an epoch nobody knows')
      t.equal(store.placeOfCursor(store.cursorOf(arrived)), arrived)
      await store.close()
    }
  }
})

t.test('cursors are understood over several restores', async (t) => {
  const { data, backup, meta, lastPlace } = await backedUp(t)
  const metas: Meta[] = [meta]
  let directory = backup.directory
  const lasts = [lastPlace]
  for (let round = 1; round <= 18; round++) {
    const target = join(data, `${round}`)
    await restoreBackup({ backup: directory, data: target, now: start + round * dayMs })
    const store = await Store.open({ directory: join(target, 'store'), now: () => start + round * dayMs })
    const record = await makeRecord({ timestamp: start + round * dayMs })
    await store.write(record, termsOf(record))
    metas.push(store.meta)
    lasts.push(store.head())
    directory = join(target, 'backup')
    await writeBackup(into(target, store.snapshot()))
    await store.close()
  }
  const store = await openStore(t, { directory: join(data, '18', 'store') })
  const resume = (round: number, place: number) => resumeOf(store, `${metas[round]?.epoch}.${place}`)
  const beyond = (start + 100 * dayMs) * 1024

  t.equal(resume(17, beyond), timeOf(lasts[17]!) - 1)
  t.equal(resume(2, beyond), timeOf(lasts[2]!) - 1)
  t.equal(resume(2, lasts[1]!), timeOf(lasts[1]!) - 1)
  t.equal(resume(0, beyond), 0, 'forgotten by now')
  t.equal(store.meta.earlier?.length, 16)
})

/** The same with another header and the checksum of that. */
function resealed(whole: Buffer, from: string, to: string): Buffer {
  const endMark = 'relayd backup end'
  const text = whole.toString('latin1', 0, whole.length - 32 - endMark.length).replace(from, to)
  const bytes = Buffer.from(text, 'latin1')
  return Buffer.concat([bytes, createHash('sha256').update(bytes).digest(), Buffer.from(endMark)])
}

t.test('a backup that is not as it was written is refused, and says why', async (t) => {
  const { data, backup, file } = await backedUp(t, { rows: 200 })
  const whole = readFileSync(file)
  const headEnd = whole.indexOf('\n', whole.indexOf('\n') + 1) + 1
  const newer = { code: 'ERR_MALFORMED', extras: { reason: 'newer' } }
  const incomplete = { code: 'ERR_MALFORMED', extras: { reason: 'incomplete' } }
  const foreign = { code: 'ERR_MALFORMED', extras: { reason: 'foreign' } }
  const altered = { code: 'ERR_MALFORMED', extras: { reason: 'altered' } }
  const flipped = (at: number) => {
    const bytes = Buffer.from(whole)
    bytes[at]! ^= 1
    return bytes
  }
  const cases: [string, Buffer, { code: string; extras: object }][] = [
    ['an empty file', Buffer.alloc(0), foreign],
    ['something else', Buffer.alloc(5000, 'x'), foreign],
    ['another title', flipped(3), foreign],
    ['version 2', Buffer.from(whole.toString('latin1').replace('version 1', 'version 2'), 'latin1'), newer],
    ['half a header', whole.subarray(0, headEnd - 10), incomplete],
    ['a header alone', whole.subarray(0, headEnd), incomplete],
    ['half of it', whole.subarray(0, whole.length / 2), incomplete],
    ['all but a byte', whole.subarray(0, -1), incomplete],
    ['a byte more', Buffer.concat([whole, Buffer.of(0)]), incomplete],
    ['another header', flipped(headEnd - 2), altered],
    ['another moment', flipped(whole.indexOf('takenAt') + 10), altered],
    ['a longer key', flipped(headEnd + 3), altered],
    ['a huge value', flipped(headEnd + 4), altered],
    ['another value', flipped(Math.floor(whole.length / 2)), altered],
    ['another count', flipped(whole.length - 56), altered],
    ['another checksum', flipped(whole.length - 30), altered],
    [
      'a newer store',
      resealed(whole, `"version":${storeVersion}`, `"version":${storeVersion + 1}`),
      { ...newer, code: 'ERR_INTERNAL' },
    ],
    ['a row less', Buffer.concat([whole.subarray(0, headEnd), whole.subarray(headEnd + 320)]), altered],
  ]
  for (const [name, bytes, error] of cases) {
    writeFileSync(file, bytes)
    const target = join(data, 'new')
    await t.rejects(restoreBackup({ backup: backup.directory, data: target, now: start }), error, name)
    t.notOk(existsSync(target), `${name}: nothing was written`)
  }
  writeFileSync(file, whole)
  writeFileSync(join(backup.directory, 'relay.key'), 'another key')
  await t.rejects(restoreBackup({ backup: backup.directory, data: join(data, 'new'), now: start }), altered)
})

/** A whole backup, with a checksum that holds, in which one row more stands first. */
function withRow(whole: Buffer, key: string, value: Buffer, valueBytes = value.length): Buffer {
  const endBytes = 32 + 'relayd backup end'.length
  const headEnd = whole.indexOf('\n', whole.indexOf('\n') + 1) + 1
  const row = Buffer.alloc(8)
  row.writeUInt32BE(key.length, 0)
  row.writeUInt32BE(valueBytes, 4)
  const count = Buffer.alloc(8)
  count.writeBigUInt64BE(whole.readBigUInt64BE(whole.length - endBytes - 8) + 1n)
  const rows = whole.subarray(headEnd, whole.length - endBytes - 8)
  const bytes = Buffer.concat([whole.subarray(0, headEnd), row, Buffer.from(key), value, rows, count])
  const digest = createHash('sha256').update(bytes).digest()
  return Buffer.concat([bytes, digest, Buffer.from('relayd backup end')])
}

t.test('a forged backup with a checksum that holds is refused before anything has its name', async (t) => {
  const { data, backup, file } = await backedUp(t, { rows: 10 })
  const whole = readFileSync(file)
  const altered = { code: 'ERR_MALFORMED', extras: { reason: 'altered' } }
  const target = join(data, 'new')
  for (const [name, bytes, message] of [
    ['prices', withRow(whole, 'mprices', Buffer.from('{')), /its row mprices does not decode/],
    ['totals', withRow(whole, 'mtotals', Buffer.of(9)), /its row mtotals does not decode/],
    ['a huge row', withRow(whole, 'x', Buffer.alloc(0), 0xffff_ffff), /has a row of 4294967296 bytes/],
  ] as const) {
    writeFileSync(file, bytes)
    await t.rejects(
      restoreBackup({ backup: backup.directory, data: target, now: start }),
      { ...altered, message },
      name,
    )
    t.strictSame(readdirSync(target), [], name)
  }
  writeFileSync(file, withRow(whole, 'mother', Buffer.of(1)))
  await restoreBackup({ backup: backup.directory, data: target, now: start })
})

t.test('nothing is restored over a store or a key, nor from what is no backup', async (t) => {
  const { data, backup } = await backedUp(t, { rows: 10 })
  const attempt = (target: string, from = backup.directory) =>
    restoreBackup({ backup: from, data: join(data, target), now: start })
  for (const [name, put] of [
    ['a key', 'relay.key'],
    ['a store', 'store/CURRENT'],
  ] as const) {
    cpSync(join(data, put), join(data, name, put))
    await t.rejects(attempt(name), { code: 'ERR_CONFLICT' }, name)
  }
  await t.rejects(attempt('new', join(data, 'store')), { code: 'ERR_NOT_FOUND' })
  await t.rejects(attempt('new', join(data, 'nothing')), { code: 'ERR_NOT_FOUND' })
  mkdirSync(join(data, 'other'))
  writeFileSync(join(data, 'other', 'tls.pem'), '')
  await attempt('other')
  t.strictSame(readdirSync(join(data, 'other')).sort(), ['relay.key', 'store', 'tls.pem'])
  mkdirSync(join(data, 'busy'))
  const another = await openDatabase(join(data, 'busy', 'store.restoring'))
  await t.rejects(attempt('busy'), { code: 'ERR_BUSY' }, 'another process restores to it')
  await another.close()
  await attempt('busy')
})
