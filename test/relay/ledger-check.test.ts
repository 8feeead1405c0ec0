/** The check of the books finds nothing in good ones, and each kind of damage in bad ones. */
import { join } from 'node:path'
import t from 'tap'
import { formatPath } from '../../market/record.ts'
import { explain } from '../../relay/ledger/explain.ts'
import { pursesNow } from '../../relay/ledger/statements.ts'
import type { Change } from '../../relay/store/database.ts'
import type { Entry } from '../../relay/store/rows.ts'
import { checkLedger } from '../../relay/ledger/check/check.ts'
import * as keys from '../../relay/store/keys.ts'
import { damages } from '../fixtures/ledger-damages.ts'
import { ann, ben, broken, gone, PaidStore, Rows } from '../fixtures/ledger-store.ts'
import { clock, openStore, start } from '../fixtures/records.ts'

const owner = ann.identity
const dayMs = 86_400_000
const { signal } = new AbortController()

t.test('good books have no difference, whatever is remembered at once', async (t) => {
  const { rows, now } = await Rows.open(t)

  const report = await rows.check([], { now: now() })

  const { ok, differences, more, accounts, purses, entries, records, pulls } = report
  t.strictSame({ ok, differences, more }, { ok: true, differences: [], more: 0 })
  t.strictSame(
    { accounts, purses, entries, records, pulls },
    { accounts: 2, purses: 4, entries: rows.entries.length, records: 6, pulls: 5 },
  )
  const { received, returned, earned, reserved, available } = report
  t.equal(received, 7700)
  t.equal(received, returned + earned + reserved + available)
  t.strictSame(await rows.check([], { now: now(), openRecords: 1 }), report)
})

t.test('every damage is found and named', async (t) => {
  const { rows, now } = await Rows.open(t)

  for (const [name, [damage, ...sentences]] of Object.entries(damages)) {
    const { ok, differences } = await rows.check(damage(rows), { now: now() })
    t.notOk(ok, name)
    for (const sentence of sentences)
      t.ok(
        differences.some((difference) => sentence.test(difference)),
        `${name}: ${sentence}`,
        { differences },
      )
    const inParts = await rows.check(damage(rows), { now: now(), openRecords: 1 })
    t.strictSame(new Set(inParts.differences), new Set(differences), `${name}: the same in parts`)
  }
})

t.test('a record that is paid for longer: its books, its story, and what may be wrong in them', async (t) => {
  const directory = join(t.testdir(), 'store')
  const paid = await PaidStore.open(directory)
  const { now, store, sweeper } = paid
  const purse = 'c'.repeat(64)
  const hour = 3_600_000
  await paid.give(owner, purse, 5000, { serviceEnd: start + hour })
  await paid.give(owner, 'grant', 5000)
  const terms = { purse, ttl: 86_400, paidUntil: start + hour }
  const { path: long, receipt } = await paid.write({ recordId: 'long', ...terms })
  const { path: gone } = await paid.write({ recordId: 'gone', ...terms })
  await paid.write({ recordId: 'late', ...terms })
  const { path: granted } = await paid.write({ recordId: 'granted', ttl: 86_400, paidUntil: start + hour })
  now.ms += 1000
  await paid.read(long)
  for (const path of [long, gone, granted]) t.ok(await paid.extend(path, start + 2 * hour))
  t.ok(await paid.extend(long, start + 3 * hour))
  t.notOk(await paid.extend(long, start + 3 * hour), 'once')
  t.match(await paid.differences(), [/\(extended granted, purse grant\): only a contract may pay for longer/])
  await paid.delete(granted)
  const { purses } = await pursesNow(store, owner, now())
  t.match(purses, [{ purse, records: 3 }, {}])
  now.ms += 1.5 * hour
  await sweeper.run()
  t.notOk(await paid.extend({ ...long, recordId: 'late' }, start + 3 * hour), 'what is in its grace')
  t.match(await paid.read(long), { outcome: 'record' }, 'served after the first end')
  await paid.delete(gone)
  const again = await paid.extend(long, start + 90 * hour)
  t.ok(again, 'to its own end and not beyond')
  await store.close()

  const rows = await Rows.of(t, directory)
  const { paidUntil, reserved } = rows.head('long')
  t.equal(paidUntil, receipt.expires)
  t.ok(Number(reserved) > Number(receipt.charge.reserved))
  const snapshot = rows.database.snapshot()
  const about = formatPath(long)
  const { sentences } = await explain(snapshot, { about, after: 0, limit: 100 }).finally(() =>
    snapshot.close(),
  )
  t.match(
    sentences.join('\n'),
    /was renewed: it is paid for until .*T10:00:00.000Z instead of .*T09:00:00.000Z/,
  )
  const find = (what: string, change: Partial<Entry>) => [rows.changeEntry(what, 'long', change)]
  const faults: [Change[], RegExp][] = [
    [
      find('extended', { until: start + hour - 1 }),
      /\(extended long, .*\): the record was written with another paidUntil/,
    ],
    [
      find('extended', { paidUntil: start + hour }),
      /\(extended long, .*\): the record was paid for as long before/,
    ],
    [
      find('extended', { reserved: 1 }),
      /\(extended long, .*\): it moves 1 satoshi as reserved and must move \d+/,
    ],
    [find('extended', { note: ben.identity }), /\(extended long, .*\): it is for /],
    [[{ key: rows.find('extended', 'long').key, value: undefined }], /another paidUntil/],
    [[rows.changeHead('long', { paidUntil: paidUntil - 1 })], /record long .* has another paidUntil than/],
  ]
  for (const [changes, sentence] of faults) {
    const { differences } = await rows.check(changes, { now: now() })
    t.ok(
      differences.some((one) => sentence.test(one)),
      String(sentence),
      { differences },
    )
  }
})

t.test('a row that cannot be read is a difference with its key, not the end', async (t) => {
  const { rows, now } = await Rows.open(t)
  const { place, expires } = rows.head('one')
  const unreadable = [
    keys.accountKey(owner),
    keys.purseKey(owner, 'grant'),
    rows.find('pull', 'one').key,
    rows.pullKey('one'),
    keys.headKey({ owner, recordId: 'one' }),
    keys.countersKey(owner),
    keys.placeKey(keys.outboxPrefix(owner), place),
    keys.expiryKey(expires, place),
    keys.bodyKey(place),
    keys.metaKey('totals'),
    keys.metaKey('sweep'),
    Buffer.from('l1'),
    Buffer.from('p1'),
    Buffer.from('h1'),
    Buffer.concat([keys.accountKey(owner), Buffer.of(1)]),
  ]

  for (const key of unreadable) {
    const { ok, differences } = await rows.check([broken(key)], { now: now() })
    t.notOk(ok)
    const hex = key.toString('hex')
    t.ok(
      differences.some((difference) => difference.includes(hex)),
      hex,
      { differences },
    )
  }
})

t.test('of very many differences a hundred are told', async (t) => {
  const { rows, now } = await Rows.open(t)
  const strays = Array.from({ length: 250 }, (_, n) =>
    broken(keys.headKey({ owner, recordId: `stray-${n}` })),
  )

  const { ok, differences, more } = await rows.check(strays, { now: now() })

  t.notOk(ok)
  t.equal(differences.length, 100)
  t.equal(more, 150)
})

t.test('signed reads may go after 90 days, and a purse that has lapsed is empty', async (t) => {
  const { rows } = await Rows.open(t)
  const pulls = rows.entries.filter(({ entry }) => entry.what === 'pull')
  const keyOf = (place: number) => keys.placeKey(keys.pullPrefix(owner), place)
  const dropped = pulls.slice(0, 3).map(({ place }) => gone(keyOf(place)))
  const lapsed = [gone(keys.lapseKey(start + 30 * dayMs, owner, 'trial'))]

  t.match(await rows.check(dropped, { now: start + 90 * dayMs }), { ok: false })
  t.match(await rows.check(dropped, { now: start + 90 * dayMs + 2000 }), { ok: true })
  const all = pulls.map(({ place }) => gone(keyOf(place)))
  t.match(await rows.check(all, { now: start + 90 * dayMs + 2000 }), { ok: true })
  const hole = [gone(keyOf(pulls[1]!.place))]
  t.match((await rows.check(hole, { now: start + 90 * dayMs + 2000 })).differences, [
    /pull \d+ of .* \(two, purse grant\): it has number 3 and must have 2/,
    /pull \d+ of .* \(two, purse grant\): its chain does not follow from the pull before it/,
  ])
  t.match((await rows.check(lapsed, { now: start + 30 * dayMs })).differences, [
    /purse trial of .*: it has lapsed, and \d+ satoshi are still available/,
  ])
})

t.test('a relay that charges nothing has good books; a check that is stopped stops', async (t) => {
  const store = await openStore(t, { directory: t.testdir(), now: clock() })
  const snapshot = store.snapshot()
  t.teardown(() => snapshot.close())

  t.match(await checkLedger(snapshot, { now: start, signal }), { ok: true, purses: 0, entries: 0 })
  const stopped = AbortSignal.abort(new Error('the relay stops'))
  await t.rejects(checkLedger(snapshot, { now: start, signal: stopped }), { message: 'the relay stops' })
})
