/** Pages, filters and cursors: docs/protocol.md §4.4. */
import t from 'tap'
import { Cursor, Entry } from '../../contracts/api.ts'
import type { SealedRecord } from '../../market/record.ts'
import { examinedEntries } from '../../relay/store/inventory.ts'
import type { InventoryQuery, Store } from '../../relay/store/store.ts'
import { identityOf } from '../fixtures/keys.ts'
import {
  clock,
  makeRecord,
  openStore,
  type RecordFacts,
  receiver,
  start,
  termsOf,
} from '../fixtures/records.ts'

const owners = ['ann', 'ben', 'cy'].map((name) => identityOf(name))
const inbox = { inbox: receiver }

async function write(store: Store, facts: RecordFacts) {
  const record = await makeRecord(facts)
  await store.write(record, termsOf(record))
  return record
}

const paths = ({ entries }: { entries: readonly { path: string }[] }) => entries.map(({ path }) => path)

/** All pages of a query, one cursor after another. */
async function all(store: Store, query: Omit<InventoryQuery, 'after'> & { after?: number }) {
  const found: string[] = []
  let after = query.after ?? 0
  for (;;) {
    const page = await store.inventory({ ...query, after: store.placeOfCursor(store.cursorOf(after)) })
    if (page.entries.length > query.limit || page.place < after) throw new Error('a page out of its bounds')
    found.push(...paths(page))
    after = page.place
    if (!page.more) return found
  }
}

t.test('entries are detailed, in order of arrival, filtered by owner, tag and time', async (t) => {
  const now = clock()
  const store = await openStore(t, { directory: t.testdir(), now })
  const records: SealedRecord[] = []
  for (let n = 0; n < 12; n++) {
    records.push(await write(store, { owner: owners[n % 3]!, tag: n % 2 === 0 ? 'even' : 'odd' }))
    now.ms += 1
  }
  const of = (wanted: (n: number) => boolean) => records.filter((_, n) => wanted(n)).map(({ path }) => path)
  const [ann, ben] = owners.map(({ identity }) => identity)

  const { entries } = await store.inventory({ view: inbox, after: 0, limit: 1 })
  const { place, ...entry } = entries[0]!
  t.strictSame(Entry.strict().parse(entry), {
    path: records[0]!.path,
    at: start,
    bytes: records[0]!.content.length,
    tag: 'even',
    expires: records[0]!.expires,
  })
  t.equal(place, start * 1024)
  for (const limit of [1, 2, 5, 12, 100]) {
    t.strictSame(
      await all(store, { view: inbox, limit }),
      of(() => true),
    )
    t.strictSame(
      await all(store, { view: inbox, tag: 'odd', limit }),
      of((n) => n % 2 === 1),
    )
    t.strictSame(await all(store, { view: inbox, tag: 'none', limit }), [])
    t.strictSame(
      await all(store, { view: { outbox: ben! }, limit }),
      of((n) => n % 3 === 1),
    )
    t.strictSame(
      await all(store, { view: { inbox: receiver, owners: [ben!] }, limit }),
      of((n) => n % 3 === 1),
    )
    const two = { inbox: receiver, owners: [ben!, ann!, identityOf('nobody').identity] }
    t.strictSame(
      await all(store, { view: two, limit }),
      of((n) => n % 3 !== 2),
    )
    const [after, before] = [store.placeAfter(start + 2), store.placeAfter(start + 6)]
    t.strictSame(
      await all(store, { view: inbox, after, before, limit }),
      of((n) => n > 2 && n <= 6),
    )
    t.strictSame(
      await all(store, { view: two, after, before, limit }),
      of((n) => n > 2 && n <= 6 && n % 3 !== 2),
    )
  }
})

t.test('a page says there is more only when there is, and resumes behind what it has seen', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  for (let n = 0; n < 4; n++) await write(store, { tag: `${n}` })

  t.match(await store.inventory({ view: inbox, after: 0, limit: 3 }), { more: true })
  t.match(await store.inventory({ view: inbox, after: 0, limit: 4 }), { more: false, place: store.head() })
  t.match(await store.inventory({ view: inbox, after: 0, tag: '0', limit: 4 }), {
    more: false,
    place: store.head(),
  })
  const late = store.placeAfter(start + 1000)
  t.strictSame(await store.inventory({ view: inbox, after: late, limit: 4 }), {
    entries: [],
    place: store.head(),
    more: false,
    examined: 0,
  })
})

t.test('a cursor never skips what arrives later, even below a far bound', async (t) => {
  const store = await openStore(t, { directory: t.testdir() })
  const first = await write(store, {})
  const before = store.placeAfter(Number.MAX_SAFE_INTEGER)
  const page = await store.inventory({ view: inbox, after: 0, before, limit: 10 })
  const second = await write(store, {})

  const next = await store.inventory({ view: inbox, after: page.place, before, limit: 10 })

  t.strictSame([paths(page), paths(next)], [[first.path], [second.path]])
})

t.test('expired entries are not listed, swept or not', async (t) => {
  const now = clock()
  const store = await openStore(t, { directory: t.testdir(), now })
  await write(store, { ttl: 1 })
  const kept = await write(store, { ttl: 2 })
  await write(store, { ttl: 1 })
  now.ms += 1000

  t.strictSame(await all(store, { view: inbox, limit: 1 }), [kept.path])
  t.equal(await store.hasRecords(receiver), true)
})

t.test(
  'one request examines a bounded number of entries; an empty page may have more behind it',
  async (t) => {
    const store = await openStore(t, { directory: t.testdir() })
    const template = await makeRecord({ tag: 'common' })
    const common = Array.from({ length: examinedEntries + 5 }, (_, n) => {
      const request = { ...template.msg.request, recordId: `r${n}` }
      const record = {
        ...template,
        hash: n.toString(16).padStart(64, '0'),
        msg: { ...template.msg, request },
      }
      return () => store.write(record, termsOf(record))
    })
    for (let n = 0; n < common.length; n += 1000)
      await Promise.all(common.slice(n, n + 1000).map((put) => put()))
    const rare = await write(store, { tag: 'rare' })

    const first = await store.inventory({ view: inbox, after: 0, tag: 'rare', limit: 10 })
    const second = await store.inventory({ view: inbox, after: first.place, tag: 'rare', limit: 10 })

    t.match(first, { entries: [], more: true })
    t.strictSame(paths(second), [rare.path])
    t.equal(second.more, false)
  },
)

t.test('a cursor of another epoch has expired and says from when to ask again', async (t) => {
  const now = clock()
  const store = await openStore(t, { directory: t.testdir(), now })
  await write(store, {})
  const cursor = store.cursorOf(store.head())
  const alien = (place: number) => `0123456789abcdef.${place}`

  t.equal(Cursor.parse(cursor), cursor)
  t.equal(store.placeOfCursor(cursor), store.head())
  t.throws(
    () => store.placeOfCursor(store.cursorOf(store.head() + 1)),
    { code: 'ERR_EXPIRED' },
    'never given out',
  )
  for (const [at, resumeTs] of [
    [start - 5, start - 6],
    [start + 5, start - 1],
  ] as const) {
    t.throws(() => store.placeOfCursor(alien(at * 1024 + 7)), { code: 'ERR_EXPIRED', extras: { resumeTs } })
  }
  t.throws(() => store.placeOfCursor(`${store.meta.epoch}.9999999999999999`), { code: 'ERR_MALFORMED' })
})
