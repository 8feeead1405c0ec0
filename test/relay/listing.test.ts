/** `inventory` over the wire: docs/protocol.md §4.4. */
import t from 'tap'
import { ANYONE_KEY, anyonePrivateKey } from '../../market/identity.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { openRelay, start } from '../fixtures/relay.ts'
import { type Actor, actor, ask, askSigned, postSigned, sealRecord, type Target } from '../fixtures/wire.ts'

type Wish = Record<string, unknown>

const list = (relay: Target, from: Actor, wish: Wish = {}) =>
  askSigned(relay, from, { type: 'inventory', ...wish })

async function write(relay: Target, from: Actor, to: Actor, given: Parameters<typeof sealRecord>[3] = {}) {
  const record = await sealRecord(relay, from, to, given)
  await postSigned(relay, record)
  return record.path
}

t.test('an inbox is filtered by owner, tag and time of arrival, in the order of places', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob, carol] = [actor(), actor(), actor()]
  const paths: string[] = []
  for (const [owner, tag] of [
    [alice, 'x'],
    [carol, 'x'],
    [alice, 'y'],
    [bob, 'x'],
  ] as const) {
    relay.clock.ms += 100
    paths.push(await write(relay, owner, bob, { tag }))
  }
  const late = await write(relay, alice, bob, { tag: 'x', timestamp: start - 60_000 })
  const [first, second, third, own] = paths as [string, string, string, string]

  const cases: [string, Wish, string[]][] = [
    ['all', {}, [...paths, late]],
    ['of one owner', { owner: carol.identity }, [second]],
    [
      'of an array of owners, merged by place',
      { owner: [carol.identity, alice.identity] },
      [first, second, third, late],
    ],
    ['an array of the signer’s own key filters the inbox', { owner: [bob.identity] }, [own]],
    ['of an owner who left nothing', { owner: actor().identity }, []],
    ['with a tag', { tag: 'y' }, [third]],
    ['with a tag nobody used', { tag: '' }, []],
    ['of an owner with a tag', { owner: alice.identity, tag: 'x' }, [first, late]],
    ['after a time, exclusive', { afterTs: start + 200 }, [third, own, late]],
    ['until a time, inclusive', { beforeTs: start + 200 }, [first, second]],
    ['between times', { afterTs: start + 100, beforeTs: start + 300 }, [second, third]],
    ['a late upload counts by its arrival', { afterTs: start + 399 }, [own, late]],
    ['nothing after now', { afterTs: start + 400 }, []],
    ['the beginning of time', { afterTs: 0, beforeTs: 0 }, []],
  ]
  for (const [name, wish, expected] of cases) {
    const { result, more } = await list(relay, bob, wish)
    t.same({ result, more }, { result: expected, more: false }, name)
  }
  t.match(await list(relay, carol), { result: [] }, 'another’s inbox stays his')
})

t.test('an outbox is listed for its owner alone, used-up records included', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const used = await write(relay, alice, bob, { maxPulls: 1 })
  const kept = await write(relay, alice, actor())
  await ask(relay, bob, { type: 'read', path: used })

  t.match(await list(relay, alice, { owner: alice.identity }), { result: [used, kept] })
  t.match(await list(relay, alice, { owner: alice.identity, limit: 1 }), { result: [used], more: true })
  t.match(await list(relay, bob), { result: [] })
  t.match(await list(relay, bob, { owner: alice.identity }), { result: [] })
  t.match(await list(relay, bob, { owner: [alice.identity] }), { result: [] })
})

t.test('with detail, entries say when, how much, as what and until when', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const path = await write(relay, alice, bob, { content: Buffer.alloc(777), tag: 'tag', ttl: 60 })

  const expected = [{ path, at: start, bytes: 777, tag: 'tag', expires: start + 60_000 }]
  t.same((await list(relay, bob, { detail: true })).result, expected)
  t.same((await list(relay, alice, { detail: true, owner: alice.identity })).result, expected)
  t.same((await list(relay, bob, { detail: false })).result, [path])
})

t.test('pages of any size, each from the cursor before, list everything once', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'page=5'])
  const [alice, bob] = [actor(), actor()]
  const paths: string[] = []
  for (let i = 0; i < 12; i += 1)
    paths.push(await write(relay, alice, bob, { tag: i % 2 === 0 ? 'even' : 'odd' }))

  for (const [limit, size] of [
    [undefined, 5],
    [1_000_000, 5],
    [5, 5],
    [3, 3],
    [1, 1],
  ]) {
    const seen: string[] = []
    let wish: Wish = { ...(limit !== undefined && { limit }) }
    for (let more = true; more; ) {
      const page = await list(relay, bob, wish)
      t.ok(page.result.length <= size!)
      seen.push(...page.result)
      wish = { ...wish, cursor: page.cursor }
      more = page.more
    }
    t.same(seen, paths, `limit ${limit}`)
  }
})

t.test('a cursor is a place: it holds for every filter and stands above afterTs', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob, carol] = [actor(), actor(), actor()]
  const before = [await write(relay, alice, bob, { tag: 'x' }), await write(relay, carol, bob, { tag: 'y' })]
  const { cursor } = await list(relay, bob, { tag: 'nothing has this tag' })
  const { cursor: between } = await list(relay, bob, { limit: 1 })
  // The clock stands, so these have the `at` of the earlier ones.
  const after = [await write(relay, alice, bob, { tag: 'x' }), await write(relay, carol, bob, { tag: 'y' })]
  const own = await write(relay, bob, alice)

  t.same((await list(relay, bob, { cursor })).result, after)
  t.same((await list(relay, bob, { cursor, afterTs: 0 })).result, after)
  t.same((await list(relay, bob, { cursor, afterTs: start + 1e6 })).result, after)
  t.same((await list(relay, bob, { cursor, owner: carol.identity })).result, [after[1]])
  t.same((await list(relay, bob, { cursor, tag: 'x' })).result, [after[0]])
  t.same((await list(relay, bob, { cursor: between })).result, [before[1], ...after])
  t.same((await list(relay, bob, { cursor: between, beforeTs: start - 1 })).result, [])
  t.same((await list(relay, alice, { cursor })).result, [own], 'in the inbox of another')
  t.same((await list(relay, bob, { cursor, owner: bob.identity })).result, [own], 'in an outbox')
  const end = await list(relay, bob)
  t.same((await list(relay, bob, { cursor: end.cursor })).result, [])
})

t.test('a cursor of another store is ERR_EXPIRED, what is none ERR_MALFORMED', async (t) => {
  const relay = await openRelay(t)
  const bob = actor()
  const { cursor } = await list(relay, bob)
  const [epoch, place] = cursor.split('.')
  const other = epoch === '0'.repeat(16) ? '1'.repeat(16) : '0'.repeat(16)

  const refused = await list(relay, bob, { cursor: `${other}.${place}` })
  t.match(refused, { code: 'ERR_EXPIRED', resumeTs: Number })
  t.ok(refused.resumeTs <= start)
  t.match(await list(relay, bob, { cursor: `${other}.0` }), { code: 'ERR_EXPIRED', resumeTs: 0 })
  for (const bad of [
    '',
    'x',
    `${epoch}`,
    `${epoch}.`,
    `${epoch}.01`,
    `${epoch}.-1`,
    `${epoch}.1.1`,
    `${epoch.toUpperCase()}x.1`,
  ]) {
    t.match(
      (await ask(relay, bob, { type: 'inventory', cursor: bad })).body,
      { code: 'ERR_MALFORMED' },
      JSON.stringify(bad),
    )
  }
  t.match((await ask(relay, bob, { type: 'inventory', cursor: `${epoch}.9999999999999999` })).reply, {
    code: 'ERR_MALFORMED',
  })
  for (const wish of [
    { limit: 0 },
    { limit: -1 },
    { owner: [] },
    { owner: 'x' },
    { afterTs: -1 },
    { detail: 1 },
  ]) {
    t.match(
      (await ask(relay, bob, { type: 'inventory', ...wish })).body,
      { code: 'ERR_MALFORMED' },
      JSON.stringify(wish),
    )
  }
})

t.test(
  'a public channel is an inbox of key 1, listed by owner and read by whoever comes first',
  async (t) => {
    const relay = await openRelay(t)
    const anyone = new KeyWallet(anyonePrivateKey)
    const [alice, carol] = [actor(), actor()]
    const post = await sealRecord(relay, alice, ANYONE_KEY, { maxPulls: 2 })
    await postSigned(relay, post)
    await postSigned(relay, await sealRecord(relay, carol, ANYONE_KEY))

    t.match(await list(relay, anyone, { owner: alice.identity }), { result: [post.path] })
    t.match(await list(relay, anyone, { owner: [alice.identity] }), { result: [post.path] })
    t.match(await list(relay, anyone, { owner: ANYONE_KEY }), { result: [] }, 'it has no outbox')
    for (let pull = 0; pull < 2; pull += 1)
      t.equal((await ask(relay, anyone, { type: 'read', path: post.path })).text, post.text)
    t.match(await askSigned(relay, anyone, { type: 'read', path: post.path }), { result: null })
    t.match(await list(relay, anyone, { owner: alice.identity }), { result: [] })
  },
)
