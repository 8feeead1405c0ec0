/** What posts for many can be relied on for, through relays that die, forget and lie (docs/protocol.md §4.4, §5). */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { merge } from '../../client/feeds/merge.ts'
import { takeChannel } from '../../client/home/channels.ts'
import { Home } from '../../client/home/home.ts'
import { Connection } from '../../client/wire/connection.ts'
import { ANYONE_KEY } from '../../market/identity.ts'
import type { RelayAddress } from '../../market/address.ts'
import type { FeedItem } from '../../client/index.ts'
import { identityOf } from '../fixtures/keys.ts'
import { startProxy } from '../fixtures/lying-relay.ts'
import { befriend, type Person, person, relayCommand, reopen, writerFor } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)
t.testdir()
const at = (name: string) => join(t.testdirName, name)

/** In the order of the feed: what posts say, and why others are not there. */
const said = (items: readonly FeedItem[]): string[] =>
  items.map((item) =>
    item.state === 'gone' ? item.why : item.payload.type === 'post' ? item.payload.text : item.payload.type,
  )
const feedOf = async ({ client }: Person, channel?: string) => said(await client.feeds.items({ channel }))

t.test(
  'a public feed is read by anybody through all relays of its writer, and one of them may die',
  async (t) => {
    const [first, second] = [await startTestRelay(at('first')), await startTestRelay(at('second'))]
    t.teardown(() => first.close())
    let reads = 0
    let isLying = false
    const counting = async (relay: RelayAddress, mayLie = false) =>
      startProxy(t, relay, (body, answer) => {
        reads += body.split('"type":"read"').length - 1
        return isLying && mayLie && body.includes('"read"')
          ? answer.replaceAll('"tag":"', '"tag":"x')
          : answer
      })
    const relays = [await counting(first), await counting(second, true)]
    const alice = await person(at('alice'), 'Alice', relays)
    const carol = await person(at('carol'), 'Carol', [first])

    const one = await alice.client.feeds.post('one')
    await alice.client.feeds.post('two', { subject: 'again' })
    const followed = await carol.client.feeds.followFile((await alice.client.me()).text)
    const both = await carol.client.feeds.refresh()
    // As a kill leaves it between the posts and the places.
    const kept = join(carol.home, 'feeds', `${ANYONE_KEY}.${alice.client.identity}.json`)
    writeFileSync(kept, JSON.stringify({ ...JSON.parse(readFileSync(kept, 'utf8')), cursors: {} }))
    const again = await carol.client.feeds.refresh()
    const readsOfTwo = reads
    isLying = true
    // Two, so that one of them is first asked for where it is forged.
    await alice.client.feeds.post('not forged')
    await alice.client.feeds.post('nor this')
    const honest = await carol.client.feeds.refresh()
    isLying = false
    await second.close()
    await alice.client.feeds.post('three')
    const alone = await (await reopen(carol)).client.feeds.refresh({ attempts: 1 })

    t.match(one, { state: 'delivered', accepted: [String, String] })
    t.match(followed, { name: 'Alice', key: alice.client.identity })
    t.match(both, { posts: 2, gone: [], lacking: [], failures: [] })
    t.match(again, { posts: 0 })
    t.match(honest, { posts: 2 }, 'what one relay forges comes from the next')
    t.match(alone, { posts: 1, gone: [], failures: [{ error: { code: /UNREACHABLE/ } }] })
    t.equal(readsOfTwo, 2, 'each post once')
    t.same(await feedOf(carol), ['one', 'two', 'not forged', 'nor this', 'three'])
    t.same(await feedOf(alice), await feedOf(carol), 'own posts are there, too')
    t.match(await carol.client.feeds.items({ limit: 1 }), [{ from: alice.client.identity, state: 'here' }])
    await t.rejects(alice.client.feeds.followFile((await alice.client.me()).text), { code: 'ERR_CONFLICT' })
    await t.rejects(carol.client.feeds.follow('Alice'), { code: 'ERR_NOT_FOUND' })
    t.match(await carol.client.feeds.unfollow('Alice'), { key: alice.client.identity })
    t.same(await feedOf(carol), [])
  },
)

t.test('the price is of all pulls on all relays, and when those are used up readers are told', async (t) => {
  const sell = ['--price', 'egressGB=10000000000']
  const [dear, dearer] = await Promise.all(
    ['dear', 'dearer'].map((name) => startTestRelay(at(name), { args: sell })),
  )
  t.teardown(() => Promise.all([dear!.close(), dearer!.close()]))
  const writer = await person(at('writer'), 'Writer', [dear!, dearer!])
  for (const relay of [dear!, dearer!])
    await relay.operator.grant({ key: writer.client.identity, satoshi: 1e6 })
  const readers = ['Eve', 'Other', 'Late'].map((name) => person(at(name), name, [dear!]))
  const [eve, other, late] = (await Promise.all(readers)) as [Person, Person, Person]
  for (const { client } of [eve, other, late]) await client.feeds.followFile((await writer.client.me()).text)
  const prices: number[] = []
  const onQuote = ({ satoshis }: { satoshis: string }) => void prices.push(Number(satoshis))

  const small = await writer.client.feeds.post('for one reader', { maxPulls: 1, onQuote })
  const wide = await writer.client.feeds.post('for many', { onQuote })
  await t.rejects(writer.client.feeds.post('too dear', { maxCost: prices[1]! - 1 }), { code: 'ERR_COST' })
  const typed = await relayCommand(writer.home, ['post', 'typed', '--max-pulls', '2'], { tty: true })
  await eve.client.feeds.refresh()
  // Each relay gives one pull, and somebody else has the other.
  await other.client.feeds.refresh()
  const third = await late.client.feeds.refresh()

  t.ok(Number(small.reserved.total) <= prices[0]! && prices[0]! > 0)
  t.ok(Number(wide.reserved.total) <= prices[1]!)
  t.ok(prices[1]! > 50 * prices[0]!, 'a hundred readers on each relay unless said')
  t.match(typed.stderr, /costs at most \d+ satoshi/)
  for (const one of [eve, other]) t.same(await feedOf(one), ['for one reader', 'for many', 'typed'])
  t.same(await feedOf(late), ['used up', 'for many', 'typed'])
  t.match(third, { posts: 2, gone: [{ id: small.recordId, why: 'used up' }] })
})

t.test(
  '300 posts come in pages, the same ones never twice, and what one relay hides another shows',
  async (t) => {
    const [whole, part] = [await startTestRelay(at('whole')), await startTestRelay(at('part'))]
    t.teardown(() => Promise.all([whole.close(), part.close()]))
    const busy = await person(at('busy'), 'Busy', [whole, part])
    const fan = await person(at('fan'), 'Fan', [whole])
    const { wallet, record } = await writerFor(busy)
    const records = []
    for (let index = 0; index < 299; index++)
      records.push(
        await record(whole, {
          ...{ to: ANYONE_KEY, recordId: `post${index}` },
          payload: { type: 'post', text: `${index}`, ...(index > 0 && { previous: `post${index - 1}` }) },
        }),
      )
    const stores = records.map(({ msg }) => ({ type: 'store' as const, record: { msg } }))
    await new Connection(whole, wallet).callBatch(stores)
    await fan.client.feeds.followFile((await busy.client.me()).text)

    const all = await fan.client.feeds.refresh()
    const last = await busy.client.feeds.post('last')
    await new Connection(part, wallet).call({ type: 'delete', recordId: last.recordId })
    const more = await fan.client.feeds.refresh()
    const items = await fan.client.feeds.items({ limit: 300 })
    const typed = await relayCommand(fan.home, ['feed', '--human', '--limit', '2'])

    t.match(all, { posts: 299, gone: [], lacking: [] })
    t.match(more, { posts: 1, lacking: [{ relay: part.url, posts: [last.recordId] }] })
    t.same(said(items), [...records.map((_, index) => String(index)), 'last'])
    t.match(typed, { code: 0, stdout: /Busy: 298\n.*Busy: last\n/, stderr: /does not list 1 of these posts/ })
  },
)

t.test('a post that no relay lists is found by the one after it', async (t) => {
  const relay = await startTestRelay(at('hiding'))
  t.teardown(() => relay.close())
  const [shy, seeker] = [
    await person(at('shy'), 'Shy', [relay]),
    await person(at('seeker'), 'Seeker', [relay]),
  ]
  const { wallet, record } = await writerFor(shy)
  const make = (recordId: string, previous?: string) =>
    record(relay, {
      to: ANYONE_KEY,
      recordId,
      payload: { type: 'post', text: recordId, ...(previous && { previous }) },
    })
  const connection = new Connection(relay, wallet)
  await connection.write(await make('hidden', 'never'))
  // As if the relay had listed only what came after.
  await seeker.client.feeds.followFile((await shy.client.me()).text)
  const { reply } = await connection.call({ type: 'inventory', afterTs: 0 })
  writeFileSync(
    join(seeker.home, 'feeds', `${ANYONE_KEY}.${shy.client.identity}.json`),
    JSON.stringify({ cursors: { [relay.key]: reply.cursor }, posts: [], gone: [] }),
  )
  await connection.write(await make('shown', 'hidden'))

  const found = await seeker.client.feeds.refresh()

  t.match(found, { posts: 2, gone: [{ id: 'never', why: 'gone' }] })
  t.match(found.lacking, [{ relay: relay.url, posts: ['hidden'] }])
  t.same(await feedOf(seeker), ['gone', 'hidden', 'shown'])
})

t.test(
  'a private channel: members read and post, the removed do not, and old or foreign keys change nothing',
  async (t) => {
    const relay = await startTestRelay(at('private'))
    t.teardown(() => relay.close())
    const people = ['Anna', 'Ben', 'Cleo', 'Dan'].map((name) => person(at(name), name, [relay]))
    const [anna, ben, cleo, dan] = (await Promise.all(people)) as [Person, Person, Person, Person]
    await befriend(anna, ben, cleo, dan)
    const post = (who: Person, text: string) => who.client.feeds.post(text, { channel: 'Anna/team' })
    const read = async (who: Person) => {
      await who.client.pull()
      await who.client.feeds.refresh()
      return feedOf(who)
    }

    await anna.client.feeds.createChannel('team')
    await anna.client.feeds.post('before', { channel: 'team' })
    await anna.client.feeds.invite('team', [ben.client.identity])
    await anna.client.feeds.post('to Ben', { channel: 'team' })
    await anna.client.feeds.invite('team', [await anna.client.friend('Cleo')], { hasHistory: true })
    const invited = await relayCommand(ben.home, ['pull', '--human'])
    const words = / invites you to the channel team\n.* has a new key for the channel team\n$/
    t.match(invited.stdout, words, 'an invitation once')
    t.same(await read(ben), ['to Ben'], 'without history only what came after')
    t.same(await read(cleo), ['before', 'to Ben'], 'with it all of it')
    await post(ben, 'from Ben')
    t.same(await read(cleo), ['before', 'to Ben', 'from Ben'], 'members post too')
    t.same(await read(dan), [])
    await t.rejects(post(dan, 'from outside'), { code: 'ERR_NOT_FOUND' })

    await anna.client.feeds.removeMembers('team', [cleo.client.identity])
    await ben.client.pull()
    await post(cleo, 'I am still here')
    await anna.client.feeds.post('without Cleo', { channel: 'team' })
    t.same(
      await read(ben),
      ['to Ben', 'from Ben', 'without Cleo'],
      'own posts too; who was removed is not heard',
    )
    t.same(await read(cleo), ['before', 'to Ben', 'from Ben', 'I am still here'], 'and hears nothing new')
    t.match(await cleo.client.feeds.channels(), [{ name: 'team', isRemoved: true }], 'and knows why')
    const told = await relayCommand(cleo.home, ['feed', '--channel', 'team', '--human'])
    t.match(told, { code: 0, stderr: /you were removed from the channel team/ })
    await t.rejects(post(cleo, 'let me in'), { code: 'ERR_FORBIDDEN' })
    t.match(await ben.client.feeds.channels(), [
      { name: 'team', isRemoved: false, epoch: 3, members: [ben.client.identity] },
    ])
    t.same(await feedOf(anna, 'team'), ['before', 'to Ben', 'without Cleo'])

    const { wallet, record } = await writerFor(cleo)
    const owner = await writerFor(anna)
    const key = 'ab'.repeat(32)
    const forged = { type: 'channel' as const, name: 'team', members: [cleo.client.identity], key, epoch: 99 }
    const connection = new Connection(relay, wallet)
    await connection.write(
      await record(relay, { to: ben.client.identity, recordId: 'foreign', payload: forged }),
    )
    const before = await ben.client.feeds.channels()
    for (const [recordId, epoch] of [
      ['older', 1],
      ['same', 3],
    ] as const) {
      const late = await owner.record(relay, {
        to: ben.client.identity,
        recordId,
        payload: { ...forged, epoch, key: 'cd'.repeat(32) },
      })
      await new Connection(relay, owner.wallet).write(late)
    }
    await ben.client.pull()
    const after = await ben.client.feeds.channels()

    t.match(
      after.find(({ owner }) => owner === anna.client.identity),
      before[0]!,
      'an older epoch, or another key for this one, changes nothing',
    )
    t.match(
      after.find(({ owner }) => owner === cleo.client.identity),
      { epoch: 99 },
      'another owner is another channel',
    )
    await t.rejects(ben.client.feeds.post('to whom', { channel: 'team' }), { code: 'ERR_CONFLICT' })
    t.equal(ben.notices.filter(({ type }) => type === 'record-unread').length, 2)
    await post(ben, 'still with Anna')
    await anna.client.feeds.refresh()
    t.same(await feedOf(anna, 'team'), ['before', 'to Ben', 'from Ben', 'without Cleo', 'still with Anna'])

    await anna.client.feeds.invite('team', [cleo.client.identity])
    await cleo.client.pull()
    t.match(
      await cleo.client.feeds.channels(),
      [{ isRemoved: false, epoch: 4 }],
      'until she is invited again',
    )
  },
)

t.test(
  'who lists what is not there pushes out nothing, and who has a key keeps nobody from it',
  async (t) => {
    const { client, home } = await person(at('nia'), 'Nia')
    const [carol, mallory] = [identityOf('carol').identity, identityOf('mallory').identity]
    const listed = (key: string, name: string, count: number, at: number) => ({
      ...{ relay: { url: `http://${name}`, key }, cursor: undefined, isWhole: true },
      entries: Array.from({ length: count }, (_, one) => ({
        path: `/${carol}/outbox/${ANYONE_KEY}/${name}${one}`,
        ...{ at, bytes: 300 },
      })),
    })
    const lists = [listed(mallory, 'invented', 500, 9), listed(carol, 'real', 1, 1)]
    const { found } = merge({ cursors: {}, posts: [], gone: [] }, lists, 0)
    const key = (one: number) => `${one}`.padStart(64, 'a')
    const take = (owner: string, name: string, epoch: number, number: number) =>
      takeChannel(
        Home.at(home),
        { owner, nowMs: 1 },
        { type: 'channel', name, epoch, key: key(number), members: [] },
      )
    await take(carol, 'team', 1, 1)
    await take(mallory, 'stolen', 1, 2)
    await take(carol, 'team', 2, 2)
    for (let one = 3; one < 52; one++) await take(mallory, `${one}`, 1, one)

    t.match(found[0], { path: /real0$/ })
    await t.rejects(
      take(carol, 'other', 1, 2),
      { code: 'ERR_CONFLICT' },
      'of one owner a key is of one channel',
    )
    await t.rejects(take(mallory, 'one more', 1, 99), { code: 'ERR_LIMIT' })
    await take(carol, 'other', 1, 98)
    t.match(
      (await client.feeds.channels()).find(({ name }) => name === 'team'),
      { epoch: 2 },
    )
  },
)

t.test('who follows without being a friend hears of new relays', async (t) => {
  const [old, fresh] = [await startTestRelay(at('old')), await startTestRelay(at('fresh'))]
  t.teardown(() => Promise.all([old.close(), fresh.close()]))
  const [kim, lou] = [await person(at('kim'), 'Kim', [old]), await person(at('lou'), 'Lou', [old])]
  await lou.client.feeds.followFile((await kim.client.me()).text)
  const mia = await person(at('mia'), 'Mia', [old])
  await mia.client.feeds.follow((await mia.client.addFriend((await kim.client.me()).text)).friend)
  await kim.client.feeds.post('from the old place')

  await kim.client.addRelay(`${fresh.url}#${fresh.key}`)
  await kim.client.removeRelay(old.key)
  await lou.client.feeds.refresh()
  await mia.client.feeds.refresh()
  const [moved] = await lou.client.feeds.followed()
  await kim.client.feeds.post('from the new place')
  await lou.client.feeds.refresh()

  t.match(moved!.relays, [{ key: fresh.key }])
  t.match((await mia.client.friend('Kim')).relays, [{ key: fresh.key }], 'of a friend who is followed too')
  const told = [lou, mia].map(({ notices }) => notices.filter(({ type }) => type === 'friend-moved').length)
  t.same(told, [1, 1], 'once, with the last of it')
  const posts = (await feedOf(lou)).filter((text) => text !== 'identity')
  t.same(posts, ['from the old place', 'from the new place'])
})

t.test(
  'a file for many is fetched by whoever follows, and what waits for a relay goes up later',
  async (t) => {
    const relay = await startTestRelay(at('filing'))
    t.teardown(() => relay.close())
    const [ina, joe] = [await person(at('ina'), 'Ina', [relay]), await person(at('joe'), 'Joe', [relay])]
    await befriend(ina, joe)
    const bytes = randomBytes(300_000)
    writeFileSync(at('map.bin'), bytes)
    await joe.client.feeds.follow('Ina')
    let isAway = true
    const gate = await startProxy(t, relay, (_, answer) => (isAway ? undefined : answer))
    await ina.client.removeRelay(relay.key)
    await ina.client.addRelay(`${gate.url}#${gate.key}`)

    const late = await ina.client.feeds.post('late', { attempts: 1 })
    isAway = false
    await (await reopen(ina)).client.flush()
    const posted = await relayCommand(ina.home, ['post', '--file', at('map.bin')])
    await joe.client.pull()
    await joe.client.feeds.refresh()
    const items = await joe.client.feeds.items()
    const typed = await relayCommand(joe.home, ['feed', '--get', posted.rows[0].id])
    const again = await joe.client.feeds.file(posted.rows[0].id)
    await joe.client.finish()
    await ina.client.pull()

    t.equal(late.state, 'queued')
    t.same(said(items), ['late', 'file'])
    t.match(typed, { code: 0, rows: [{ event: 'file', state: 'saved', name: 'map.bin' }] })
    t.same(readFileSync(typed.rows[0].file), bytes)
    t.match(again, { state: 'saved', file: typed.rows[0].file })
    t.match(await ina.client.outbox(), [{ pulledFrom: [] }, { pulledFrom: [] }], 'nobody is told of it')
    await t.rejects(joe.client.feeds.file(late.recordId), { code: 'ERR_NOT_FOUND' })
    await t.rejects(joe.client.feeds.post('x'.repeat(70_000)), { code: 'ERR_TOO_LARGE' })
  },
)

t.test('keys that no relay takes now go to the members with a later command', async (t) => {
  const relay = await startTestRelay(at('away'))
  const [greta, hans] = [await person(at('greta'), 'Greta'), await person(at('hans'), 'Hans', [relay])]
  t.teardown(() => relay.close())
  await befriend(greta, hans)
  await relayCommand(greta.home, ['channel', 'create', 'quiet'])
  const invited = await relayCommand(greta.home, ['channel', 'invite', 'quiet', 'Hans'], { tty: true })
  await greta.client.addRelay(`${relay.url}#${relay.key}`)
  await hans.client.addFriend((await greta.client.me()).text)

  await (await reopen(greta)).client.flush()
  const [file] = readdirSync(join(greta.home, 'channels'))
  const kept = join(greta.home, 'channels', file!)
  // As a kill leaves it between the record and the note of it.
  const [sent] = (await greta.client.outbox()).filter(({ type }) => type === 'channel')
  const untold = [{ to: hans.client.identity, recordId: sent!.id, hasHistory: false }]
  writeFileSync(kept, JSON.stringify({ ...JSON.parse(readFileSync(kept, 'utf8')), untold }))
  await greta.client.flush()
  await hans.client.pull()
  const listed = await relayCommand(hans.home, ['channel', 'list'])

  t.match(invited, { code: 0, stderr: /1 member will get the new key with a later command/ })
  t.match(listed.rows, [{ name: 'quiet', owner: 'Greta', epoch: 1, isOwn: false, members: ['you'] }])
  t.match(await greta.client.feeds.channels(), [{ untold: [] }])
  t.equal((await greta.client.outbox()).filter(({ type }) => type === 'channel').length, 1, 'and once only')
})
