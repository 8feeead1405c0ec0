/** One envelope per frame, answered in order, on connections that are counted: docs/protocol.md §7.2. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { openRelay, start, startTestRelay } from '../fixtures/relay.ts'
import {
  type Actor,
  actor,
  askSigned,
  openSocket,
  postSigned,
  replyTo,
  sealFor,
  sealRecord,
  type Socket,
  type Target,
} from '../fixtures/wire.ts'

const quote = { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 }
const malformed = { status: 'error', code: 'ERR_MALFORMED' }

const frames = async (socket: Socket, count: number): Promise<any[]> => {
  const got: any[] = []
  while (got.length < count) got.push(await socket.next())
  return got
}

/** What a new connection of `from` is told when it asks. */
async function askOnSocket(
  relay: Target,
  from: Actor,
  request: { type: string } = quote,
): Promise<[Socket, any]> {
  const [socket, sealed] = [await openSocket(relay.url), await sealFor(relay, from, request)]
  socket.send(sealed.text)
  return [socket, replyTo(relay, sealed, JSON.stringify(await socket.next()))]
}

/** A WebSocket handshake by hand, for what a client library would not send. */
async function rawSocket(url: string, path = '/') {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  const key = randomBytes(16).toString('base64')
  const upgrade = `upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${key}`
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n${upgrade}\r\n\r\n`)
  const [head] = await once(socket, 'data')
  return { socket, head: String(head) }
}

/** The beginning of a masked text frame of 1000 bytes. */
const halfFrame = Buffer.concat([Buffer.of(0x81, 0xfe, 0x03, 0xe8), randomBytes(40)])

t.test('requests sent without waiting are answered in order, whatever they are', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const slow = await sealRecord(relay, alice, bob, { content: randomBytes(700_000) })
  const fast = await sealFor(relay, bob, quote)
  const read = await sealFor(relay, bob, { type: 'read', path: slow.path })
  const list = await sealFor(relay, bob, { type: 'inventory' })
  const prove = await sealFor(relay, alice, { type: 'prove', path: slow.path, index: 1 })
  const remove = await sealFor(relay, alice, { type: 'delete', recordId: (slow.msg.request as any).recordId })
  const empty = await sealFor(relay, bob, { type: 'inventory' })
  const socket = await openSocket(relay.url)

  for (const { text } of [fast, slow]) socket.send(text)
  socket.send('{"msg":')
  for (const { text } of [list, read]) socket.send(text)
  socket.ws.send(Buffer.from(fast.text), { binary: true })
  for (const { text } of [prove, remove]) socket.send(text)
  socket.send(`[${list.text}]`)
  socket.send(slow.text.replace('"ttl":3600', '"ttl":3601'))
  socket.send(empty.text)
  const got = await frames(socket, 11)

  for (const [i, request] of [
    [0, fast],
    [1, slow],
    [3, list],
    [6, prove],
    [7, remove],
    [10, empty],
  ] as const) {
    t.notOk('code' in replyTo(relay, request, JSON.stringify(got[i])), `answer ${i}`)
  }
  for (const i of [2, 5, 8]) t.match(got[i], malformed, `frame ${i} gets a plain error in its place`)
  t.match(got[9], { status: 'error', code: 'ERR_BAD_SIGNATURE' })
  t.same(got[3].msg.request.result, [slow.path])
  t.equal(JSON.stringify(got[4]), slow.text)
  t.same(got[10].msg.request.result, [])
  socket.close()
})

t.test('more requests than are answered at once wait for their turn', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'pipelined=2'])
  const [alice, bob] = [actor(), actor()]
  const records = await Promise.all(Array.from({ length: 30 }, () => sealRecord(relay, alice, bob)))
  const socket = await openSocket(relay.url)

  for (const { text } of records) socket.send(text)
  const got = await frames(socket, 30)

  t.same(
    got.map(({ msg }) => msg.request.re),
    records.map(({ hash }) => hash),
  )
  socket.close()
})

t.test('a frame that is too large ends its connection, half a frame nothing but its own', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'recordBytes=1000', '--limit', 'bodyBytes=6000'])
  const socket = await openSocket(relay.url)
  const other = await openSocket(relay.url)
  const half = await rawSocket(relay.url)
  t.match(half.head, /^HTTP\/1.1 101 /)
  half.socket.write(halfFrame)
  socket.send('x'.repeat(6000))
  t.match(await socket.next(), malformed)

  socket.send('x'.repeat(6001))
  half.socket.destroy()

  t.match(await socket.closed, { code: 1009 })
  const sealed = await sealFor(relay, actor(), quote)
  other.send(sealed.text)
  t.match(replyTo(relay, sealed, JSON.stringify(await other.next())), { result: { satoshis: '0' } })
  other.close()
  t.match((await rawSocket(relay.url, '/other')).head, /^HTTP\/1.1 404 /)
})

t.test('frames that do not end hold a bounded memory: the largest is cut off', async (t) => {
  const limits = ['recordBytes=1000', 'bodyBytes=60000', 'bodiesInFlightBytes=70000']
  const relay = await openRelay(t, ['--open', ...limits.flatMap((limit) => ['--limit', limit])])
  const [large, small] = [await rawSocket(relay.url), await rawSocket(relay.url)]
  const begin = Buffer.of(0x81, 0xfe, 0xea, 0x60, 1, 2, 3, 4) // a masked text frame of 60 000 bytes
  const cut = once(
    large.socket.on('error', () => undefined),
    'close',
  )
  large.socket.write(Buffer.concat([begin, randomBytes(50_000)]))
  small.socket.write(Buffer.concat([begin, randomBytes(30_000)]))

  await cut

  t.equal(small.socket.readyState, 'open')
  small.socket.destroy()
})

t.test('connections are limited per address, and the idlest makes room for a new one', async (t) => {
  const limits = ['connections=3', 'connectionsPerAddress=2']
  const relay = await openRelay(t, [
    '--open',
    '--trust-proxy',
    ...limits.flatMap((limit) => ['--limit', limit]),
  ])
  const open = async (address: string) => {
    const ws = new WebSocket(relay.url.replace('http', 'ws'), { headers: { 'x-forwarded-for': address } })
    await once(ws, 'open')
    return ws
  }
  const [first, second, third] = [
    await open('198.51.100.1'),
    await open('198.51.100.1'),
    await open('198.51.100.2'),
  ]
  first.send('x')
  await once(first, 'message')

  const refused = new WebSocket(relay.url.replace('http', 'ws'), {
    headers: { 'x-forwarded-for': '198.51.100.1' },
  })
  const [, response] = await once(
    refused.on('error', () => undefined),
    'unexpected-response',
  )
  t.equal(response.statusCode, 429)
  refused.terminate()
  const closed = once(second, 'close')
  const fourth = await open('198.51.100.3')
  t.same((await closed).map(String), ['1013', 'the relay is full'])
  await open('198.51.100.1').then((ws) => ws.terminate())
  for (const ws of [first, third, fourth]) ws.terminate()
})

t.test('above 80 % of its connections a relay serves only whom it knows', async (t) => {
  const allowed = actor()
  const relay = await openRelay(t, ['--open', '--allow', allowed.identity, '--limit', 'connections=5'])
  const [alice, bob, stranger] = [actor(), actor(), actor()]
  await postSigned(relay, await sealRecord(relay, alice, bob))
  const idle = [await openSocket(relay.url), await openSocket(relay.url), await openSocket(relay.url)]
  const [early, answer] = await askOnSocket(relay, stranger)
  t.match(answer, { result: {} }, 'below that everybody is served')

  for (const known of [alice, bob, allowed]) {
    const [socket, reply] = await askOnSocket(relay, known)
    t.match(reply, { result: {} })
    socket.close()
    await socket.closed
  }
  const [refused, reply] = await askOnSocket(relay, actor(), { type: 'inventory' })
  t.match(reply, { code: 'ERR_BUSY', retryAfterMs: Number })
  t.match(await refused.closed, { code: 1013 })
  const again = await sealFor(relay, stranger, quote)
  early.send(again.text)
  t.match(
    replyTo(relay, again, JSON.stringify(await early.next())),
    { result: {} },
    'who was served before stays',
  )
  t.match(await askSigned(relay, actor(), quote), { result: {} }, 'over HTTP everybody is served')
  for (const socket of [early, ...idle]) socket.close()
})

t.test('a relay that stops answers what it accepted and waits for nobody long', async (t) => {
  const data = t.testdir()
  const now = () => start
  const relay = await startTestRelay(data, { now, args: ['--open', '--limit', 'pipelined=4'] })
  const target = { ...relay, now }
  const [alice, bob] = [actor(), actor()]
  const records = await Promise.all(Array.from({ length: 40 }, () => sealRecord(target, alice, bob)))
  const socket = await openSocket(relay.url)
  const [deaf, half] = [await rawSocket(relay.url), await rawSocket(relay.url)]
  half.socket.write(halfFrame)
  const upload = connect(Number(new URL(relay.url).port), '127.0.0.1')
  upload.write('POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{')
  for (const { text } of records) socket.send(text)
  const answered: string[] = [(await socket.next()).msg.request.re]
  deaf.socket.pause()

  const stopped = relay.close()
  for (let i = 1; i < records.length; i += 1) {
    const frame = await socket.next().catch(() => undefined)
    if (frame === undefined) break
    answered.push(frame.msg.request.re)
  }
  t.match(await socket.closed, { code: 1001 })
  await stopped
  for (const one of [deaf.socket, half.socket, upload]) one.destroy()

  const again = await startTestRelay(data, { now })
  t.teardown(() => again.close())
  const stored = (await askSigned({ ...again, now }, bob, { type: 'inventory' })).result
  t.same(
    stored,
    records.slice(0, answered.length).map(({ path }) => path),
    'stored is what was answered',
  )
})
