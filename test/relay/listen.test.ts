/** What is stored, then `live`, then what arrives, each path once: docs/protocol.md §7.2. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { Push } from '../../contracts/api.ts'
import { ANYONE_KEY, anyonePrivateKey } from '../../market/identity.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { openRelay, start, startTestRelay } from '../fixtures/relay.ts'
import {
  type Actor,
  actor,
  openSocket,
  post,
  postBatch,
  postSigned,
  replyTo,
  sealFor,
  sealRecord,
  type Socket,
  type Target,
} from '../fixtures/wire.ts'

type Wish = Record<string, unknown>

/** Sends a `listen` and returns its hash and its reply. */
async function listen(relay: Target, socket: Socket, who: Actor, wish: Wish): Promise<[string, any]> {
  const sealed = await sealFor(relay, who, { type: 'listen', ...wish })
  socket.send(sealed.text)
  const answer = await socket.next()
  return [sealed.hash, 'msg' in answer ? replyTo(relay, sealed, JSON.stringify(answer)) : answer]
}

const nextPush = async (socket: Socket): Promise<any> => Push.parse(await socket.next()).push

/** The paths pushed for `listen` until `live`, and its cursor. */
async function untilLive(socket: Socket, listen: string): Promise<{ paths: string[]; cursor: string }> {
  const paths: string[] = []
  for (;;) {
    const push = await nextPush(socket)
    t.equal(push.listen, listen)
    if (push.live) return { paths, cursor: push.cursor }
    paths.push(...push.records)
  }
}

async function write(
  relay: Target,
  from: Actor,
  to: Actor | string,
  given: Parameters<typeof sealRecord>[3] = {},
) {
  const record = await sealRecord(relay, from, to, given)
  t.match(await postSigned(relay, record), { result: true })
  return record.path
}

t.test('a listener gets what is stored, the live marker, and what arrives, each path once', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob, carol] = [actor(), actor(), actor()]
  const before = [
    await write(relay, alice, bob),
    await write(relay, alice, bob),
    await write(relay, alice, bob),
  ]
  const [bobs, carols] = [await openSocket(relay.url), await openSocket(relay.url)]

  const [hash, reply] = await listen(relay, bobs, bob, { afterTs: 0 })
  t.same([reply.type, reply.result], ['reply', true])
  t.same((await untilLive(bobs, hash)).paths, before)
  const [carolsHash] = await listen(relay, carols, carol, { afterTs: 0 })
  t.same((await untilLive(carols, carolsHash)).paths, [])

  const first = await write(relay, alice, bob)
  await write(relay, bob, alice) // not for him
  const second = await write(relay, alice, bob)
  const forCarol = await write(relay, alice, carol)
  const pushes = [await nextPush(bobs), await nextPush(bobs)]
  t.same(
    pushes.map(({ records }) => records),
    [[first], [second]],
  )
  t.same((await nextPush(carols)).records, [forCarol], 'only the receiver is told')

  const [later, again] = [await openSocket(relay.url), pushes[0].cursor]
  const [laterHash] = await listen(relay, later, bob, { cursor: again })
  t.same((await untilLive(later, laterHash)).paths, [second], 'a cursor is exclusive')
  const [nowHash] = await listen(relay, later, bob, { afterTs: start })
  t.same((await untilLive(later, nowHash)).paths, [], 'afterTs means arrival')
  for (const socket of [bobs, carols, later]) socket.close()
})

t.test('several listens on one socket have their own filters', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'subscriptions=5'])
  const [alice, bob, carol] = [actor(), actor(), actor()]
  const socket = await openSocket(relay.url)
  const names = new Map<string, string>()
  for (const [name, wish] of Object.entries({
    all: {},
    alice: { owner: alice.identity },
    both: { owner: [alice.identity, carol.identity] },
    tagged: { tag: 'x' },
    own: { owner: bob.identity }, // in a listen this filters the inbox
  })) {
    const [hash] = await listen(relay, socket, bob, { afterTs: 0, ...wish })
    names.set(hash, name)
    await untilLive(socket, hash)
  }
  const heard = async (count: number) => {
    const pushes = []
    while (pushes.length < count) pushes.push(await nextPush(socket))
    return pushes.map((push) => `${names.get(push.listen)} ${push.records}`).sort()
  }

  const one = await write(relay, alice, bob, { tag: 'x' })
  t.same(await heard(4), [`alice ${one}`, `all ${one}`, `both ${one}`, `tagged ${one}`])
  const two = await write(relay, carol, bob)
  t.same(await heard(2), [`all ${two}`, `both ${two}`])
  const three = await write(relay, bob, bob)
  t.same(await heard(2), [`all ${three}`, `own ${three}`])
  await write(relay, bob, alice, { tag: 'x' })
  const [, refused] = await listen(relay, socket, bob, { afterTs: 0 })
  t.match(refused, { code: 'ERR_LIMIT' }, 'and no push came before this answer')
  t.notOk('retryAfterMs' in refused)
  socket.close()
})

t.test('a listen takes exactly one of afterTs and cursor, and for key 1 an owner', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob, anyone] = [actor(), actor(), new KeyWallet(anyonePrivateKey)]
  const socket = await openSocket(relay.url)
  const cursor = `${'0'.repeat(16)}.5`
  for (const wish of [{}, { afterTs: 0, cursor }, { cursor: 'x' }, { afterTs: 0, limit: 5 }]) {
    t.match((await listen(relay, socket, bob, wish))[1], { status: 'error', code: 'ERR_MALFORMED' })
  }
  t.match((await listen(relay, socket, bob, { cursor }))[1], { code: 'ERR_EXPIRED', resumeTs: 0 })
  t.match((await listen(relay, socket, anyone, { afterTs: 0 }))[1], { code: 'ERR_MALFORMED' })

  const [hash] = await listen(relay, socket, anyone, { afterTs: 0, owner: alice.identity })
  await untilLive(socket, hash)
  await write(relay, bob, ANYONE_KEY)
  const post = await write(relay, alice, ANYONE_KEY)
  t.same((await nextPush(socket)).records, [post])
  socket.close()
})

t.test('across disconnections and restarts a listener hears everything exactly once', async (t) => {
  const data = t.testdir()
  const bob = actor()
  let up = startTestRelay(data)
  t.teardown(async () => (await up).close())
  let restarts = 0
  const restart = () => {
    restarts += 1
    up = up.then((relay) => relay.close()).then(() => startTestRelay(data))
  }
  const expected: string[] = []
  const writeMany = async () => {
    const owner = actor()
    for (let i = 0; i < 50; i += 1) {
      const record = await sealRecord(await up, owner, bob)
      expected.push(record.path)
      // A relay that is stopping answers, breaks off, or says that it is busy; then the same bytes go to the next one.
      for (let stored = false; !stored; ) {
        const answer = await post((await up).url, record.text).catch(() => undefined)
        stored = answer?.reply.result === true
      }
    }
  }
  const heard: string[] = []
  const hearAll = async () => {
    let from: Wish = { afterTs: 0 }
    for (let connection = 1; heard.length < 200; connection += 1) {
      const relay = await up
      const socket = await openSocket(relay.url).catch(() => undefined)
      if (socket === undefined) continue
      try {
        await listen(relay, socket, bob, from)
        for (let pushes = 0; pushes < 3 * connection && heard.length < 200; pushes += 1) {
          const push = await nextPush(socket)
          from = { cursor: push.cursor }
          heard.push(...(push.records ?? []))
          if (connection % 4 === 0 && pushes === 3) restart()
        }
      } catch {
        // The relay went away: on from the cursor.
      } finally {
        socket.ws.terminate()
      }
    }
  }

  await Promise.all([hearAll(), ...Array.from({ length: 4 }, writeMany)])

  t.ok(restarts > 0)
  t.equal(heard.length, 200)
  t.same([...heard].sort(), [...expected].sort())
})

t.test('a reader that is too slow is told so, and resumes from the cursor without loss', async (t) => {
  const limits = ['recordBytes=65536', 'socketBufferBytes=92000', 'pipelined=400']
  const relay = await openRelay(t, ['--open', ...limits.flatMap((limit) => ['--limit', limit])])
  const [alice, bob] = [actor(), actor()]
  const big = await sealRecord(relay, bob, bob, { content: randomBytes(65_536), maxPulls: 1000 })
  await postSigned(relay, big)
  const socket = await openSocket(relay.url)
  const [hash] = await listen(relay, socket, bob, { afterTs: 0, owner: alice.identity })
  await untilLive(socket, hash)
  const reads = await Promise.all(
    Array.from({ length: 200 }, () => sealFor(relay, bob, { type: 'read', path: big.path })),
  )

  // 17 MB of answers are more than the buffers of both ends hold, so pushes pile up behind them.
  socket.ws.pause()
  for (const { text } of reads) socket.send(text)
  const written: string[] = []
  for (let i = 0; i < 50; i += 1) {
    const records = await Promise.all(Array.from({ length: 4 }, () => sealRecord(relay, alice, bob)))
    t.match(
      await postBatch(
        relay.url,
        records.map(({ text }) => text),
      ),
      { status: 200 },
      'others are served meanwhile',
    )
    written.push(...records.map(({ path }) => path))
  }
  socket.ws.resume()

  const pushed: string[] = []
  for (;;) {
    const frame = await socket.next()
    if (!('push' in frame)) continue
    const { push } = Push.parse(frame) as { push: any }
    if (push.code === undefined) pushed.push(...push.records)
    else {
      t.match(push, { listen: hash, code: 'ERR_SLOW_READER' })
      t.match(await socket.closed, { code: 1013 })
      const next = await openSocket(relay.url)
      const [again] = await listen(relay, next, bob, { cursor: push.cursor, owner: alice.identity })
      t.same([...pushed, ...(await untilLive(next, again)).paths], written)
      next.close()
      break
    }
  }
})
