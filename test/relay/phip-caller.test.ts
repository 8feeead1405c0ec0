/** docs/protocol.md §7.6 and §8.1 from the other side: a relay that asks other hosts believes what they prove, and goes nowhere else. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Peer, ProtoWallet, PrivateKey, Utils } from '@bsv/sdk'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { paymentHeaders } from '../../contracts/payment.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { codes, type MarketError } from '../../market/errors.ts'
import { HostCaller, type HostCallerOptions } from '../../relay/phip/caller.ts'
import { Way, type WayOptions } from '../../relay/phip/way.ts'
import { addWebAuth } from '../../relay/web/auth.ts'
import { paymentHeaderBytes } from '../../relay/web/limits.ts'
import { takeApart } from '../../relay/web/paying.ts'
import { requestFields, requestPreimage } from '../../relay/web/preimage.ts'
import { start } from '../fixtures/relay.ts'
import { asWallet } from '../fixtures/web-auth.ts'

const path = '/propagateMessage'
const domain = 'boxes.example'
const busy = { code: 'ERR_BUSY' }
const us = KeyWallet.random()

type Respond = (reply: FastifyReply, request: FastifyRequest, body: Buffer) => FastifyReply

/** A host that authenticates as relays do, and says what the test lets it. */
async function openHost(t: Test, { port = 0, wallet = KeyWallet.random() } = {}) {
  const app = Fastify({ http: { maxHeaderSize: paymentHeaderBytes }, forceCloseConnections: true } as object)
  const host = {
    key: wallet.identity,
    wallet,
    handshakes: 0,
    asked: 0,
    url: '',
    respond: ((reply, _request, body) => reply.send(body)) as Respond,
    close: () => app.close(),
  }
  app.setErrorHandler((error, _request, reply) => {
    const { code, message } = error as MarketError
    return reply.status(codes[code].status).send({ status: 'error', code, description: message })
  })
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.url === path) host.asked++
    else host.handshakes++
    done()
  })
  const auth = addWebAuth(app as never, { wallet, now: () => start, trustProxy: false })
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, parsed) => parsed(null, body))
    scope.post(path, (request, reply) => {
      if (auth.requireIdentity(request as never) !== us.identity) throw new Error('another identity')
      return host.respond(reply.type('application/json') as never, request as never, request.body as Buffer)
    })
    done()
  })
  host.url = await app.listen({ host: '127.0.0.1', port })
  t.teardown(() => app.close())
  return host
}

interface Answer {
  status: number
  headers: Record<string, string>
  body: string
}

/** What lies between us and a host, and may bend what it answers to requests, or keep it. */
function openBetween(t: Test, to: { url: string }) {
  const between = { url: '', bend: (answer: Answer): Answer | undefined => answer }
  const answered: RequestListener = async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const { 'content-length': _length, connection: _connection, ...headers } = request.headers
    const body = Buffer.concat(parts)
    const reply = await fetch(`${to.url}${request.url}`, {
      method: 'POST',
      headers: headers as Record<string, string>,
      body,
    })
    const { 'transfer-encoding': _encoding, ...given } = Object.fromEntries(reply.headers)
    const answer = { status: reply.status, headers: given, body: await reply.text() }
    const bent = request.url === path ? between.bend(answer) : answer
    if (bent === undefined) return
    response
      .writeHead(bent.status, { ...bent.headers, 'content-length': Buffer.byteLength(bent.body) })
      .end(bent.body)
  }
  return listen(t, answered).then(({ url }) => Object.assign(between, { url }))
}

async function listen(t: Test, answer: RequestListener) {
  let connections = 0
  const server = createServer(answer).on('connection', () => connections++)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, connections: () => connections }
}

type Given = Partial<WayOptions> & Pick<HostCallerOptions, 'limits'> & { wayLimits?: WayOptions['limits'] }

/** A caller that finds `domain` at the URL. */
function callerOf(t: Test, url: string | undefined, { limits = {}, wayLimits = {}, ...given }: Given = {}) {
  const reach = new Map(url === undefined ? [] : [[domain, url]])
  const way = new Way({ reach, limits: wayLimits, ...given })
  t.teardown(() => way.close())
  const clock = { ms: start }
  return Object.assign(new HostCaller({ keys: us, way, now: () => clock.ms, limits }), { clock })
}

t.test('an answer of the host, with one handshake for all that is asked', async (t) => {
  const host = await openHost(t)
  const caller = callerOf(t, host.url)
  const post = (text: string) => caller.post({ key: host.key, domain }, path, text)

  const both = await Promise.all([post('{"a":1}'), post('{"a":"é"}')])
  const notJson = await post('nothing')
  const list = await post('[1]')
  host.respond = (reply) => reply.status(409).send('{"code":"ERR_PAYMENT_IN_PROGRESS"}')
  const refused = await post('{}')
  host.respond = (reply) => reply.status(204).send()
  const empty = await post('{}')

  t.same(both, [
    { status: 200, body: { a: 1 } },
    { status: 200, body: { a: 'é' } },
  ])
  t.same([notJson.body, list.body], [{}, {}])
  t.same(refused, { status: 409, body: { code: 'ERR_PAYMENT_IN_PROGRESS' } })
  t.same(empty, { status: 204, body: {} })
  t.equal(host.handshakes, 1)
  caller.clock.ms += 30 * 60_000
  await post('{}')
  t.equal(host.handshakes, 2, 'a session that hosts may have forgotten is not tried')
})

t.test('a host that was started again, and so forgot us, is met anew', async (t) => {
  const first = await openHost(t)
  const caller = callerOf(t, first.url)
  const { key, wallet } = first
  await caller.post({ key, domain }, path, '{}')
  await first.close()
  const again = await openHost(t, { port: Number(new URL(first.url).port), wallet })

  const answer = await caller.post({ key, domain }, path, '{"b":2}')

  t.same(answer, { status: 200, body: { b: 2 } })
  t.same([again.asked, again.handshakes], [2, 1])
})

t.test('whoever has another key is asked nothing', async (t) => {
  const host = await openHost(t)
  const caller = callerOf(t, host.url)
  const { identity } = KeyWallet.random()

  await t.rejects(caller.post({ key: identity, domain }, path, '{}'), busy)

  t.same([host.handshakes, host.asked], [1, 0])
})

t.test('what the host did not sign as its answer to this request is not believed', async (t) => {
  const host = await openHost(t)
  host.respond = (reply) => reply.header('x-bsv-note', 'one').send('{"status":"success"}')
  const between = await openBetween(t, host)
  const caller = callerOf(t, between.url)
  const post = () => caller.post({ key: host.key, domain }, path, '{}')
  let earlier: Answer | undefined
  between.bend = (answer) => (earlier = answer)
  t.equal((await post()).status, 200)
  const { 'x-bsv-auth-request-id': oldId = '' } = earlier!.headers
  const withHeader = (name: string, value: string) => (answer: Answer) => ({
    ...answer,
    headers: { ...answer.headers, [name]: value },
  })
  const unsigned = (status: number) => () => ({ status, headers: {}, body: '{"status":"success"}' })
  const bends: Record<string, (answer: Answer) => Answer> = {
    replayed: () => earlier!,
    'replayed under a new name': ({ headers }) =>
      withHeader('x-bsv-auth-request-id', headers['x-bsv-auth-request-id']!)(earlier!),
    status: (answer) => ({ ...answer, status: 402 }),
    body: (answer) => ({ ...answer, body: answer.body.replace('success', 'failure') }),
    'a header': withHeader('x-bsv-note', 'two'),
    'a header too many': withHeader(paymentHeaders.required, '1'),
    'the identity': withHeader('x-bsv-auth-identity-key', us.identity),
    'the name of the request': withHeader('x-bsv-auth-request-id', oldId),
    'the nonce': withHeader('x-bsv-auth-your-nonce', oldId),
    version: withHeader('x-bsv-auth-version', '0.2'),
    'no signature': withHeader('x-bsv-auth-signature', 'x'),
    'half a signature': ({ headers, ...answer }) =>
      withHeader(
        'x-bsv-auth-signature',
        headers['x-bsv-auth-signature']!.slice(0, 60),
      )({ ...answer, headers }),
    'unsigned 200': unsigned(200),
    'unsigned 401': unsigned(401),
    'unsigned 404': unsigned(404),
    'unsigned 503': unsigned(503),
  }
  for (const [what, bend] of Object.entries(bends)) {
    between.bend = bend
    await t.rejects(post(), busy, what)
  }

  between.bend = (answer) => answer
  t.same(await post(), { status: 200, body: { status: 'success' } }, 'and then the host is believed again')
})

t.test('answers have an end, in bytes and in time', async (t) => {
  const host = await openHost(t)
  const between = await openBetween(t, host)
  const caller = callerOf(t, between.url, {
    limits: { callMs: 300 },
    wayLimits: { replyBytes: 1000, headBytes: 2000 },
  })
  const post = (body: string, signal?: AbortSignal) =>
    caller.post({ key: host.key, domain }, path, body, { signal })
  const fits = JSON.stringify({ a: 'a'.repeat(900) })
  t.equal((await post(fits)).status, 200)

  await t.rejects(post(JSON.stringify({ a: 'a'.repeat(1000) })), busy, 'too large')
  between.bend = (answer) => ({ ...answer, headers: { ...answer.headers, 'x-long': 'a'.repeat(2000) } })
  await t.rejects(post('{}'), busy, 'too large a head')
  between.bend = () => undefined
  await t.rejects(post('{}'), busy, 'no answer')
  await t.rejects(post('{}', AbortSignal.timeout(20)), { name: 'TimeoutError' }, 'who asked gives up')
  await t.rejects(post('{}', AbortSignal.abort(new Error('stop'))), { message: 'stop' })

  const silent = await listen(t, () => undefined)
  const waiting = callerOf(t, silent.url, { limits: { callMs: 100 } })
  const ask = (signal?: AbortSignal) => waiting.post({ key: host.key, domain }, path, '{}', { signal })
  const [first, second] = [ask(), ask(AbortSignal.timeout(10))]
  await t.rejects(second, { name: 'TimeoutError' }, 'of those who wait for a handshake, one gives up')
  await t.rejects(first, busy)
  t.equal(silent.connections(), 1)

  const dripping = await listen(t, (_request, response) => response.writeHead(200).write('{'))
  await t.rejects(
    callerOf(t, dripping.url, { limits: { callMs: 100 } }).post({ key: host.key, domain }, path, '{}'),
    busy,
  )
  const closed = callerOf(t, host.url)
  closed.close()
  await t.rejects(closed.post({ key: host.key, domain }, path, '{}'), busy)
})

t.test('a connection that was kept and is gone is replaced', async (t) => {
  const asked = new Map<object, number>()
  const server = await listen(t, ({ socket }, response) => {
    const count = (asked.get(socket) ?? 0) + 1
    asked.set(socket, count)
    if (count === 2) socket.destroy()
    else response.end('ok')
  })
  const way = new Way({ reach: new Map(), named: [server.url] })
  t.teardown(() => way.close())
  const post = async () => (await way.post(server.url, { headers: {}, body: '' })).body.toString()

  t.same([await post(), await post()], ['ok', 'ok'])
  t.same([...asked.values()], [2, 1])
})

t.test('a host that switches protocols answers nothing, at once', async (t) => {
  const switching = 'HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\n'
  const never = { ...busy, message: /without an answer/ }
  const host = await openHost(t)
  const atHandshake = await listen(t, ({ socket }) => void socket.write(switching))
  await t.rejects(callerOf(t, atHandshake.url).post({ key: host.key, domain }, path, '{}'), never)

  host.respond = (reply) => {
    reply.raw.socket!.write(switching)
    return reply.hijack()
  }
  const caller = callerOf(t, host.url)
  const post = () => caller.post({ key: host.key, domain }, path, '{}')
  await t.rejects(post(), never)
  t.equal(await caller.isThere({ key: host.key, domain }, AbortSignal.timeout(9000)), true)
  host.respond = (reply, _request, body) => reply.send(body)
  t.same(await post(), { status: 200, body: {} })
})

t.test('a redirect is not followed', async (t) => {
  const host = await openHost(t)
  const other = await listen(t, (_request, response) => response.end('{}'))
  for (const status of [301, 302, 303, 307, 308]) {
    const answer: RequestListener = (_request, response) =>
      response.writeHead(status, { location: `${other.url}/` }).end()
    const { url } = await listen(t, answer)
    await t.rejects(callerOf(t, url).post({ key: host.key, domain }, path, '{}'), busy)
  }
  t.equal(other.connections(), 0)
})

t.test(
  'the domain of a stranger leads to no address inside, and what the operator named anywhere',
  async (t) => {
    const host = await openHost(t)
    const inside = await listen(t, (_request, response) => response.end())
    const { port } = new URL(inside.url)
    const found = ['127.0.0.1', '::ffff:127.0.0.1', '64:ff9b::7f00:1', '10.0.0.1', '169.254.169.254', '::1']
    for (const address of found) {
      const caller = callerOf(t, undefined, { lookup: async () => [address] })
      const asked = caller.post({ key: host.key, domain: `inside.example:${port}` }, path, '{}')
      await t.rejects(asked, { ...busy, message: /inside of a network/ }, address)
    }
    const nowhere = callerOf(t, undefined, { lookup: async () => [] })
    const names = [
      'a.example:99999',
      '1.0xfffffffff',
      ...['127.0.0.1', '0x7f.1', '[::1]', 'nowhere.example'].map((name) => `${name}:${port}`),
    ]
    for (const name of names)
      await t.rejects(nowhere.post({ key: host.key, domain: name }, path, '{}'), busy, name)
    const way = new Way({ reach: new Map([[domain, `${host.url}/`]]), named: [inside.url] })
    t.teardown(() => way.close())
    const bytes = { headers: {}, body: 'x' }
    await t.rejects(way.post('http://relay.example/', bytes), busy, 'not without TLS')
    t.equal(inside.connections(), 0)

    const asked: string[] = []
    const lookup = async (name: string) => {
      asked.push(name)
      return ['127.0.0.1']
    }
    const caller = callerOf(t, `http://inside.example:${new URL(host.url).port}/`, { lookup })
    t.equal((await caller.post({ key: host.key, domain }, path, '{}')).status, 200)
    t.same(asked, ['inside.example'])
    t.equal((await way.post(inside.url, bytes)).status, 200)
    t.equal(way.urlOf(domain), host.url)
    way.close()
    await t.rejects(way.post(inside.url, bytes), busy)
  },
)

t.test('an address in disguise is not what the operator named for something else', async (t) => {
  const inside = await listen(t, (_request, response) => response.end())
  const { port } = new URL(inside.url)
  const key = KeyWallet.random().identity
  const names = ['0x7f.1', '127.1', '2130706433', '127.0.0.1', '[::1]'].map((name) => `${name}:${port}`)
  const named = names.map((name) => `https://${name}`)
  const caller = callerOf(t, undefined, { named })
  for (const name of [...names, '0xa.0.0.5:8443'])
    await t.rejects(
      caller.post({ key, domain: name }, path, '{}'),
      { ...busy, message: /no such name/ },
      name,
    )
  t.equal(inside.connections(), 0)
  const way = new Way({ reach: new Map([['127.1:1', inside.url]]), named: ['https://10.0.0.5:8443'] })
  t.teardown(() => way.close())
  t.same(
    ['0xa.0.0.5:8443', '10.0.0.5:8443', '127.1:1', 'a.example:8443'].map((name) => way.isAddress(name)),
    [true, true, false, false],
    'what he named by that very name is reached',
  )
})

t.test('a 402 of BRC-105 is understood, and another only heard', async (t) => {
  const host = await openHost(t)
  const caller = callerOf(t, host.url)
  const good = {
    [paymentHeaders.version]: '1.0',
    [paymentHeaders.required]: '12',
    [paymentHeaders.prefix]: 'cHJlZml4',
  }
  const answerTo = (headers: Record<string, string | string[]>, status = 402) => {
    host.respond = (reply) => reply.status(status).headers(headers).send('{"status":"error"}')
    return caller.post({ key: host.key, domain }, path, '{}')
  }

  t.same((await answerTo(good)).asked, { satoshis: 12, derivationPrefix: 'cHJlZml4' })
  const malformed = [
    {},
    { ...good, [paymentHeaders.version]: '2.0' },
    ...['0', '-1', '1.5', '1e3', ' ', '9999999999999999', ['1', '2']].map((required) => ({
      ...good,
      [paymentHeaders.required]: required,
    })),
    ...['', 'a b', 'é', 'a'.repeat(400)].map((prefix) => ({ ...good, [paymentHeaders.prefix]: prefix })),
  ]
  for (const headers of malformed)
    t.same(await answerTo(headers), { status: 402, body: { status: 'error' } }, JSON.stringify(headers))
  t.same(await answerTo(good, 403), { status: 403, body: { status: 'error' } })
})

t.test('a payment travels in a header, or in the body where it is large and the host says so', async (t) => {
  const host = await openHost(t)
  const taken: unknown[] = []
  let transports: string | undefined
  host.respond = (reply, request, given) => {
    const { payment, body } = takeApart(request, given)
    const headers = { [paymentHeaders.version]: '1.0', [paymentHeaders.required]: '5' }
    const offer = {
      ...headers,
      [paymentHeaders.prefix]: 'p',
      ...(transports && { [paymentHeaders.transports]: transports }),
    }
    if (payment === undefined) return reply.status(402).headers(offer).send('{}')
    taken.push([given === body ? 'header' : 'part', payment.transaction.length])
    return reply.send(body)
  }
  const pay = (length: number, caller = callerOf(t, host.url)) => {
    const payment = { derivationPrefix: 'p', derivationSuffix: 's', transaction: 'A'.repeat(length) }
    return caller.post({ key: host.key, domain }, path, '{"c":3}', { payment })
  }
  const paid = { status: 200, body: { c: 3 } }

  t.same(await pay(400), paid)
  t.equal(host.asked, 1)
  t.same(await pay(60_000), paid)
  await t.rejects(pay(80_000), { code: 'ERR_TOO_LARGE' })
  transports = 'header, multipart'
  const caller = callerOf(t, host.url)
  t.same(await pay(60_000, caller), paid)
  t.same(await pay(200_000, caller), paid)
  t.same(taken, [
    ['header', 400],
    ['header', 60_000],
    ['part', 60_000],
    ['part', 200_000],
  ])
  t.equal(host.asked, 7, 'only while it is not known is the host asked without the payment')
})

t.test('hosts that run the sdk are understood, and understand', async (t) => {
  const wallet = new ProtoWallet(PrivateKey.fromRandom())
  const { publicKey } = await wallet.getPublicKey({ identityKey: true })
  let hear: (message: any) => Promise<void> = async () => undefined
  let send: (message: any) => void = () => undefined
  const transport = {
    onData: async (callback: typeof hear) => {
      hear = callback
    },
    send: async (message: any) => send(message),
  }
  const peer = new Peer(asWallet(wallet), transport)
  const said: string[] = []
  const answer = Buffer.from('{"status":"success"}')
  peer.listenForGeneralMessages((sender, payload) => {
    said.push(sender, Buffer.from(payload).toString('latin1'))
    const out = new Utils.Writer().write(payload.slice(0, 32)).writeVarIntNum(200).writeVarIntNum(1)
    for (const text of ['x-bsv-note', 'one']) out.writeVarIntNum(text.length).write([...Buffer.from(text)])
    void peer.toPeer(
      out
        .writeVarIntNum(answer.length)
        .write([...answer])
        .toArray(),
      sender,
    )
  })
  const { url } = await listen(t, async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const body = Buffer.concat(parts)
    const head = (name: string) => String(request.headers[`x-bsv-auth-${name}`])
    if (request.url === '/.well-known/auth') {
      send = (message) => response.end(JSON.stringify(message))
      return hear(JSON.parse(body.toString()))
    }
    send = ({ version, identityKey, nonce, yourNonce, signature }) =>
      response
        .writeHead(200, {
          'x-bsv-note': 'one',
          'x-bsv-auth-version': version,
          'x-bsv-auth-identity-key': identityKey,
          'x-bsv-auth-nonce': nonce,
          'x-bsv-auth-your-nonce': yourNonce,
          'x-bsv-auth-request-id': head('request-id'),
          'x-bsv-auth-signature': Utils.toHex(signature),
        })
        .end(answer)
    const requestId = Buffer.from(head('request-id'), 'base64')
    const fields = requestFields(request.headers as IncomingHttpHeaders)
    const signed = { requestId, method: 'POST', url: String(request.url), fields }
    await hear({
      version: head('version'),
      messageType: 'general',
      identityKey: head('identity-key'),
      nonce: head('nonce'),
      yourNonce: head('your-nonce'),
      payload: [...requestPreimage(signed, body)],
      signature: Utils.toArray(head('signature'), 'hex'),
    })
  })

  const reply = await callerOf(t, url).post({ key: publicKey, domain }, path, '{"d":4}')

  t.same(reply, { status: 200, body: { status: 'success' } })
  t.equal(said[0], us.identity)
  t.match(said[1], /propagateMessage.*\{"d":4\}$/s)
})
