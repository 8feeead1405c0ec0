/** docs/protocol.md §7.2: listening resumes after anything, and what is heard is heard once. */
import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WebSocketServer } from 'ws'
import { watchedIn } from '../../client/feeds/listen.ts'
import { Connection } from '../../client/wire/connection.ts'
import type { FeedPost, Message } from '../../client/index.ts'
import { live } from '../../client/wire/live.ts'
import { fromKeyWallet } from '../../client/wallet.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import type { RelayAddress } from '../../market/address.ts'
import { alice, bob, relay } from '../fixtures/keys.ts'
import { ask, infoOf, sealReply } from '../fixtures/lying-relay.ts'
import { couple, type Person, relayCommand, spawnCommand } from '../fixtures/people.ts'
import { spawnRelay, startTestRelay } from '../fixtures/relay.ts'

t.setTimeout(280_000)

/** Bob listening: what he heard, and a promise for the `n`-th of anything. */
function listening({ client }: Person, { hasFeeds = false } = {}) {
  const stop = new AbortController()
  const heard: string[] = []
  const waiting = new Set<() => void>()
  let lives = 0
  const files: string[] = []
  const changed = () => {
    for (const check of waiting) check()
  }
  const ended = client.listen({
    signal: stop.signal,
    onMessage: ({ payload }: Message) => {
      if (payload.type === 'text') heard.push(payload.text)
      changed()
    },
    onLive: () => {
      lives += 1
      changed()
    },
    ...(hasFeeds && {
      onPost: ({ payload, channel }: FeedPost) => {
        if (payload.type === 'post') heard.push(`${channel?.name ?? 'all'}: ${payload.text}`)
        changed()
      },
    }),
    onFile: (file) => {
      files.push(file.state)
      changed()
    },
  })
  const until = (what: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      const check = () => what() && resolve()
      waiting.add(check)
      check()
      ended.then(() => reject(new Error('ended')), reject)
    })
  return {
    heard,
    files,
    hears: (count: number) => until(() => heard.length >= count),
    isLive: (count: number) => until(() => lives >= count),
    hasFiles: (count: number) => until(() => files.length >= count),
    stop: () => {
      stop.abort()
      return ended
    },
  }
}

t.test('what was stored comes first, then what arrives, each once, files too', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const { alice, bob } = await couple(t, [relay], [relay])
  const to = await alice.client.friend('Bob')
  const bytes = randomBytes(400_000)
  writeFileSync(join(t.testdirName, 'file.bin'), bytes)
  await alice.client.send(to, 'before')

  const ear = listening(bob)
  await ear.isLive(1)
  await alice.client.send(to, 'while')
  await ear.hears(2)
  await alice.client.sendFile(to, join(t.testdirName, 'file.bin'))
  await ear.hasFiles(1)
  await ear.stop()
  const after = await bob.client.pull()

  t.same(ear.heard, ['before', 'while'])
  t.same(readFileSync(join(bob.home, 'files/Alice/file.bin')), bytes)
  t.same(after.messages, [])
})

t.test('posts of those who are followed and in channels are heard too, through few sockets', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const { alice, bob } = await couple(t, [relay], [relay])
  await bob.client.feeds.follow('Alice')
  await alice.client.feeds.post('before')

  const ear = listening(bob, { hasFeeds: true })
  await ear.hears(1)
  await ear.isLive(1)
  await alice.client.feeds.post('while')
  await ear.hears(2)
  await alice.client.feeds.createChannel('team')
  await alice.client.feeds.invite('team', [bob.client.identity])
  await alice.client.feeds.post('only us', { channel: 'team' })
  await ear.hears(3)
  await alice.client.feeds.post('and again', { channel: 'team' })
  await ear.hears(4)
  await ear.stop()
  await alice.client.feeds.post('after')
  const typed = await relayCommand(bob.home, ['listen', '--count', '1'])

  t.same(ear.heard, ['all: before', 'all: while', 'team: only us', 'team: and again'])
  t.match(typed, { code: 0, rows: [{ event: 'post', name: 'Alice', payload: { text: 'after' } }] })

  const writers = (count: number) =>
    Array.from({ length: count }, (_, index) => ({ owner: `${index}`, relays: [relay] }))
  const reader = (name: string) => fromKeyWallet(new KeyWallet(Buffer.alloc(32, name)))
  const all = [1, 3, 2].map((count) => ({ reader: reader(`${count}`), writers: writers(count) }))
  t.same(
    watchedIn(all, 2).map(({ owners }) => owners.length),
    [3, 2],
    'where there are more than may be had, those of the most writers',
  )
})

t.test('a relay killed and restarted loses nothing and repeats nothing', async (t) => {
  t.testdir()
  const first = await spawnRelay(join(t.testdirName, 'relay'))
  const { alice, bob } = await couple(t, [first], [first])
  const to = await alice.client.friend('Bob')
  const ear = listening(bob)
  await ear.isLive(1)
  await alice.client.send(to, 'one')
  await ear.hears(1)

  await first.kill('SIGKILL')
  await alice.client.send(to, 'two', { attempts: 1 })
  const second = await spawnRelay(join(t.testdirName, 'relay'), { port: first.port })
  t.teardown(() => second.kill('SIGKILL'))
  await alice.client.flush()
  await ear.isLive(2)
  await alice.client.send(to, 'three')
  await ear.hears(3)
  await ear.stop()

  t.same(ear.heard, ['one', 'two', 'three'])
})

t.test('the command listens until it has heard enough, and leaves nothing unacknowledged', async (t) => {
  t.testdir()
  const relay = await startTestRelay(join(t.testdirName, 'relay'))
  t.teardown(() => relay.close())
  const { alice, bob } = await couple(t, [relay], [relay])
  const to = await alice.client.friend('Bob')

  const counted = spawnCommand(bob.home, ['listen', '--count', '2'])
  await counted.seen('live on')
  await alice.client.send(to, 'one')
  await alice.client.send(to, 'two')
  const first = await counted.ended
  const interrupted = spawnCommand(bob.home, ['listen'])
  await interrupted.seen('live on')
  await alice.client.send(to, 'three')
  await interrupted.seen('three')
  interrupted.child.kill('SIGINT')
  const second = await interrupted.ended
  await bob.client.finish()
  await alice.client.pull()

  t.equal(first.code, 0)
  t.match(first.rows, [{ payload: { text: 'one' } }, { payload: { text: 'two' } }])
  t.equal(second.code, 0)
  t.match(second.rows, [{ payload: { text: 'three' } }])
  t.match(await alice.client.outbox(), [
    { state: 'acknowledged' },
    { state: 'acknowledged' },
    { state: 'acknowledged' },
  ])
})

/** A WebSocket relay whose every frame is what `answer` says. */
async function frames(
  t: Test,
  answer: (text: string, connection: number) => Promise<string[]>,
): Promise<RelayAddress> {
  const http = createServer((_, response) => response.end(JSON.stringify(infoOf(relay.identity))))
  const server = new WebSocketServer({ server: http })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.teardown(() => {
    server.close()
    http.closeAllConnections()
    http.close()
  })
  let connections = 0
  server.on('connection', (socket) => {
    const connection = ++connections
    socket.on('message', async (data) => {
      for (const text of await answer(String(data), connection)) socket.send(text)
    })
  })
  const { port } = http.address() as { port: number }
  return { url: `http://127.0.0.1:${port}`, key: relay.identity }
}

const me = fromKeyWallet(new KeyWallet(bob.privateKey))
const cursor = '0123456789abcdef.7'

t.test('a new epoch, a wrong clock and a slow reader are answered as the protocol says', async (t) => {
  const starts: object[] = []
  let first = true
  const address = await frames(t, async (text, connection) => {
    const question = ask(text)
    const { afterTs, cursor: from } = question.request
    starts.push({ afterTs, cursor: from })
    const late = { error: 'ERR_STALE: late', code: 'ERR_STALE', time: Date.now() - 60_000 }
    if (connection === 1 && first) {
      first = false
      return [await sealReply(question, late)]
    }
    const gone = { error: 'ERR_EXPIRED: gone', code: 'ERR_EXPIRED', resumeTs: 42 }
    if (from !== undefined) return [await sealReply(question, gone)]
    const push = (fields: object) => JSON.stringify({ push: { listen: question.hash, cursor, ...fields } })
    const good = await sealReply(question, { result: true })
    const slow = push({ code: 'ERR_SLOW_READER', error: 'too slow' })
    return connection === 1
      ? [good, push({ records: [`/${alice.identity}/outbox/${bob.identity}/x`] }), slow]
      : [good, push({ live: true })]
  })
  const connection = new Connection(address, me)
  const stop = new AbortController()
  const events: string[] = []

  await live(connection, {
    owners: [alice.identity],
    cursor: async () => '0123456789abcdef.102400',
    onRecords: (paths) => void events.push(`records ${paths.length}`),
    onLive: () => {
      events.push('live')
      stop.abort()
    },
    onDown: (error) => void events.push(`down ${(error as { code?: string }).code}`),
    signal: stop.signal,
  })

  t.same(events, ['records 1', 'down ERR_SLOW_READER', 'live'])
  const again = { cursor: '0123456789abcdef.102400' }
  t.match(starts, [again, again, { afterTs: 42 }, again, { afterTs: 42 }])
  t.ok(Math.abs(connection.clock.now - Date.now() + 60_000) < 5000)
})

t.test('a relay that lies on the socket is left, one that will never serve us is given up', async (t) => {
  const push = JSON.stringify({ push: { listen: 'ab'.repeat(32), live: true, cursor } })
  const lies: ((text: string) => Promise<string[]>)[] = [
    async () => [push],
    async () => ['nonsense'],
    async (text) => [await sealReply(ask(text), { result: true }, { re: 'ab'.repeat(32) })],
  ]
  for (const lie of lies) {
    const stop = new AbortController()
    const codes: unknown[] = []
    await live(new Connection(await frames(t, lie), me), {
      owners: [alice.identity],
      cursor: async () => undefined,
      onRecords: () => t.fail('a lie was believed'),
      onLive: () => t.fail('a lie was believed'),
      onDown: (error) => {
        codes.push((error as { code?: string }).code)
        stop.abort()
      },
      signal: stop.signal,
    })
    t.same(codes, ['ERR_UNTRUSTED'])
  }
  const refusing = await frames(t, async (text) => [
    await sealReply(ask(text), { error: 'ERR_FORBIDDEN: no', code: 'ERR_FORBIDDEN' }),
  ])
  const never = live(new Connection(refusing, me), {
    owners: [alice.identity],
    cursor: async () => undefined,
    onRecords: () => {},
    onLive: () => {},
    onDown: () => {},
    signal: new AbortController().signal,
  })
  await t.rejects(never, { code: 'ERR_FORBIDDEN' })
})
