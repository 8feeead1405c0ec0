/** The story of an account and of a record, page by page, in sentences whose sums are right. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { formatPath, type RecordPath } from '../../market/record.ts'
import { type Explained, explain } from '../../relay/ledger/explain.ts'
import { openDatabase } from '../../relay/store/database.ts'
import { pullPrefix, placeKey } from '../../relay/store/keys.ts'
import { Pull } from '../../relay/store/rows.ts'
import { ann, ben, dear, fillBooks, PaidStore } from '../fixtures/ledger-store.ts'
import { receiver } from '../fixtures/records.ts'

const short = (key: string) => `${key.slice(0, 8)}…${key.slice(-4)}`
const terms = '10 bytes, paid for until 2027-01-22T08:00:00.000Z, 4 pulls'

/** Tells the whole story, so many entries to a page. */
async function teller(t: Test) {
  const directory = join(t.testdir(), 'store')
  const { path } = await fillBooks(directory)
  const database = await openDatabase(directory)
  t.teardown(() => database.close())
  const tell = async (about: string | RecordPath, limit = 1000): Promise<string[]> => {
    const snapshot = database.snapshot()
    const sentences: string[] = []
    const name = typeof about === 'string' ? about : formatPath(about)
    try {
      for (let after: number | undefined = 0; after !== undefined; ) {
        const page: Explained = await explain(snapshot, { about: name, after, limit })
        sentences.push(...page.sentences)
        after = page.next
      }
    } finally {
      await snapshot.close()
    }
    return sentences
  }
  /** Hashes of the signed reads of a record, in their order. */
  const reads = async (recordId: string): Promise<string[]> => {
    const prefix = pullPrefix(ann.identity)
    const scan = database.scan({ gte: prefix, lt: placeKey(prefix, Number.MAX_SAFE_INTEGER) })
    const rows = await scan.next(100)
    await scan.close()
    const pulls = rows.map(([, value]) => Pull.decode(value))
    return pulls.filter((pull) => pull.recordId === recordId).map(({ re }) => re)
  }
  return { database, tell, path, reads }
}

t.test('the story of an account: each entry, and at the end what each purse comes to', async (t) => {
  const { tell } = await teller(t)

  const story = await tell(ann.identity)

  const to = short(receiver)
  const begin = '2027-01-15T08:00:00.000Z'
  t.equal(story.length, 1 + 17 + 3)
  t.equal(story[0], `${begin} the account ${ann.identity} was opened`)
  t.equal(story[1], `${begin} 300 satoshi came in: operator (purse trial: received 300)`)
  const written = `one was written to ${to}: ${terms}, at most 367.749 satoshi`
  t.equal(story[4], `${begin} ${written} (purse grant: reserved 368)`)
  t.strictSame(story.slice(10, 12), [
    '2027-01-15T08:00:01.000Z one was pulled, for 0.522 satoshi (purse grant: earned 1)',
    '2027-01-15T08:00:01.000Z one was pulled, for 0.522 satoshi (purse grant: no whole satoshi moved)',
  ])
  t.strictSame(story.slice(14), [
    '2027-01-15T08:00:01.000Z one was proven, for 1.536 satoshi (purse grant: reserved 1, earned 2)',
    '2027-01-15T08:00:02.000Z gone was deleted after 1 pull: it cost 0.785 of at most 4.524 satoshi, not counting proofs (purse grant: released 4)',
    '2027-01-15T08:20:02.000Z short expired after 0 pulls: it cost 0.298 of at most 2.386 satoshi, not counting proofs (purse trial: released 2)',
    '2027-01-15T08:20:02.000Z late is paid for no longer, though kept for a time of grace, after 0 pulls: it cost 0.624 of at most 2.712 satoshi, not counting proofs (purse contract: released 2)',
    'purse trial: received 300, spent 0 (a little less than 0.559), 5 reserved for 1 live record and a begun satoshi, 295 available: 300 = 0 returned + 0 earned + 5 reserved + 295 available',
    'purse grant: received 5000, spent 4 (a little less than 4.409), 734 reserved for 2 live records and a begun satoshi, 4262 available: 5000 = 0 returned + 4 earned + 734 reserved + 4262 available',
    'purse contract: received 2000, spent 0 (a little less than 0.624), 1 reserved for 0 live records and a begun satoshi, 1999 available: 2000 = 0 returned + 0 earned + 1 reserved + 1999 available',
  ])
})

t.test(
  'the story of a live record: its pulls by their signed reads, and what it may still cost',
  async (t) => {
    const { tell, path, reads } = await teller(t)

    const story = await tell(path('one'))

    const by = (await reads('one')).map((hash) => `by ${short(receiver)} with the signed read ${hash}`)
    const prices = 'storageGBDay 100000000, egressGB 1000000, ingressGB 500000'
    t.strictSame(story, [
      `2027-01-15T08:00:00.000Z it was written: ${terms}, at the prices ${prices}; exactly 367.749 satoshi at most (purse grant: reserved 368)`,
      `2027-01-15T08:00:01.000Z it was pulled ${by[0]}, for exactly 0.522 satoshi (purse grant: earned 1)`,
      `2027-01-15T08:00:01.000Z it was pulled ${by[1]}, for exactly 0.522 satoshi (purse grant: no whole satoshi moved)`,
      '2027-01-15T08:00:01.000Z it was proven, for exactly 1.536 satoshi (purse grant: reserved 1, earned 2)',
      'it is kept until 2027-01-22T08:00:00.000Z at the latest, with 2 of 4 pulls left',
      'up to 2027-01-15T08:20:02.000Z it cost a little less than 2.032 satoshi: 0.261 to take it in, 1.044 for 2 pulls, 0.727 for its storage for 1202.000 s, not counting proofs',
      'it may still cost 365.718 satoshi in the purse grant',
    ])
  },
)

t.test('the stories of records that ended, or cost nothing', async (t) => {
  const { tell, path } = await teller(t)
  const endOf = async (recordId: string) => (await tell(path(recordId))).slice(-2)

  t.strictSame(await endOf('gone'), [
    '2027-01-15T08:00:02.000Z it was deleted after it cost a little less than 0.785 satoshi: 0.261 to take it in, 0.522 for 1 pull, 0.002 for its storage for 2.000 s, not counting proofs (purse grant: released 4)',
    'it is deleted, and its id means nothing else before 2027-01-15T09:00:00.000Z',
  ])
  t.match(await endOf('short'), [
    /it was written: .* \(purse trial: reserved 3\)$/,
    /it expired after it cost a little less than 0\.298 satoshi: .* \(purse trial: released 2\)$/,
  ])
  t.match(await endOf('late'), [
    /it is paid for no longer, though kept for a time of grace, after it cost .* 600\.000 s/,
    /it is kept until 2027-01-16T08:00:00\.000Z at the latest, with 4 of 4 pulls left$/,
  ])
  t.strictSame(await endOf('free'), [
    'it is kept until 2027-01-15T09:00:00.000Z at the latest, with 3 of 4 pulls left, free of charge',
  ])
})

t.test('a story is the same whatever the pages are', async (t) => {
  const { tell, path } = await teller(t)

  for (const about of [ann.identity, path('one'), path('gone'), path('late'), path('free')])
    for (const limit of [1, 2, 3, 7, 17, 18]) t.strictSame(await tell(about, limit), await tell(about))
})

t.test('a signed read that left the pull log is said to be gone', async (t) => {
  const { database, tell, path } = await teller(t)
  const prefix = pullPrefix(ann.identity)
  const scan = database.scan({ gte: prefix, lt: placeKey(prefix, Number.MAX_SAFE_INTEGER) })
  await database.write((await scan.next(100)).map(([key]) => ({ key, value: undefined })))
  await scan.close()

  t.match(
    (await tell(path('two')))[1],
    /it was pulled \(its signed read is kept no longer\), for exactly 0\.522/,
  )
})

t.test('an id that was used twice has the stories of both records, by whom they were for', async (t) => {
  const paid = await PaidStore.open(t.testdir())
  t.teardown(() => paid.store.close())
  await paid.give(ann.identity, 'grant', 1000)
  const { path } = await paid.write({ recordId: 'again', ttl: 10 })
  paid.now.ms += 11_000
  const other = { ...path, receiver: ben.identity }
  await paid.write({ recordId: 'again', ttl: 10, receiver: ben.identity })
  await paid.read(other)
  const snapshot = paid.store.snapshot()
  t.teardown(() => snapshot.close())
  const tell = async (about: RecordPath) =>
    (await explain(snapshot, { about: formatPath(about), after: 0, limit: 100 })).sentences

  t.match(await tell(path), [/written/, /expired/])
  t.match(await tell(other), [/written/, /pulled by/, /it is kept/, /up to/, /may still cost/])
})

t.test('what nobody knows has no story', async (t) => {
  const { tell, path } = await teller(t)

  await t.rejects(tell('hello'), { code: 'ERR_MALFORMED' })
  await t.rejects(tell('/hello'), { code: 'ERR_MALFORMED' })
  await t.rejects(tell(receiver), { code: 'ERR_NOT_FOUND' })
  await t.rejects(tell(path('nothing')), { code: 'ERR_NOT_FOUND' })
  await t.rejects(tell({ ...path('one'), receiver: ben.identity }), { code: 'ERR_NOT_FOUND' })
})

t.test('who writes free of charge has no purse', async (t) => {
  const paid = await PaidStore.open(t.testdir())
  t.teardown(() => paid.store.close())
  const free = { ...dear, storageGBDay: 0, egressGB: 0, ingressGB: 0 }
  await paid.write({ recordId: 'free', prices: free })
  const snapshot = paid.store.snapshot()
  t.teardown(() => snapshot.close())

  t.strictSame(await explain(snapshot, { about: ann.identity, after: 0, limit: 10 }), {
    sentences: [`${ann.identity} has no purse and 1 live record, kept free of charge`],
  })
})
