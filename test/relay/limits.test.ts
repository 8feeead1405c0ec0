/** What strangers send over HTTP is bounded, and every refusal is coded: docs/protocol.md §4.8, §6, §7.1, §7.4. */
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { Info } from '../../contracts/api.ts'
import { callerAddress, limitAddress } from '../../relay/rate.ts'
import { openRelay, startTestRelay } from '../fixtures/relay.ts'
import { actor, ask, post, sealFor } from '../fixtures/wire.ts'

const quote = { type: 'quote', bytes: 1, ttl: 1, maxPulls: 1 }
const small = ['--open', ...['recordBytes=1000', 'bodyBytes=6000'].flatMap((limit) => ['--limit', limit])]

/** Sends bytes as they are and returns status and body of the answer. */
async function raw(url: string, ...parts: string[]) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  for (const part of parts) socket.write(part)
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  await once(
    socket.on('error', () => undefined),
    'close',
  )
  const [head = '', body = ''] = text.split('\r\n\r\n')
  return { status: Number(head.split(' ')[1]), body: JSON.parse(body) }
}

const head = (...lines: string[]) =>
  `${['POST / HTTP/1.1', 'host: x', 'content-type: application/json', ...lines].join('\r\n')}\r\n\r\n`

t.test('what is too large is refused before it is read', async (t) => {
  const relay = await openRelay(t, small)
  const tooLarge = { status: 413, body: { status: 'error', code: 'ERR_TOO_LARGE', description: String } }

  t.match(await post(relay.url, 'x'.repeat(6001)), tooLarge, 'a body')
  t.match(
    await post(relay.url, 'x'.repeat(6000)),
    { status: 400, body: { code: 'ERR_MALFORMED' } },
    'not yet too large',
  )
  t.match(
    await raw(relay.url, head('content-length: 900000', 'connection: close')),
    tooLarge,
    'an announced body',
  )
  const chunk = `1000\r\n${'x'.repeat(4096)}\r\n`
  t.match(
    await raw(relay.url, head('transfer-encoding: chunked'), chunk, chunk),
    tooLarge,
    'a body in chunks',
  )
  t.match(await raw(relay.url, head(`x: ${'x'.repeat(20_000)}`)), tooLarge, 'a header')
  t.match(await ask(relay, actor(), quote), { status: 200 })
})

t.test('what is no message is refused with a code', async (t) => {
  const relay = await openRelay(t, small)
  const { text } = await sealFor(relay, actor(), quote)
  const malformed = { status: 400, body: { status: 'error', code: 'ERR_MALFORMED', description: String } }

  t.match(await raw(relay.url, 'good morning\r\n\r\n'), malformed, 'no HTTP')
  for (const type of ['text/plain', 'application/octet-stream', 'application/x-www-form-urlencoded', 'x']) {
    t.match(await post(relay.url, text, { 'content-type': type }), malformed, type)
  }
  t.match(
    await raw(relay.url, `POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`),
    malformed,
    'no body',
  )
  t.match(await post(relay.url, text, { 'content-type': 'application/json; charset=utf-8' }), { status: 200 })
})

t.test('every address but the documented ones is ERR_NOT_FOUND', async (t) => {
  const relay = await openRelay(t)
  for (const [method, path] of [
    ['GET', '/'],
    ['PUT', '/'],
    ['GET', '/x'],
    ['POST', '/x'],
    ['POST', '/health'],
    ['DELETE', '/.well-known/relay'],
    ['GET', '//'],
    ['GET', `/${'x'.repeat(3000)}`],
  ] as const) {
    const response = await fetch(relay.url + path, { method })
    t.match(
      await response.json(),
      { status: 'error', code: /^ERR_NOT_FOUND$/ },
      `${method} ${path.slice(0, 20)}`,
    )
    t.equal(response.status, 404)
  }
  const response = await fetch(`${relay.url}/%E0%A4%A`)
  t.match(await response.json(), { status: 'error', code: 'ERR_MALFORMED' }, 'what is no address')
})

t.test('a body that is not finished holds its memory, and nothing else', async (t) => {
  const relay = await openRelay(t, [...small, '--limit', 'bodiesInFlightBytes=48000'])
  const half = [0, 1].map(() => connect(Number(new URL(relay.url).port), '127.0.0.1'))
  for (const socket of half) {
    // One address may hold a quarter; what was only announced does not count.
    socket.write(head('content-length: 6000', 'expect: 100-continue'))
    await once(socket, 'data') // it says go on
  }
  t.equal((await ask(relay, actor(), quote)).status, 200)
  for (const socket of half) {
    socket.write('x'.repeat(5990))
  }

  let refused = await ask(relay, actor(), quote)
  while (refused.status === 200) refused = await ask(relay, actor(), quote)
  t.match(refused, { status: 503, body: { status: 'error', code: 'ERR_BUSY', retryAfterMs: 1000 } })
  t.equal((await fetch(`${relay.url}/health`)).status, 200, 'what has no body is served')
  for (const socket of half) socket.destroy()

  let answer = refused
  while (answer.status === 503) answer = await ask(relay, actor(), quote)
  t.equal(answer.status, 200)
})

t.test('the info document says what is enforced, health that it can serve', async (t) => {
  const changed = { recordBytes: 2000, ttl: 3000, page: 4, batch: 5, bodyBytes: 70_000, replyBytes: 80_000 }
  const limits = { ...changed, subscriptions: 6, replay: 700 }
  const args = Object.entries(limits).flatMap(([name, value]) => ['--limit', `${name}=${value}`])
  const relay = await openRelay(t, ['--open', ...args])

  const response = await fetch(`${relay.url}/.well-known/relay`)
  const info: any = await response.json()

  t.match(response.headers.get('content-type'), /^application\/json/)
  t.same(Info.strict().parse(info).limits, limits)
  t.match(info, { key: relay.key, network: null, protocol: 1, advert: null, contracts: null })
  t.same(info.endpoints, { http: `${relay.url}/`, websocket: `${relay.url.replace('http', 'ws')}/` })
  t.same(await (await fetch(`${relay.url}/health`)).json(), { status: 'ok' })
  const published = await startTestRelay(`${t.testdirName}/other`, {
    args: ['--open', '--public-url', 'https://relay.example/r/'],
  })
  t.teardown(() => published.close())
  t.equal(published.url, 'https://relay.example/r')
})

t.test('pages of any origin may call', async (t) => {
  const relay = await openRelay(t)
  const open = { 'access-control-allow-origin': '*', 'access-control-allow-headers': 'content-type' }
  const headers = async (path: string, init: RequestInit) =>
    Object.fromEntries(
      (await fetch(relay.url + path, { headers: { origin: 'https://a.example' }, ...init })).headers,
    )

  const preflight = await fetch(relay.url, { method: 'OPTIONS' })
  t.equal(preflight.status, 204)
  t.match(Object.fromEntries(preflight.headers), { ...open, 'access-control-allow-methods': 'POST' })
  t.match(await headers('/', { method: 'POST', body: '{' }), open, 'a refusal can be read')
  const { text } = await sealFor(relay, actor(), quote)
  t.match(
    await headers('/', { method: 'POST', body: text, headers: { 'content-type': 'application/json' } }),
    open,
  )
  t.match(await headers('/.well-known/relay', {}), open)
})

t.test('behind a trusted proxy callers count by the address the proxy saw, else by their own', async (t) => {
  for (const [trust, counted] of [
    [['--trust-proxy'], [401, 401, 429, 429, 401, 429]],
    [[], [401, 429, 429, 429, 429, 429]],
  ] as const) {
    const relay = await startTestRelay(`${t.testdirName}/${trust.length}`, {
      args: ['--open', '--limit', 'failuresPerMinute=1', ...trust],
    })
    t.teardown(() => relay.close())
    const forged = (await sealFor(relay, actor(), quote)).text.replace('"bytes":1', '"bytes":2')
    const statuses: number[] = []
    for (const from of [
      '198.51.100.1',
      '198.51.100.2',
      '198.51.100.2',
      '203.0.113.9, 198.51.100.1', // what the caller claims stands before what the proxy saw
      '2001:db8:0:1::1',
      '2001:db8:0:1:ffff::2',
    ]) {
      const answer = await post(relay.url, forged, { 'x-forwarded-for': from })
      statuses.push(answer.status)
      if (answer.status === 429) t.match(answer.body, { code: 'ERR_LIMIT', retryAfterMs: Number })
    }
    t.same(statuses, counted, trust.length > 0 ? 'trusted' : 'not trusted')
  }
})

t.test('behind a trusted proxy one address counts as one, however it is written', async (t) => {
  const socket = { remoteAddress: '192.0.2.1' }
  for (const [counted, ...spellings] of [
    ['7.7.7.7', '7.7.7.7', '7.7.7.7:1000', '7.7.7.7:1001', '::ffff:7.7.7.7', '[::ffff:707:707]:80'],
    ['2001:db8:0:1::/64', '2001:db8:0:1::1', '[2001:db8:0:1::2]', '[2001:DB8::1:0:0:0:3]:443'],
    ['1:2:0:3::/64', '1:2::3:4:5:6:7', '1:2::3:4:5:6.7.8.9', '1:2:0:3:4:5:6:7%eth0'],
    // What is no address is not the caller's: the proxy answers for it.
    ['192.0.2.1', '08.8.8.8', 'unknown', 'unknown7', '_hidden', '7.7.7.7.7', '[::1', '7.7.7.7:port', ' '],
  ])
    for (const spelling of spellings)
      t.equal(callerAddress({ headers: { 'x-forwarded-for': spelling }, socket }, true), counted, spelling)
})

t.test('limits count by IPv4 address or IPv6 /64', async (t) => {
  for (const [address, counted] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002::9', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8::1:2:3:4:5', '2001:db8:0:1::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    ['unknown', 'unknown'],
  ] as const) {
    t.equal(limitAddress(address), counted, address)
  }
  const socket = { remoteAddress: '::ffff:192.0.2.1' }
  t.equal(callerAddress({ headers: { 'x-forwarded-for': '198.51.100.1' }, socket }, false), '192.0.2.1')
  t.equal(callerAddress({ headers: { 'x-forwarded-for': 'a, 198.51.100.1 ' }, socket }, true), '198.51.100.1')
  t.equal(callerAddress({ headers: { 'x-forwarded-for': '' }, socket }, true), '192.0.2.1')
  t.equal(callerAddress({ headers: {}, socket: {} as { remoteAddress?: string } }, true), 'unknown')
  t.equal(
    callerAddress({ headers: {}, socket: { remoteAddress: '::ffff:198.51.100.1' } }, true),
    '198.51.100.1',
  )
})
