/** What strangers may send to a server that authenticates: refused, bounded, and without a trace. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createNonce } from '@bsv/sdk'
import t from 'tap'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import {
  asWallet,
  initialRequest,
  openWebServer,
  postHandshake,
  type Signed,
  send,
  shakeHands,
  signRequest,
} from '../fixtures/web-auth.ts'

const nonce = () => randomBytes(48).toString('base64')
const offCurve = `02${'f'.repeat(64)}`

/** Sends bytes as they are and reads until the server closes. */
async function sendRaw(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => undefined) // a server that refuses may reset what is still being sent
  let answer = ''
  socket.setEncoding('latin1').on('data', (chunk) => {
    answer += chunk
  })
  socket.write(text)
  await once(socket, 'close')
  return answer
}

t.test('a malformed handshake of every kind is refused and leaves no session', async (t) => {
  const { url, auth, wallet } = await openWebServer(t)
  const peer = KeyWallet.random()
  const good = initialRequest(peer.identity, nonce())
  const request = { version: '0.1', messageType: 'certificateRequest', identityKey: peer.identity }
  const set = { certifiers: [], types: {} }
  const unknown = { nonce: nonce(), yourNonce: nonce(), requestedCertificates: set, signature: [48] }
  const cases: [string, unknown, number, string][] = [
    ['nothing', '', 400, 'ERR_MALFORMED'],
    ['no JSON', '{', 400, 'ERR_MALFORMED'],
    ['no object', '[]', 400, 'ERR_MALFORMED'],
    ['null', 'null', 400, 'ERR_MALFORMED'],
    ['deep JSON', '['.repeat(60_000), 400, 'ERR_MALFORMED'],
    ['no version', { ...good, version: undefined }, 400, 'ERR_MALFORMED'],
    ['another version', { ...good, version: '1.0' }, 400, 'ERR_MALFORMED'],
    ['a version that is a number', { ...good, version: 0.1 }, 400, 'ERR_MALFORMED'],
    ['no type', { ...good, messageType: undefined }, 400, 'ERR_MALFORMED'],
    ['an unknown type', { ...good, messageType: 'hello' }, 400, 'ERR_MALFORMED'],
    ['a general message', { ...good, messageType: 'general' }, 400, 'ERR_MALFORMED'],
    ['an initialResponse', { ...good, messageType: 'initialResponse' }, 400, 'ERR_MALFORMED'],
    ['__proto__ as type', { ...good, messageType: '__proto__' }, 400, 'ERR_MALFORMED'],
    ['no key', { ...good, identityKey: undefined }, 400, 'ERR_MALFORMED'],
    ['a key that is a number', { ...good, identityKey: 2 }, 400, 'ERR_MALFORMED'],
    ['a short key', { ...good, identityKey: peer.identity.slice(2) }, 400, 'ERR_MALFORMED'],
    ['an uncompressed key', { ...good, identityKey: `04${'1'.repeat(128)}` }, 400, 'ERR_MALFORMED'],
    ['a key off the curve', { ...good, identityKey: offCurve }, 400, 'ERR_MALFORMED'],
    ['self', { ...good, identityKey: 'self' }, 400, 'ERR_MALFORMED'],
    ['anyone', { ...good, identityKey: 'anyone' }, 400, 'ERR_MALFORMED'],
    ['the key of the relay itself', { ...good, identityKey: wallet.identity }, 403, 'ERR_FORBIDDEN'],
    ['the same in capitals', { ...good, identityKey: wallet.identity.toUpperCase() }, 403, 'ERR_FORBIDDEN'],
    ['no nonce', { ...good, initialNonce: undefined }, 400, 'ERR_MALFORMED'],
    ['an empty nonce', { ...good, initialNonce: '' }, 400, 'ERR_MALFORMED'],
    ['a short nonce', { ...good, initialNonce: 'AAAA' }, 400, 'ERR_MALFORMED'],
    ['a long nonce', { ...good, initialNonce: 'A'.repeat(1000) }, 400, 'ERR_MALFORMED'],
    ['a nonce that is no base64', { ...good, initialNonce: '%'.repeat(64) }, 400, 'ERR_MALFORMED'],
    ['a nonce with another spelling', { ...good, initialNonce: `${'A'.repeat(42)}B=` }, 400, 'ERR_MALFORMED'],
    ['a list as nonce', { ...good, initialNonce: [nonce()] }, 400, 'ERR_MALFORMED'],
    ['a certificateRequest without all', request, 400, 'ERR_MALFORMED'],
    ['one of no session', { ...request, ...unknown }, 401, 'ERR_STALE'],
    [
      'one with deep wishes',
      { ...request, ...unknown, requestedCertificates: { x: [[[]]] } },
      400,
      'ERR_MALFORMED',
    ],
    ['a long signature', { ...request, ...unknown, signature: Array(73).fill(1) }, 400, 'ERR_MALFORMED'],
    ['bytes out of range', { ...request, ...unknown, signature: [256] }, 400, 'ERR_MALFORMED'],
    ['more than there may be', { ...good, more: 'x'.repeat(64 * 1024) }, 413, 'ERR_TOO_LARGE'],
  ]

  for (const [name, message, status, code] of cases) {
    const response = await postHandshake(url, message)
    t.equal(response.status, status, name)
    t.match(await response.json(), { status: 'error', code }, name)
  }
  t.same(auth.held(), { sessions: 0, nonces: 0 })

  const response = await postHandshake(url, {
    ...request,
    messageType: 'certificateResponse',
    certificates: [],
  })
  t.equal(response.status, 200, 'certificates that nobody asked for are taken note of by nobody')
  t.same(await response.json(), { status: 'success' })
  t.same(auth.held(), { sessions: 0, nonces: 0 })
})

t.test('a handshake is answered as JSON and as headers, also to a key in capitals', async (t) => {
  const { url, wallet } = await openWebServer(t)
  const peer = KeyWallet.random()
  const initialNonce = await createNonce(asWallet(peer))

  const response = await postHandshake(url, initialRequest(peer.identity.toUpperCase(), initialNonce))

  const message = (await response.json()) as any
  t.match(message, { version: '0.1', messageType: 'initialResponse', identityKey: wallet.identity })
  t.equal(message.nonce, message.initialNonce)
  t.equal(Buffer.from(message.nonce, 'base64').length, 48)
  t.equal(response.headers.get('x-bsv-auth-nonce'), message.nonce)
  t.equal(response.headers.get('x-bsv-auth-your-nonce'), initialNonce)
  t.equal(response.headers.get('access-control-allow-origin'), '*')
  const data = [...Buffer.from(initialNonce, 'base64'), ...Buffer.from(message.nonce, 'base64')]
  const proof = { protocolID: [2, 'auth message signature'] as [2, string], counterparty: wallet.identity }
  const keyID = `${initialNonce} ${message.nonce}`
  t.same(await peer.verifySignature({ ...proof, data, keyID, signature: message.signature }), { valid: true })
})

t.test('a good request is answered once; whatever is changed in it is refused unsigned', async (t) => {
  const { url, auth, wallet } = await openWebServer(t)
  const [alice, bob] = [KeyWallet.random(), KeyWallet.random()]
  const session = await shakeHands(url, alice)
  const bobs = await shakeHands(url, bob)
  const fields = { 'content-type': 'application/json', 'x-bsv-a': '1', 'x-bsv-payment': '{}' }
  const given = { method: 'POST', path: '/echo?a=1', body: '{"a":1}', headers: fields }
  const fresh = () => signRequest(alice, session, given)
  const withHeader =
    (name: string, value: string | undefined) =>
    ({ headers, ...request }: Signed): Signed => {
      const { [name]: _dropped, ...others } = headers
      return { ...request, headers: value === undefined ? others : { ...others, [name]: value } }
    }
  const sample = await fresh()
  const signature = sample.headers['x-bsv-auth-signature']!
  const cases: [string, (request: Signed) => Signed, number, string][] = [
    ['another method', (request) => ({ ...request, method: 'PUT' }), 401, 'ERR_BAD_SIGNATURE'],
    ['another path', (request) => ({ ...request, path: '/parsed?a=1' }), 401, 'ERR_BAD_SIGNATURE'],
    ['a path that is nowhere', (request) => ({ ...request, path: '/nowhere' }), 401, 'ERR_BAD_SIGNATURE'],
    ['another query', (request) => ({ ...request, path: '/echo?a=2' }), 401, 'ERR_BAD_SIGNATURE'],
    ['no query', (request) => ({ ...request, path: '/echo' }), 401, 'ERR_BAD_SIGNATURE'],
    ['another body', (request) => ({ ...request, body: '{"a":2}' }), 401, 'ERR_BAD_SIGNATURE'],
    ['an empty body', (request) => ({ ...request, body: '' }), 401, 'ERR_BAD_SIGNATURE'],
    ['a header more', withHeader('x-bsv-b', '1'), 401, 'ERR_BAD_SIGNATURE'],
    ['an authorization', withHeader('authorization', 'x'), 401, 'ERR_BAD_SIGNATURE'],
    ['a header less', withHeader('x-bsv-a', undefined), 401, 'ERR_BAD_SIGNATURE'],
    ['another payment', withHeader('x-bsv-payment', '{"a":1}'), 401, 'ERR_BAD_SIGNATURE'],
    ['another content type', withHeader('content-type', 'text/plain'), 401, 'ERR_BAD_SIGNATURE'],
    [
      'another request id',
      withHeader('x-bsv-auth-request-id', randomBytes(32).toString('base64')),
      401,
      'ERR_BAD_SIGNATURE',
    ],
    [
      'another nonce',
      withHeader('x-bsv-auth-nonce', randomBytes(32).toString('base64')),
      401,
      'ERR_BAD_SIGNATURE',
    ],
    ['another signature', withHeader('x-bsv-auth-signature', signature), 401, 'ERR_BAD_SIGNATURE'],
    [
      'an identity not of the session',
      withHeader('x-bsv-auth-identity-key', bob.identity),
      401,
      'ERR_BAD_SIGNATURE',
    ],
    [
      'the key of the relay',
      withHeader('x-bsv-auth-identity-key', wallet.identity),
      401,
      'ERR_BAD_SIGNATURE',
    ],
    ['a session of another', withHeader('x-bsv-auth-your-nonce', bobs.yourNonce), 401, 'ERR_BAD_SIGNATURE'],
    ['a forged session', withHeader('x-bsv-auth-your-nonce', nonce()), 401, 'ERR_STALE'],
    ['another version', withHeader('x-bsv-auth-version', '1.0'), 400, 'ERR_MALFORMED'],
    ['a key that is none', withHeader('x-bsv-auth-identity-key', 'self'), 400, 'ERR_MALFORMED'],
    ['a nonce that is none', withHeader('x-bsv-auth-nonce', 'a b'), 400, 'ERR_MALFORMED'],
    ['a long nonce', withHeader('x-bsv-auth-nonce', 'A'.repeat(2000)), 400, 'ERR_MALFORMED'],
    ['a signature that is none', withHeader('x-bsv-auth-signature', '00'), 400, 'ERR_MALFORMED'],
    ['a short request id', withHeader('x-bsv-auth-request-id', 'AAAA'), 400, 'ERR_MALFORMED'],
    ...Object.keys(sample.headers)
      .filter((name) => name.startsWith('x-bsv-auth'))
      .map((name): (typeof cases)[number] => [
        `no ${name}`,
        withHeader(name, undefined),
        400,
        'ERR_MALFORMED',
      ]),
  ]

  for (const [name, bend, status, code] of cases) {
    const answer = await send(url, bend(await fresh()))
    t.equal(answer.status, status, name)
    t.match(JSON.parse(answer.text), { status: 'error', code }, name)
    t.notOk(answer.signed, name)
    t.equal(answer.headers.get('access-control-allow-origin'), '*', name)
  }
  t.same(auth.held(), { sessions: 2, nonces: 0 }, 'refusals leave nothing')

  const capitals = withHeader('x-bsv-auth-identity-key', alice.identity.toUpperCase())(sample)
  t.match(await send(url, capitals), { status: 200, text: '{"a":1}', signed: true })
  t.match(await send(url, sample), { status: 401, text: /ERR_REPLAYED/, signed: false })
  t.same(auth.held(), { sessions: 2, nonces: 1 })
})

t.test('the same request sent many times at once is answered once', async (t) => {
  const { url } = await openWebServer(t)
  const alice = KeyWallet.random()
  const session = await shakeHands(url, alice)
  const headers = { 'content-type': 'application/json' }
  const request = await signRequest(alice, session, { method: 'POST', path: '/echo', body: '{}', headers })

  const answers = await Promise.all(Array.from({ length: 10 }, () => send(url, request)))

  t.same(answers.map(({ status }) => status).sort(), [200, ...Array(9).fill(401)])
})

t.test('an unknown session is told so in the words clients look for', async (t) => {
  const { url } = await openWebServer(t)
  const alice = KeyWallet.random()
  const session = await shakeHands(url, alice)

  const answer = await send(url, await signRequest(alice, { ...session, yourNonce: nonce() }, {}))

  t.equal(answer.status, 401)
  t.match(answer.text, /Session not found for nonce/)
})

t.test('our own signatures sent back prove nothing', async (t) => {
  const { url, wallet, auth } = await openWebServer(t)
  // Were a session with our own key possible, the answer to this handshake would be a signed request:
  // request id, method, path, no query, no headers, and a body of 48 bytes, which are our own nonce.
  const front = Buffer.concat([
    randomBytes(32),
    Buffer.from('\x04POST\x05/echo', 'latin1'),
    Buffer.alloc(9, 0xff),
    Buffer.from([0, 48]),
  ])

  const response = await postHandshake(url, initialRequest(wallet.identity, front.toString('base64')))

  t.equal(response.status, 403)
  t.same(auth.held(), { sessions: 0, nonces: 0 })
})

t.test(
  'requests that claim nothing are nobody: answered unsigned, and refused where somebody is needed',
  async (t) => {
    const { url, auth } = await openWebServer(t)

    const who = await fetch(`${url}/who`)
    const closed = await fetch(`${url}/private`)
    const nowhere = await fetch(`${url}/nowhere`)

    t.same(await who.json(), { identity: null })
    t.notOk(who.headers.has('x-bsv-auth-signature'))
    t.equal(closed.status, 401)
    t.match(await closed.json(), { code: 'ERR_AUTH_REQUIRED' })
    t.equal(nowhere.status, 404)
    t.same(auth.held(), { sessions: 0, nonces: 0 })
  },
)

t.test(
  'what strangers begin is bounded, and takes nothing from those who have proved their key',
  async (t) => {
    const limits = { newSessions: 5, newSessionMs: 1000, handshakesPerMinute: 20, failuresPerMinute: 3 }
    const { url, auth, clock } = await openWebServer(t, { limits })
    const alice = KeyWallet.random()
    const session = await shakeHands(url, alice)
    t.equal((await send(url, await signRequest(alice, session, {}))).status, 200)

    const stranger = KeyWallet.random()
    const flood = []
    for (let count = 0; count < 30; count++) {
      flood.push((await postHandshake(url, initialRequest(stranger.identity, nonce()))).status)
    }
    t.same(flood, [...Array(19).fill(200), ...Array(11).fill(429)])
    t.same(auth.held(), { sessions: 6, nonces: 1 })
    t.equal((await send(url, await signRequest(alice, session, {}))).status, 200, 'alice goes on')

    clock.ms += 60_000
    const last = await shakeHands(url, stranger)
    t.same(auth.held(), { sessions: 2, nonces: 2 }, 'what waited too long is gone')
    clock.ms += 1001
    t.match(await send(url, await signRequest(stranger, last, {})), { status: 401, text: /ERR_STALE/ })

    const bad = await signRequest(alice, session, { signedPath: '/other' })
    const answers = []
    for (let count = 0; count < 5; count++) answers.push((await send(url, bad)).status)
    t.same(answers, [401, 401, 401, 429, 429])
    t.same(auth.held(), { sessions: 1, nonces: 2 })
  },
)

t.test('bodies and headers are bounded before anybody is authenticated', async (t) => {
  const { url, auth } = await openWebServer(t)
  const alice = KeyWallet.random()
  const session = await shakeHands(url, alice)
  const headers = { 'content-type': 'text/plain' }
  const body = 'x'.repeat(65 * 1024)
  const large = await signRequest(alice, session, { method: 'POST', path: '/echo', body, headers })

  t.match(await send(url, large), { status: 413, signed: false, text: /ERR_TOO_LARGE/ })

  const head = (request: Signed, length: string) =>
    [`${request.method} ${request.path} HTTP/1.1`, 'host: x', length]
      .concat(Object.entries(request.headers).map(([name, value]) => `${name}: ${value}`))
      .join('\r\n')
      .concat('\r\n\r\n')
  const chunked = head(large, 'transfer-encoding: chunked')
  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
  t.match(await sendRaw(url, chunked + chunk.repeat(5)), /^HTTP\/1.1 413 .*connection: close/s)
  const stranger = await signRequest(
    alice,
    { ...session, yourNonce: nonce() },
    { method: 'POST', path: '/echo' },
  )
  const announced = head(stranger, 'content-length: 60000\r\nconnection: close')
  t.match(await sendRaw(url, announced), /^HTTP\/1.1 401 .*ERR_STALE/s, 'refused before its body comes')
  const long = head({ ...large, headers: { 'x-bsv-payment': 'x'.repeat(300_000) } }, 'connection: close')
  t.match(await sendRaw(url, long), /^HTTP\/1.1 431 /)
  t.same(auth.held(), { sessions: 1, nonces: 0 })
})

t.test('a request that breaks off is forgotten; the server goes on', async (t) => {
  const { url, auth } = await openWebServer(t)
  const alice = KeyWallet.random()
  const session = await shakeHands(url, alice)
  const body = 'x'.repeat(1000)
  const headers = { 'content-type': 'text/plain' }
  const request = await signRequest(alice, session, { method: 'POST', path: '/echo', body, headers })
  const fields = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.write(
    `POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n${fields.join('')}\r\n${body.slice(500)}`,
  )
  await once(socket, 'connect')
  socket.destroy()
  await once(socket, 'close')

  t.match(await send(url, request), { status: 200, text: body }, 'the whole of it is still new')
  t.same(auth.held(), { sessions: 1, nonces: 1 })
})

t.test('browsers of any origin may ask, and see every header that proves the answer', async (t) => {
  const { url } = await openWebServer(t)
  const alice = KeyWallet.random()
  const session = await shakeHands(url, alice)

  for (const path of ['/who', '/.well-known/auth', '/nowhere/at/all']) {
    const preflight = await fetch(`${url}${path}`, {
      method: 'OPTIONS',
      headers: { origin: 'https://a.example', 'access-control-request-method': 'POST' },
    })
    t.equal(preflight.status, 204, path)
    t.equal(preflight.headers.get('access-control-allow-origin'), '*')
    t.match(preflight.headers.get('access-control-allow-methods'), /POST/)
    t.match(preflight.headers.get('access-control-allow-headers'), /authorization.*x-bsv-auth-request-id/)
  }
  const answer = await send(url, await signRequest(alice, session, { path: '/headers' }))
  const exposed = answer.headers.get('access-control-expose-headers')?.split(', ') ?? []
  const proved = [...answer.headers.keys()].filter((name) => name.startsWith('x-bsv-'))
  t.ok(proved.length > 10)
  t.same(proved.sort(), exposed.sort())
})
