/** From one relay to another with everything and everybody, wherever it is interrupted (docs/protocol.md §8.4). */
import { join } from 'node:path'
import t from 'tap'
import { Home } from '../../client/home/home.ts'
import { entries } from '../../client/home/outbox.ts'
import { flush } from '../../client/mail/flush.ts'
import { contextOf } from '../../client/open.ts'
import type { Context } from '../../client/context.ts'
import { beginMigration, goOnMigrating, type Money } from '../../client/relays/migrate.ts'
import { addRelay, removeRelay } from '../../client/people/me.ts'
import { recordsAt } from '../../client/relays/listing.ts'
import { formatAddress, type RelayAddress } from '../../market/address.ts'
import { startProxy } from '../fixtures/lying-relay.ts'
import { befriend, type Person, person, relayCommand, reopen, texts } from '../fixtures/people.ts'
import { startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(120_000)

const exit = { ok: 0, failed: 1, usage: 2, unreachable: 3, notFound: 5 }
const directory = t.testdir()

async function relayOf(name: string) {
  const real = await startTestRelay(join(directory, name))
  t.teardown(() => real.close())
  const door = { isShut: false }
  const address = await startProxy(t, real, (_, answer) => (door.isShut ? undefined : answer))
  return { ...address, door }
}

const [old, next, other] = [await relayOf('old'), await relayOf('next'), await relayOf('other')]
let people = 0
async function couple(relays: readonly RelayAddress[] = [old]) {
  const name = String(people++)
  const alice = await person(join(directory, `alice${name}`), 'Alice', relays)
  const bob = await person(join(directory, `bob${name}`), 'Bob', [other])
  await befriend(alice, bob)
  return { alice, bob, to: bob.client.identity }
}

const nothing: Money = { close: async () => [], withdraw: async () => undefined }

const urls = async ({ client }: Person) => (await client.relays()).map(({ url }) => url)

t.test('records move, a friend follows by himself, and then the old relay is left', async (t) => {
  const { alice, bob, to } = await couple()
  for (const text of ['one', 'two']) await alice.client.send(to, text)
  const run = (...args: string[]) => relayCommand(alice.home, ['migrate', ...args])

  const none = await run()
  const usage = await run('--from', old.url)
  const first = await run('--from', old.url, '--to', next.url, '--once')
  const both = await urls(await reopen(alice))
  await alice.client.send(to, 'three')
  const wrong = await run('--from', old.url, '--to', other.url, '--once')
  const stopped = await run('--stop')
  const resumed = await run('--from', old.url, '--to', next.url, '--once')
  // He hears where Alice is, and looks there.
  const pulled = await bob.client.pull()
  await bob.client.finish()
  const last = await run('--every', '1s')
  await alice.client.send(to, 'four')
  old.door.isShut = true
  const later = await bob.client.pull()
  old.door.isShut = false

  t.match(none, { code: exit.notFound })
  t.match(usage, { code: exit.usage })
  t.match(first, {
    code: exit.ok,
    rows: [{ step: 'meet', copied: Number, unmovedCount: 0, foreign: 0, unseen: ['Bob'] }],
    stderr: /\d records of [\d.]+ k?B to .*: at most 0 satoshi/,
  })
  t.same(both, [old.url, next.url])
  t.match([stopped, resumed], [{ code: exit.ok, rows: [{ step: 'stopped' }] }, { rows: [{ step: 'meet' }] }])
  t.match(wrong, { code: exit.failed, stderr: /is not over/ })
  t.same((await texts(pulled.messages)).sort(), ['one', 'three', 'two'])
  t.match(bob.notices, [{ type: 'friend-moved' }])
  t.match(last, {
    code: exit.ok,
    rows: [{ step: 'done', copied: Number, lost: [], unseen: [], contracts: [] }],
  })
  t.same(await urls(await reopen(alice)), [next.url])
  t.same(await texts(later.messages), ['four'])
  const friend = await bob.client.friend('Alice')
  t.same(
    friend.relays.map(({ url }) => url),
    [next.url],
  )
  const left = [...(await entries(Home.at(alice.home))).values()].filter(
    ({ accepted, gone, to: reader }) => accepted.has(old.key) && !gone.has(old.key) && reader === to,
  )
  t.same(left, [], 'what was copied takes no room on the old relay any more')
})

t.test('from a dead relay everything moves that was kept; who is not seen in time is named', async (t) => {
  const { alice, bob, to } = await couple()
  for (const text of ['one', 'two']) await alice.client.send(to, text)
  const { client } = alice
  old.door.isShut = true
  next.door.isShut = true
  const away = await relayCommand(alice.home, [
    'migrate',
    '--from',
    old.url,
    '--to',
    formatAddress(next),
    '--once',
  ])
  next.door.isShut = false
  other.door.isShut = true
  const state = await client.redundancy.migrate(old.url, next.url, { waitSeconds: 3600 })
  const waiting = await relayCommand(alice.home, ['migrate', '--once'])
  other.door.isShut = false
  const after = await client.redundancy.migrate(old.url, formatAddress(next), { waitSeconds: 0 })
  const pulled = await bob.client.addFriend((await client.me()).text).then(() => bob.client.pull())
  old.door.isShut = false

  t.match(away, { code: exit.unreachable, stderr: /ERR_UNREACHABLE/ })
  t.match(state, {
    step: 'meet',
    copied: Number,
    foreign: null,
    friends: [{ isSeen: false, isSilent: true }],
  })
  t.match(waiting, { code: exit.ok, stderr: /Bob's relays do not answer/ })
  t.match(after, { step: 'done', lost: [], friends: [{ isSeen: false, isSilent: false }] })
  t.match(after.notWithdrawn, /cannot reach/)
  t.match(await urls(alice), [next.url])
  t.same((await texts(pulled.messages)).sort(), ['one', 'two'])
})

t.test('what the new relay loses on the way is put there again before the old one is left', async (t) => {
  const { alice, to } = await couple()
  const [kept] = [await alice.client.send(to, 'one'), await alice.client.send(to, 'two')]
  const state = await alice.client.redundancy.migrate(old.url, next.url, { waitSeconds: 3600 })
  const ctx = await contextOf(await Home.open(alice.home), {})
  // Another copy of this key deleted it there: nobody told this home.
  await ctx.connect(next).call({ type: 'delete', recordId: kept!.recordId })
  const after = await alice.client.redundancy.migrate(old.url, next.url, { waitSeconds: 0 })

  t.match(state, { step: 'meet', copied: Number })
  t.match(after, {
    step: 'done',
    lost: [kept!.recordId],
    unmoved: [{ id: kept!.recordId, code: 'ERR_CONFLICT' }],
  })
})

t.test('changes that nobody was told of one after another are told where friends still look', async (t) => {
  const { alice, bob } = await couple()
  const ctx = await contextOf(await Home.open(alice.home), {})
  // As kills leave it: each before anybody was told.
  await addRelay(ctx, next)
  await removeRelay(ctx, old.key)
  await addRelay(ctx, other)
  await (await reopen(alice)).client.finish()
  await bob.client.pull()

  t.same(
    (await bob.client.friend('Alice')).relays.map(({ url }) => url),
    [next.url, other.url],
  )
})

t.test(
  'on a relay that was left and is gone the last news is tried for some days, and not until it expires',
  async (t) => {
    const { alice } = await couple([old, next])
    old.door.isShut = true
    await alice.client.removeRelay(old.key)
    const outbox = await relayCommand(alice.home, ['outbox', '--human'])
    const ctx = await contextOf(await Home.open(alice.home), {})
    const waiting = async (days: number) => {
      await flush({ ...ctx, now: () => Date.now() + days * 86_400_000 }, { attempts: 1 })
      return [...(await entries(ctx.home)).values()].filter(({ queued }) => queued.has(old.key)).length
    }
    const [soon, later] = [await waiting(2), await waiting(4)]
    old.door.isShut = false

    t.match(outbox.stdout, /waits for .*, no longer yours/)
    t.same([soon, later], [1, 0])
  },
)

/** The process ends at the `last`th thing it does to its home or says to a relay. */
function mortal(ctx: Context, last: number) {
  let steps = 0
  const tick = () => {
    if (++steps >= last) throw new Error('the process ended')
  }
  const watched = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(inner, name) {
        const value = Reflect.get(inner, name)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          tick()
          const result = value.apply(inner, args)
          return result instanceof Promise ? result.finally(tick) : result
        }
      },
    })
  const home = watched(ctx.home)
  return {
    ctx: { ...ctx, home, connect: (at: RelayAddress) => watched(ctx.connect(at)) },
    steps: () => steps,
  }
}

t.test('a migration stops at any step, and goes on', async (t) => {
  const { alice, bob, to } = await couple()
  for (const text of ['one', 'two', 'three']) await alice.client.send(to, text)
  const home = await Home.open(alice.home)
  const ctx = await contextOf(home, {})
  const migrate = async (from: RelayAddress, towards: RelayAddress, at: Context) => {
    await beginMigration(at, { from, to: towards, waitSeconds: 0 })
    return goOnMigrating(at, { money: nothing })
  }
  const whole = mortal(ctx, Number.POSITIVE_INFINITY)
  await migrate(old, next, whole.ctx)
  const stride = Math.ceil(whole.steps() / 10)
  let [from, towards]: RelayAddress[] = [next, old]
  let crashes = 0
  for (let last = 2; last < whole.steps(); last += stride) {
    const process = mortal(ctx, last)
    const ended = await migrate(from!, towards!, process.ctx).then(
      () => false,
      () => true,
    )
    if (ended) crashes += 1
    const state = await migrate(from!, towards!, await contextOf(home, {}))
    const listed = await recordsAt(ctx, ctx.connect(towards!), {})
    const live = [...(await entries(home)).values()].filter(
      ({ to: reader, accepted }) => reader === to && accepted.size > 0,
    )
    const lacking = live.filter(({ id }) => !listed.has(id)).length
    if (state.step !== 'done' || state.lost.length > 0 || lacking > 0)
      t.fail(`${last}: ${state.step}, ${lacking} lost`)
    t.same(await urls(alice), [towards!.url], `at step ${last}`)
    ;[from, towards] = [towards, from]
  }
  await bob.client.addFriend((await alice.client.me()).text)
  const pulled = await bob.client.pull()

  t.ok(crashes > 7, `${crashes} of ${whole.steps()} steps`)
  t.same((await texts(pulled.messages)).sort(), ['one', 'three', 'two'])
})
