/** The file-system view: records as files, for clients of the BSV stack over real sockets. */
import { randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { PrivateKey, ProtoWallet } from '@bsv/sdk'
import t from 'tap'
import { replies } from '../../contracts/api.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { fromHex } from '../../market/bytes.ts'
import { sealText } from '../../market/envelope.ts'
import { readConfig } from '../../relay/config.ts'
import { freePort } from '../fixtures/ports.ts'
import { openRelay } from '../fixtures/relay.ts'
import { send, shakeHands, signRequest } from '../fixtures/web-auth.ts'
import { json, recordFor, webClient } from '../fixtures/web-files.ts'
import { actor, askSigned, postSigned, replyTo, sealFor, sealRecord } from '../fixtures/wire.ts'

const outbox = (owner: { identity: string }, receiver: { identity: string }) =>
  `/${owner.identity}/outbox/${receiver.identity}/`

t.test('AuthFetch writes, reads, lists and deletes, and the relay signs for what it took', async (t) => {
  const relay = await openRelay(t)
  const secret = randomBytes(32).toString('hex')
  const alice = new KeyWallet(fromHex(secret))
  const bob = actor()
  const asAlice = webClient(relay, new ProtoWallet(PrivateKey.fromHex(secret)))
  const asBob = webClient(relay, bob)
  const record = await recordFor(relay, alice, bob, { recordId: 'a~b.c_d-1', tag: 'chat' })

  const written = await asAlice.ask('PUT', record.path, record.text)
  t.equal(written.status, 200)
  t.equal(written.body.status, 'success')
  const reply = replyTo(relay, record, JSON.stringify(written.body.reply))
  const { receipt } = replies.write.parse(reply)
  t.match(receipt, { path: record.path, bytes: 200 })
  const again = await asAlice.ask('PUT', record.path, record.text)
  t.same(again.body.reply.msg.request.receipt, receipt, 'the same again is the same')
  t.same(
    (
      await postSigned(
        relay,
        await sealFor(relay, alice, {
          type: 'store',
          record: JSON.parse(record.text),
        }),
      )
    ).receipt,
    receipt,
    'as a store of it is',
  )

  const entry = { path: record.path, at: receipt.at, bytes: 200, tag: 'chat', expires: receipt.expires }
  const lists = [
    await asAlice.ask('GET', outbox(alice, bob)),
    await asBob.ask('GET', outbox(alice, bob)),
    await asBob.ask('GET', '/inbox/'),
    await asBob.ask('GET', `/inbox/?owner=${alice.identity}&tag=chat&limit=1`),
    await asBob.ask('GET', `/inbox/?owner=${bob.identity}&owner=${alice.identity}`),
  ]
  for (const { status, body } of lists) {
    t.equal(status, 200)
    t.match(body, { status: 'success', records: [entry], more: false })
  }
  t.same((await asBob.ask('GET', '/inbox/?tag=other')).body.records, [])
  t.same((await asAlice.ask('GET', '/inbox/')).body.records, [])
  t.same((await asAlice.ask('GET', outbox(alice, alice))).body.records, [], 'what is for others')

  const read = await asBob.ask('GET', record.path)
  t.equal(read.status, 200)
  t.equal(read.text, record.text)

  const deleted = await asAlice.ask('DELETE', record.path)
  t.match(deleted.body, { status: 'success', receipt: { path: record.path } })
  t.same((await asAlice.ask('DELETE', record.path)).body, deleted.body, 'again')
  t.match((await asBob.ask('GET', record.path)).body, { status: 'error', code: 'ERR_NOT_FOUND' })
  t.same((await asAlice.ask('DELETE', `${record.path}x`)).body, { status: 'success', receipt: null })
  t.match(await asAlice.ask('PUT', record.path, record.text), { status: 409, body: { code: 'ERR_CONFLICT' } })
})

t.test('what is native and what is a file is the same record', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const native = await sealRecord(relay, alice, bob, { maxPulls: 2 })
  await postSigned(relay, native)

  t.equal((await webClient(relay, bob).ask('GET', native.path)).text, native.text)
  t.match(await askSigned(relay, bob, { type: 'inventory' }), { result: [native.path] })
  t.equal((await webClient(relay, bob).ask('GET', native.path)).text, native.text)

  t.equal((await webClient(relay, bob).ask('GET', native.path)).status, 404, 'each of these was a pull')
})

t.test('pages go on where they stopped', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob, carol] = [actor(), actor(), actor()]
  const asAlice = webClient(relay, alice)
  const paths: string[] = []
  for (let place = 0; place < 7; place++) {
    const record = await recordFor(relay, alice, place % 2 === 0 ? bob : carol)
    relay.clock.ms += 10
    await asAlice.ask('PUT', record.path, record.text)
    if (place % 2 === 0) paths.push(record.path)
  }
  for (const [client, path] of [
    [asAlice, outbox(alice, bob)],
    [webClient(relay, bob), outbox(alice, bob)],
    [webClient(relay, bob), '/inbox/'],
  ] as const) {
    const seen: string[] = []
    let query = '?limit=3'
    for (let page = 0; page < 9; page++) {
      const { body } = await client.ask('GET', `${path}${query}`)
      seen.push(...body.records.map((entry: { path: string }) => entry.path))
      if (!body.more) break
      query = `?limit=3&cursor=${body.cursor}`
    }
    t.same(seen, paths, path)
    const { body } = await client.ask(
      'GET',
      `${path}?afterTs=${relay.clock.ms - 70}&beforeTs=${relay.clock.ms - 1}`,
    )
    t.ok(body.records.length > 0 && body.records.length < paths.length, 'between two times')
  }
})

t.test('what does not fit is refused, and every refusal is signed', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'recordBytes=1000', '--limit', 'bodyBytes=20000'])
  const [alice, bob] = [actor(), actor()]
  const record = await recordFor(relay, alice, bob)
  const other = await recordFor(relay, bob, alice)
  const forged = record.text.replace('"tag":"test"', '"tag":"tesT"')
  const future = await recordFor(relay, alice, bob, { timestamp: relay.now() + 11_000 })
  const expired = await recordFor(relay, alice, bob, { timestamp: relay.now() - 4_000_000 })
  const old = await recordFor(relay, alice, bob, { timestamp: relay.now() - 3_000_000 })
  const large = await recordFor(relay, alice, bob, { bytes: 1001 })
  const { path } = record
  const cases: [string, string, string | undefined, number, string][] = [
    ['PUT', path, '', 400, 'ERR_MALFORMED'],
    ['PUT', path, '{', 400, 'ERR_MALFORMED'],
    ['PUT', path, ` ${record.text}`, 400, 'ERR_MALFORMED'],
    ['PUT', `${path}x`, record.text, 400, 'ERR_MALFORMED'],
    ['PUT', path, forged, 401, 'ERR_BAD_SIGNATURE'],
    ['PUT', future.path, future.text, 400, 'ERR_MALFORMED'],
    ['PUT', expired.path, expired.text, 410, 'ERR_EXPIRED'],
    ['PUT', large.path, large.text, 413, 'ERR_TOO_LARGE'],
    ['PUT', path, 'x'.repeat(20_001), 413, 'ERR_TOO_LARGE'],
    ['PUT', other.path, other.text, 403, 'ERR_FORBIDDEN'],
    ['PUT', path, other.text, 400, 'ERR_MALFORMED'],
    ['PUT', '/x/outbox/y/z', record.text, 400, 'ERR_MALFORMED'],
    ['PUT', outbox(alice, bob), record.text, 400, 'ERR_MALFORMED'],
    ['GET', path, undefined, 403, 'ERR_FORBIDDEN'],
    ['GET', `${other.path}`, undefined, 404, 'ERR_NOT_FOUND'],
    ['GET', outbox(bob, bob), undefined, 403, 'ERR_FORBIDDEN'],
    ['GET', '/x/outbox/y/', undefined, 400, 'ERR_MALFORMED'],
    ['GET', `${outbox(alice, bob)}?owner=${alice.identity}`, undefined, 400, 'ERR_MALFORMED'],
    ['GET', '/inbox/?limit=0', undefined, 400, 'ERR_MALFORMED'],
    ['GET', '/inbox/?limit=1&limit=2', undefined, 400, 'ERR_MALFORMED'],
    ['GET', '/inbox/?limit=1e3', undefined, 400, 'ERR_MALFORMED'],
    ['GET', '/inbox/?detail=true', undefined, 400, 'ERR_MALFORMED'],
    ['GET', '/inbox/?owner=x', undefined, 400, 'ERR_MALFORMED'],
    ['GET', '/inbox/?__proto__=1', undefined, 400, 'ERR_MALFORMED'],
    ['GET', '/inbox/?cursor=0000000000000000.1', undefined, 410, 'ERR_EXPIRED'],
    ['GET', '/inbox', undefined, 404, 'ERR_NOT_FOUND'],
    ['DELETE', other.path, undefined, 403, 'ERR_FORBIDDEN'],
    ['POST', path, record.text, 404, 'ERR_NOT_FOUND'],
    ['PATCH', path, record.text, 404, 'ERR_NOT_FOUND'],
    ['POST', '/deposit', '{"satoshis":5}', 403, 'ERR_FORBIDDEN'],
    ['POST', '/withdraw', `{"id":"${'0'.repeat(64)}"}`, 403, 'ERR_FORBIDDEN'],
    ['GET', '/nowhere', undefined, 404, 'ERR_NOT_FOUND'],
  ]
  for (const [method, at, body, status, code] of cases) {
    // A new client each time: a refusal before the proof ends the connection.
    const answer = await webClient(relay, alice)
      .ask(method, at, body)
      .catch((error) => ({ status: error.details?.status, body: { code: error.message } }))
    t.equal(answer.status, status, `${method} ${at.slice(0, 30)}… ${code}`)
    if (status !== 413 || body === large.text) t.match(answer.body, { code })
  }
  const late = await webClient(relay, alice).ask('PUT', old.path, old.text)
  t.equal(late.status, 200, 'a record may be old')
})

t.test('an id under another receiver’s path is not that record', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob, carol] = [actor(), actor(), actor()]
  const asAlice = webClient(relay, alice)
  const record = await recordFor(relay, alice, bob)
  await asAlice.ask('PUT', record.path, record.text)
  const elsewhere = record.path.replace(bob.identity, carol.identity)

  t.equal((await asAlice.ask('DELETE', elsewhere)).body.receipt, null)
  t.equal((await webClient(relay, carol).ask('GET', elsewhere)).status, 404)

  t.equal((await webClient(relay, bob).ask('GET', record.path)).text, record.text)
})

t.test('nobody, and key 1, may do nothing', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await recordFor(relay, alice, bob)
  const everybody = new KeyWallet(fromHex('1'.padStart(64, '0')))
  const session = await shakeHands(relay.url, everybody)
  const public1 = await recordFor(relay, everybody, bob)
  for (const [method, path, body] of [
    ['PUT', public1.path, public1.text],
    ['GET', record.path],
    ['DELETE', record.path],
    ['GET', outbox(alice, bob)],
    ['GET', '/inbox/'],
    ['POST', '/deposit', '{"satoshis":1}'],
    ['POST', '/withdraw', '{}'],
  ] as const) {
    const open = await fetch(`${relay.url}${path}`, { method, ...(body && { body, headers: json }) })
    t.match(await open.json(), { code: 'ERR_AUTH_REQUIRED' }, `${method} ${path}`)
    t.equal(open.status, 401)
    t.equal(open.headers.get('access-control-allow-origin'), '*')
    const asked = await signRequest(everybody, session, {
      method,
      path,
      ...(body && { body, headers: json }),
    })
    const answer = await send(relay.url, asked)
    t.equal(answer.status, 401)
    t.ok(answer.signed)
  }
})

t.test('a HEAD costs no pull', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const record = await recordFor(relay, alice, bob, { maxPulls: 1 })
  await webClient(relay, alice).ask('PUT', record.path, record.text)
  const asBob = webClient(relay, bob)

  for (const path of [record.path, '/inbox/', outbox(alice, bob)])
    t.equal((await asBob.ask('HEAD', path)).status, 404)

  t.equal((await asBob.ask('GET', record.path)).text, record.text)
})

t.test('native requests go on as they were, and are proved where BRC-104 asks for it', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const asAlice = webClient(relay, alice)
  const record = await sealRecord(relay, alice, bob)

  const written = await asAlice.ask('POST', '/', record.text)
  t.match(replyTo(relay, record, written.text), { result: true })
  t.equal((await asAlice.ask('GET', '/health')).body.status, 'ok')
  t.equal((await asAlice.ask('GET', '/.well-known/relay')).body.key, relay.key)
  t.equal((await asAlice.ask('POST', '/', '{')).body.code, 'ERR_MALFORMED')
  for (const path of [record.path, '/', '/.well-known/relay']) {
    const preflight = await fetch(`${relay.url}${path}`, { method: 'OPTIONS' })
    t.equal(preflight.status, 204)
    t.match(preflight.headers.get('access-control-allow-methods'), /PUT.*DELETE/)
    t.match(preflight.headers.get('access-control-allow-headers'), /x-bsv-payment/)
  }
})

t.test('records whose signatures fail are rationed by address, as native ones are', async (t) => {
  const relay = await openRelay(t, ['--open', '--limit', 'failuresPerMinute=2'])
  const [alice, bob] = [actor(), actor()]
  const asAlice = webClient(relay, alice)
  const record = await recordFor(relay, alice, bob)
  const forged = record.text.replace('"tag":"test"', '"tag":"tesT"')

  const statuses: number[] = []
  for (const text of [forged, forged, record.text])
    statuses.push((await asAlice.ask('PUT', record.path, text)).status)
  const native = await fetch(relay.url, { method: 'POST', headers: json, body: record.text })

  t.same([...statuses, native.status], [401, 401, 429, 429])
  relay.clock.ms += 60_000
  t.equal((await asAlice.ask('PUT', record.path, record.text)).status, 200)
})

t.test('what is carried out is counted as the native requests are that do the same', async (t) => {
  const relay = await openRelay(t, ['--open', '--metrics', '127.0.0.1:0'])
  const [alice, bob] = [actor(), actor()]
  const record = await recordFor(relay, alice, bob)
  await webClient(relay, alice).ask('PUT', record.path, record.text)
  for (const path of [record.path, '/inbox/', outbox(alice, bob)])
    await webClient(relay, bob).ask('GET', path)
  await webClient(relay, bob).ask('GET', `${record.path}x`)

  const page = await (await fetch(relay.metricsUrl!)).text()
  const count = (type: string) => {
    const line = new RegExp(`^relay_requests_total{[^}]*type="${type}"[^}]*code="ok"[^}]*} (\\d+)$`, 'm')
    return Number(line.exec(page)?.[1])
  }
  t.same(['store', 'read', 'inventory', 'delete'].map(count), [1, 1, 2, 0])
})

t.test('a relay that takes no payments reads no large headers', async (t) => {
  const relay = await openRelay(t)
  const status = await new Promise((resolve, reject) => {
    httpRequest(`${relay.url}/health`, { headers: { 'x-bsv-payment': 'x'.repeat(20_000) } }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    })
      .on('error', reject)
      .end()
  })
  t.equal(status, 413)
})

t.test('bodies of every method count as they arrive, until their answer has left', async (t) => {
  const small = ['recordBytes=1000', 'bodyBytes=20000', 'bodiesInFlightBytes=24000']
  const relay = await openRelay(t, ['--open', ...small.flatMap((one) => ['--limit', one])])
  const [alice, bob] = [actor(), actor()]
  const record = await recordFor(relay, alice, bob)
  const session = await shakeHands(relay.url, alice)
  for (const method of ['PUT', 'DELETE', 'GET']) {
    const { headers } = await signRequest(alice, session, { method, path: record.path })
    const status = await new Promise((resolve) => {
      const asked = httpRequest(`${relay.url}${record.path}`, {
        method,
        headers: { ...headers, 'transfer-encoding': 'chunked' },
      })
      asked.on('response', (answer) => resolve(answer.resume().statusCode))
      asked.on('error', () => undefined)
      asked.write('x'.repeat(7000)) // a quarter of the budget is for one address
    })
    t.equal(status, 503, method)
  }
  for (let round = 0; round < 8; round++) {
    const asked = { method: 'PUT', path: record.path, body: record.text, headers: json }
    t.equal((await send(relay.url, await signRequest(alice, session, asked))).status, 200)
  }
})

t.test('a client of BRC-31 reads and writes where the operator lets it, and deletes nothing', async (t) => {
  t.throws(() => readConfig(['--data', 'x', '--brc31'], {}), { message: /--public-url/ })
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const relay = await openRelay(t, [
    '--open',
    '--brc31',
    '--public-url',
    url,
    '--listen',
    `127.0.0.1:${port}`,
  ])
  const [alice, bob] = [actor(), actor()]
  const record = await recordFor(relay, alice, bob)
  const asAlice = await authrite(relay, alice)
  const asBob = await authrite(relay, bob)

  t.match(await asAlice('PUT', record.path, record.text), {
    status: 200,
    body: { status: 'success' },
    proved: true,
  })
  t.match(await asBob('GET', '/inbox/'), {
    status: 200,
    body: { records: [{ path: record.path }] },
    proved: true,
  })
  t.match(await asAlice('DELETE', record.path, '{}'), {
    status: 403,
    body: { code: 'ERR_FORBIDDEN' },
    proved: true,
  })
  t.match(await asBob('GET', record.path), { status: 200, body: JSON.parse(record.text), proved: true })
  const message = { recipient: bob.identity, messageBox: 'inbox', body: 'hello' }
  const sent = await asAlice('POST', '/sendMessage', JSON.stringify({ message }))
  t.match(sent, { status: 200, body: { status: 'success' }, proved: true })
  const listed = await asBob('POST', '/listMessages', JSON.stringify({ messageBox: 'inbox' }))
  t.match(listed.body.messages, [{ sender: alice.identity, body: '{"message":"hello"}' }])
})

t.test('behind a proxy that shortens paths clients sign what they asked for', async (t) => {
  const relay = await openRelay(t, ['--open', '--listen', `127.0.0.1:${await freePort()}`])
  await relay.close()
  const behind = await openRelay(t, [
    '--open',
    '--listen',
    new URL(relay.url).host,
    '--public-url',
    'https://a.example/r/',
  ])
  const alice = actor()
  const session = await shakeHands(relay.url, alice)
  const ask = async (signedPath: string) =>
    (await send(relay.url, await signRequest(alice, session, { path: '/inbox/', signedPath }))).status

  t.equal(behind.url, 'https://a.example/r')
  t.same([await ask('/r/inbox/'), await ask('/inbox/')], [200, 401])
})

/** Authrite 0.2 by its letter. */
async function authrite({ url, key }: { url: string; key: string }, wallet: KeyWallet) {
  const nonce = () => randomBytes(32).toString('base64')
  const bytes = (text: string) => [...Buffer.from(text)]
  const protocolID: [2, string] = [2, 'authrite message signature']
  const initialNonce = nonce()
  const opened = await fetch(`${url}/authrite/initialRequest`, {
    method: 'POST',
    body: JSON.stringify({
      ...{
        authrite: '0.2',
        messageType: 'initialRequest',
        identityKey: wallet.identity,
        nonce: initialNonce,
      },
    }),
  })
  const session = (await opened.json()) as any
  return async (method: string, path: string, body?: string) => {
    const own = nonce()
    const data = bytes(body ?? `${url}${path}`)
    const keyID = `${own} ${session.nonce}`
    const { signature } = await wallet.createSignature({ data, protocolID, keyID, counterparty: key })
    const headers = {
      'x-authrite': '0.2',
      'x-authrite-identity-key': wallet.identity,
      'x-authrite-nonce': own,
      'x-authrite-yournonce': session.nonce,
      'x-authrite-signature': Buffer.from(signature).toString('hex'),
      ...(body && json),
    }
    const answer = await fetch(`${url}${path}`, { method, headers, ...(body && { body }) })
    const text = await answer.text()
    const { valid: proved } = await wallet.verifySignature({
      data: bytes(text),
      protocolID,
      keyID: `${initialNonce} ${answer.headers.get('x-authrite-nonce')}`,
      counterparty: key,
      signature: [...Buffer.from(answer.headers.get('x-authrite-signature') ?? '', 'hex')],
    })
    return { status: answer.status, body: JSON.parse(text), proved }
  }
}

t.test('what is no record id is none in any spelling', async (t) => {
  const relay = await openRelay(t)
  const [alice, bob] = [actor(), actor()]
  const request = {
    ...{ content: 'AAAA', recordId: 'grüße', relays: [alice.identity], tag: 'x', ttl: 60, type: 'write' },
  }
  const { text } = await sealText(
    { to: bob.identity, timestamp: relay.now(), requestText: JSON.stringify(request) },
    alice,
  )
  const answer = await webClient(relay, alice).ask('PUT', `${outbox(alice, bob)}gr%C3%BC%C3%9Fe`, text)
  t.match(answer, { status: 400, body: { code: 'ERR_MALFORMED' } })
})
