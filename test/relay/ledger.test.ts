/** What is booked when records are written, pulled, proven and end, in the same commit as that (docs/protocol.md §4.9). */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ledgerColumns } from '../../contracts/account.ts'
import { dayMs, type Key } from '../../market/units.ts'
import { checkLedger } from '../../relay/ledger/check/check.ts'
import { entriesOf, pursesNow } from '../../relay/ledger/statements.ts'
import { Pricing } from '../../relay/pricing.ts'
import { accountKey } from '../../relay/store/keys.ts'
import {
  bookReceived,
  bookReturned,
  findPurse,
  grantedBefore,
  pursesOf,
  rememberGrant,
} from '../../relay/store/ledger.ts'
import { available } from '../../relay/store/purses.ts'
import { Account } from '../../relay/store/rows.ts'
import { Sweeper } from '../../relay/store/sweeper.ts'
import { faultyDisk } from '../fixtures/database.ts'
import { ann, ben, dear, PaidStore } from '../fixtures/ledger-store.ts'
import { clock, makeDelete, makeRead, makeRecord, openStore, start, termsOf } from '../fixtures/records.ts'

const owner = ann.identity
const { signal } = new AbortController()

/** A test with a store, whose books must be right after it, whatever it did. */
function booked(name: string, body: (t: Test, paid: PaidStore) => Promise<void>): void {
  t.test(name, async (t) => {
    const paid = await PaidStore.open(t.testdir())
    t.teardown(() => paid.store.close())
    await body(t, paid)
    const snapshot = paid.store.snapshot()
    const { differences } = await checkLedger(snapshot, { now: paid.now(), signal })
    await snapshot.close()
    t.strictSame(differences, [])
  })
}

/** Newest first, only what is not nothing. */
async function moves({ store }: PaidStore, limit = 100): Promise<string[]> {
  const { entries } = await entriesOf(store, owner, { limit })
  return entries.map((entry) => {
    const moved = ledgerColumns
      .filter((column) => entry[column] !== '0')
      .map((column) => `${column} ${entry[column]}`)
    return [entry.what, entry.recordId ?? entry.note, ...moved].join(' ')
  })
}

const availableOf = ({ store }: PaidStore, purse: string, key: Key = owner): number =>
  available(findPurse(store, key, purse)!)

booked('everything that happens to a record is one entry, and a repetition is none', async (t, paid) => {
  const { store, now } = paid
  await paid.give(owner, 'grant', 1000)
  const record = await makeRecord({ owner: ann, recordId: 'one', timestamp: now() })
  const terms = { purse: 'grant', prices: dear, paidUntil: record.expires }
  await store.write(record, () => terms)
  await store.write(record, () => terms)
  const path = { owner, receiver: record.msg.to, recordId: 'one' }
  const read = makeRead(path, 1, now())
  for (let times = 0; times < 3; times++) await store.read(read)
  const proof = { path, hash: '00'.repeat(32), until: now() + 1000, index: 0 }
  await store.prove(proof)
  await store.prove(proof)
  now.ms += 60_000
  const deletion = makeDelete(path)
  for (let times = 0; times < 3; times++) await store.delete(deletion)

  t.strictSame(await moves(paid), [
    'deleted one released 4',
    'prove one reserved 2 earned 2',
    'pull one',
    'write one reserved 5',
    'received operator received 1000',
  ])
  t.equal(availableOf(paid, 'grant'), 997)
})

booked('a proof that nothing is left for is refused, and may be asked for again', async (t, paid) => {
  await paid.give(owner, 'grant', 5)
  const { path } = await paid.write({ recordId: 'one' })
  const request = { path, hash: '00'.repeat(32), until: start + 1000, index: 0 }

  await t.rejects(paid.store.prove(request), { code: 'ERR_PAYMENT_REQUIRED' })
  await paid.give(owner, 'grant', 2)

  t.match(await paid.store.prove(request), { outcome: 'proof' })
})

booked(
  'what a purse does not pay for longer is kept for seven days, unread and without cost',
  async (t, paid) => {
    const { store, now, sweeper } = paid
    await paid.give(owner, 'contract', 100, { serviceEnd: start + 60_000 })
    const facts = { recordId: 'one', purse: 'contract', ttl: 30 * 86_400, paidUntil: start + 60_000 }
    const { path } = await paid.write(facts)
    now.ms += 60_000

    t.match(await paid.read(path), { outcome: 'unpaid' }, 'before anybody noticed')
    await sweeper.run()
    t.match(await paid.read(path), { outcome: 'unpaid' })
    t.match(await paid.prove(path), { outcome: 'unpaid' })
    t.equal(store.counters(owner).records, 1)
    now.ms += 7 * dayMs - 1
    sweeper.confirm()
    await sweeper.run()
    t.equal(store.counters(owner).records, 1)
    now.ms += 1
    await sweeper.run()
    t.equal(store.counters(owner).records, 0)
    t.strictSame(await moves(paid, 1), ['unpaid one released 2'])
  },
)

booked(
  'a purse lapses: what is available goes, and so does what records give back later',
  async (t, paid) => {
    const { now, sweeper } = paid
    await paid.give(owner, 'trial', 200, { lapses: start + dayMs })
    const { path } = await paid.write({ recordId: 'one', purse: 'trial', ttl: 2 * 86_400 })
    now.ms += dayMs
    await sweeper.run()
    t.equal(availableOf(paid, 'trial'), 0)
    // Set back to when it had not lapsed yet.
    now.ms -= 60_000

    await paid.delete(path)

    t.equal(availableOf(paid, 'trial'), 0)
    t.strictSame(await moves(paid), [
      'deleted one earned 52 released 54 returned 54',
      'returned lapsed returned 93',
      'write one reserved 107',
      'received operator received 200',
    ])
  },
)

booked('what lapsed before the sweeper came is given back at once', async (t, paid) => {
  await paid.give(owner, 'trial', 500, { lapses: start + dayMs })
  const { path } = await paid.write({ recordId: 'one', purse: 'trial', ttl: 2 * 86_400 })
  paid.now.ms += dayMs

  await paid.delete(path)
  await paid.sweeper.run()

  t.equal(availableOf(paid, 'trial'), 0)
  t.equal((await moves(paid)).length, 3)
})

booked('an account remembers when it was opened, and its purses in their order', async (t, paid) => {
  await paid.give(owner, 'grant', 5)
  paid.now.ms += 5000
  await paid.give(owner, 'credit', 5)
  await paid.give(owner, 'contract', 5)

  t.equal(Account.decode(paid.store.get(accountKey(owner))!).openedAt, start)
  t.strictSame(pursesOf(paid.store, owner), ['grant', 'credit', 'contract'])
})

booked('no more is taken out than is available', async (t, paid) => {
  const { store } = paid
  await paid.give(owner, 'grant', 10)
  await paid.write({ recordId: 'one' })
  const order = { owner, purse: 'grant', satoshi: 1000, note: 'operator' }

  t.equal(await store.commit((batch) => bookReturned(batch, order)), 5)
  t.equal(await store.commit((batch) => bookReturned(batch, order)), 0)
  t.equal(await store.commit((batch) => bookReturned(batch, { ...order, purse: 'none' })), 0)
  t.strictSame(await moves(paid, 1), ['returned operator returned 5'])
})

booked('a record that is written over an expired one ends it first', async (t, paid) => {
  await paid.give(owner, 'grant', 1000)
  await paid.write({ recordId: 'one', ttl: 60 })
  paid.now.ms += 3_600_000
  const before = await pursesNow(paid.store, owner, paid.now())

  await paid.write({ recordId: 'one', ttl: 60 })

  t.match(before.purses, [{ owed: '0', reserved: '3', records: 0, byteMs: String(522 * 60_000) }])
  t.strictSame((await moves(paid)).slice(0, 2), ['write one reserved 2', 'expired one released 2'])
})

booked('a grant with an id is remembered, and what it came to', async (t, { store }) => {
  await store.commit((batch) => {
    const place = bookReceived(batch, { owner, purse: 'grant', satoshi: 5, note: 'one' })
    rememberGrant(batch, { owner, id: 'one', place })
  })

  t.equal(grantedBefore(store, owner, 'one'), 5)
  t.equal(grantedBefore(store, owner, 'two'), undefined)
  t.equal(grantedBefore(store, ben.identity, 'one'), undefined, 'another owner')
})

booked('an entry has a page, newest first', async (t, paid) => {
  for (const satoshi of [1, 2, 3, 4, 5]) await paid.give(owner, 'grant', satoshi)
  const received: string[] = []
  for (let before: number | undefined, more = true; more; ) {
    const page = await entriesOf(paid.store, owner, { before, limit: 2 })
    received.push(...page.entries.map((entry) => entry.received))
    before = page.place
    more = page.more
  }

  t.strictSame(received, ['5', '4', '3', '2', '1'])
})

t.test('prices of which nobody knows whether they were written are those that were', async (t) => {
  const folder = t.testdir({ before: {}, after: {} })
  for (const fail of ['before', 'after'] as const) {
    const disk = faultyDisk()
    const options = {
      directory: join(folder, fail),
      now: clock(),
      openDatabase: disk.open,
      reopenDelaysMs: [0, 0],
    }
    let ready: () => void = () => {}
    const isReady = new Promise<void>((resolve) => {
      ready = resolve
    })
    const store = await openStore(t, { ...options, onState: (state) => state === 'ready' && ready() })
    const pricing = await Pricing.open(store, { configured: dear, open: false })
    disk.fail = fail

    await t.rejects(pricing.set({ ...dear, egressGB: 1 }), { code: 'ERR_INTERNAL' })
    await isReady

    t.equal(pricing.at(start).egressGB, fail === 'before' ? dear.egressGB : 1)
    t.strictSame(pricing.at(start), (await Pricing.open(store)).at(start))
  }
})

t.test('a batch that took no place and was not written leaves nothing behind in memory', async (t) => {
  const disk = faultyDisk()
  const now = clock()
  let ready: () => void = () => {}
  const isReady = new Promise<void>((resolve) => {
    ready = resolve
  })
  const onState = (state: string) => state === 'ready' && ready()
  const options = { directory: t.testdir(), now, openDatabase: disk.open, reopenDelaysMs: [0, 0], onState }
  const store = await openStore(t, options)
  const write = async (recordId: string) => {
    const record = await makeRecord({ owner: ann, recordId, ttl: 60, timestamp: now() })
    await store.write(record, termsOf(record))
  }
  await write('one')
  now.ms += 60_000
  disk.fail = 'before'

  await t.rejects(new Sweeper({ store, now, monotonic: now }).run(), { code: 'ERR_INTERNAL' })
  await isReady
  await write('two')

  t.equal(store.counters(owner).records, 2, 'the first was not removed')
})
