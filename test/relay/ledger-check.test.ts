/** The check of the books finds nothing in good ones, and each kind of damage in bad ones. */
import t from 'tap'
import { checkLedger } from '../../relay/ledger/check/check.ts'
import * as keys from '../../relay/store/keys.ts'
import { damages } from '../fixtures/ledger-damages.ts'
import { ann, broken, gone, Rows } from '../fixtures/ledger-store.ts'
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
