/** What strangers may make a relay hold or do is bounded, and what an operator must see is seen. */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { pino } from 'pino'
import t from 'tap'
import { Clock } from '../../relay/clock.ts'
import { readConfig } from '../../relay/config.ts'
import { startRelay } from '../../relay/relay.ts'
import { openRelay, start, startTestRelay } from '../fixtures/relay.ts'
import { actor, ask, openSocket, post, sealFor, sealRecord } from '../fixtures/wire.ts'

const portOf = (url: string): number => Number(new URL(url).port)

t.test('a refused upgrade ends its connection, whatever the other side does', async (t) => {
  const relay = await startTestRelay(t.testdir())
  const socket = connect({ port: portOf(relay.url), host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  let answer = ''
  socket.on('data', (chunk) => {
    answer += chunk
  })
  socket.write('GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
  await once(socket, 'end')
  t.match(answer, /^HTTP\/1\.1 404 /)

  // The peer keeps its side open; a connection that was kept for it would keep the relay from stopping.
  await relay.close()
})

t.test('one address holds at most its share of connections', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'connectionsPerAddress=3'])
  const open: Socket[] = []
  t.teardown(() => {
    for (const socket of open) socket.destroy()
  })
  for (let i = 0; i < 3; i += 1) {
    const socket = connect(portOf(relay.url), '127.0.0.1')
    open.push(socket)
    await once(socket, 'connect')
  }
  const surplus = connect(portOf(relay.url), '127.0.0.1')
  surplus.on('error', () => undefined)
  await once(surplus.resume(), 'close')

  t.equal(open.filter((socket) => !socket.destroyed).length, 3, 'those before it stay')
})

t.test(
  'a socket whose answers are not read gets ERR_LIMIT for more, and nothing is done for it',
  async (t) => {
    const small = ['recordBytes=1000', 'batch=1', 'page=10', 'replyBytes=24000']
    const relay = await openRelay(t, ['--open', ...small.flatMap((limit) => ['--limit', limit])])
    const [alice, bob] = [actor(), actor()]
    const record = await sealRecord(relay, alice, bob, { maxPulls: 1 })
    await post(relay.url, record.text)
    const socket = await openSocket(relay.url)
    t.teardown(() => socket.close())
    const requests = [
      ...Array.from({ length: 2 }, () => ({ type: 'inventory' })),
      { type: 'read', path: record.path },
    ]
    const frames = await Promise.all(requests.map((request) => sealFor(relay, bob, request)))
    const raw = (socket.ws as any)._socket as Socket
    raw.cork()
    for (const { text } of frames) socket.send(text)
    raw.uncork()

    const answers = [await socket.next(), await socket.next(), await socket.next()]

    t.match(answers[0].msg.request, { result: [record.path] })
    t.match(answers[1].msg.request, { result: [record.path] })
    t.match(answers[2].msg.request, { code: 'ERR_LIMIT', retryAfterMs: 0 })
    socket.send(frames[2]!.text)
    t.match(
      await socket.next(),
      JSON.parse(record.text),
      'what was refused cost no pull and may be sent again',
    )
  },
)

t.test('malformed messages count against their address before they are parsed', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'failuresPerMinute=2'])
  for (const text of ['{', '[{} ]']) t.match(await post(relay.url, text), { body: { code: 'ERR_MALFORMED' } })

  t.match(await post(relay.url, '{'), { status: 429, body: { code: 'ERR_LIMIT', retryAfterMs: Number } })
})

t.test('a text of too many values is refused before it is parsed', async (t) => {
  const relay = await openRelay(t)
  const many = `[${Array.from({ length: 200_002 }, () => '0').join(',')}]`

  t.match(await post(relay.url, many), { status: 413, body: { code: 'ERR_TOO_LARGE' } })
})

t.test('a clock is trusted while it goes with the one that nobody sets, or a person says so', (t) => {
  const hour = 3_600_000
  let [now, monotonic] = [start, 0]
  const clock = new Clock({ now: () => now, monotonic: () => monotonic, lastStamp: start })
  now += 5 * hour
  monotonic += 5 * hour
  t.equal(clock.trouble, undefined)
  now += hour + 1
  t.match(clock.trouble, /jumped by 60 minutes/)
  t.throws(() => clock.check(), { code: 'ERR_BUSY' })
  now -= 2 * hour + 2
  t.match(clock.trouble, /jumped by -60 minutes/)
  clock.confirm()
  t.equal(clock.trouble, undefined)

  const behind = { now: () => start, monotonic: () => 0, lastStamp: start + hour + 1 }
  t.match(new Clock(behind).trouble, /behind the last record/)
  t.end()
})

t.test(
  'while the clock is not trusted nothing is done that is billed by it, listings go on, and health says why',
  async (t) => {
    const args = ['--data', t.testdir(), '--listen', '127.0.0.1:0', '--min-free-disk', '0', '--open']
    let time = start
    const now = () => time
    const log = pino({ level: 'silent' })
    const running = await startRelay(readConfig(args, {}), { log, now, monotonic: () => 0 })
    t.teardown(() => running.close())
    const relay = { ...running, now }
    const [alice, bob] = [actor(), actor()]
    const record = await sealRecord(relay, alice, bob, { ttl: 86_400 })
    t.match(await post(relay.url, record.text), { status: 200 })
    time += 3_600_001

    t.match(await post(relay.url, (await sealRecord(relay, alice, bob)).text), {
      reply: { code: 'ERR_BUSY' },
    })
    const recordId = record.path.split('/').at(-1)!
    t.match((await ask(relay, bob, { type: 'read', path: record.path })).reply, { code: 'ERR_BUSY' })
    t.match((await ask(relay, alice, { type: 'delete', recordId })).reply, { code: 'ERR_BUSY' })
    t.match((await ask(relay, alice, { type: 'prove', path: record.path, index: 0 })).reply, {
      code: 'ERR_BUSY',
    })
    t.match((await ask(relay, bob, { type: 'inventory' })).reply, { result: [record.path] })
    const health = await fetch(`${relay.url}/health`)
    t.equal(health.status, 503)
    t.match(await health.json(), { status: 'error', description: /the clock jumped/ })
  },
)

t.test('a store without its key is not opened under a new one', async (t) => {
  const data = t.testdir()
  await (await startTestRelay(data)).close()
  rmSync(`${data}/relay.key`)

  await t.rejects(startTestRelay(data), { code: 'ERR_NOT_FOUND', message: /relay\.key is missing/ })
})

t.test('a variable opens a relay only by a word that says so', (t) => {
  const open = (word: string) => readConfig(['--data', 'd'], { RELAYD_OPEN: word }).open
  for (const word of ['1', 'true', 'YES', 'on']) t.equal(open(word), true, word)
  for (const word of ['0', 'false', 'No', 'off']) t.equal(open(word), false, word)
  for (const word of ['maybe', 'n', 'open']) t.throws(() => open(word), { code: 'ERR_USAGE' }, word)
  t.end()
})
