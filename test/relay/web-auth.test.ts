/** Clients of BRC-103 and BRC-104 as they are deployed, against our server over real sockets. */
import { createServer, request } from 'node:http'
import { AuthFetch, PrivateKey, ProtoWallet } from '@bsv/sdk'
import t from 'tap'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { asWallet, openWebServer } from '../fixtures/web-auth.ts'

const json = { 'content-type': 'application/json' }

for (const [kind, walletOf] of [
  ['a ProtoWallet', () => new ProtoWallet(PrivateKey.fromRandom())],
  ['a KeyWallet', () => KeyWallet.random()],
] as const) {
  t.test(`AuthFetch with ${kind} is understood, and understands every answer`, async (t) => {
    const { url, wallet } = await openWebServer(t)
    const own = walletOf()
    const { publicKey: identity } = await own.getPublicKey({ identityKey: true })
    const client = new AuthFetch(asWallet(own))
    const get = (path: string) => client.fetch(`${url}${path}`)

    const who = await get('/who')
    t.same(await who.json(), { identity })
    t.equal(who.headers.get('x-bsv-auth-identity-key'), wallet.identity)

    for (const query of [
      '?a=1&b=%20%C3%A9%2B&c=a+b',
      '?',
      '?x',
      '?q=100%25&q=2',
      '?%3F=?&é=ü',
      "?quote='!*()",
    ]) {
      const expected = Object.fromEntries(new URL(`${url}/query${query}`).searchParams)
      const answer = (await (await get(`/query${query}`)).json()) as Record<string, unknown>
      if (query !== '?q=100%25&q=2') t.same(answer, expected, query)
      else t.same(answer, { q: ['100%', '2'] })
    }

    const post = (body: unknown, headers: Record<string, string>, method = 'POST') =>
      client.fetch(`${url}/echo`, { method, headers, body })
    const value = { text: 'grüße 🌍 \u0000', list: [1, 2.5, null], nested: { a: 'b' } }
    t.same(await (await post(value, json)).json(), value, 'an object')
    t.equal(await (await post(JSON.stringify(value), json)).text(), JSON.stringify(value), 'a text of JSON')
    t.equal(
      await (await post('grüße 🌍', { 'content-type': 'text/plain; charset=utf-8' })).text(),
      'grüße 🌍',
    )
    t.equal(
      await (await post('x'.repeat(60_000), { 'content-type': 'text/plain' })).text(),
      'x'.repeat(60_000),
    )
    t.equal(await (await post(undefined, json)).text(), '{}', 'what it sends for nothing')
    t.equal(await (await post(undefined, {})).text(), '', 'nothing')
    for (const method of ['PUT', 'PATCH', 'DELETE']) {
      t.equal(await (await post('{"a":1}', json, method)).text(), '{"a":1}', method)
    }

    for (const [path, status] of [
      ['/no-content', 204],
      ['/no-content-with-body', 204],
      ['/empty', 200],
      ['/empty-text', 200],
    ] as const) {
      const answer = await get(path)
      t.equal(answer.status, status, path)
      t.equal(await answer.text(), '', path)
    }
    const head = await client.fetch(`${url}/who`, { method: 'HEAD' })
    t.equal(head.status, 200, 'HEAD')
    t.equal((await (await get('/bytes')).arrayBuffer()).byteLength, 70_000, 'bytes')
  })
}

t.test('errors of authenticated requests arrive with their status and code', async (t) => {
  const { url } = await openWebServer(t)
  const client = new AuthFetch(asWallet(KeyWallet.random()))
  const cases = [
    ['GET', '/nowhere', undefined, 404, 'ERR_NOT_FOUND'],
    ['POST', '/nowhere', '{"a":1}', 404, 'ERR_NOT_FOUND'],
    ['POST', '/nowhere', '{bad', 400, 'ERR_MALFORMED'],
    ['GET', '/fails', undefined, 500, 'ERR_INTERNAL'],
    ['GET', '/stream', undefined, 500, 'ERR_INTERNAL'],
    ['POST', '/parsed', '{bad', 400, 'ERR_MALFORMED'],
    ['POST', '/parsed', '{"__proto__":1}', 400, 'ERR_MALFORMED'],
  ] as const

  for (const [method, path, body, status, code] of cases) {
    const answer = await client.fetch(`${url}${path}`, { method, ...(body && { body, headers: json }) })
    t.equal(answer.status, status, `${method} ${path}`)
    t.match(await answer.json(), { status: 'error', code })
  }
  const parsed = await client.fetch(`${url}/parsed`, { method: 'POST', body: '{"a":1}', headers: json })
  t.same(await parsed.json(), { a: 1 })
})

t.test('headers of ours and of the client are proved, large ones too', async (t) => {
  const { url } = await openWebServer(t)
  const client = new AuthFetch(asWallet(KeyWallet.random()))
  const payment = JSON.stringify({ transaction: 'A'.repeat(200_000) })

  const answer = await client.fetch(`${url}/headers`, {
    headers: {
      'x-bsv-payment': payment,
      authorization: 'Bearer 1',
      'X-BSV-a_b': 'é',
      'x-bsv-a-b': '2',
      'x-bsv-z': '',
    },
  })

  t.match(await answer.json(), { payment })
  t.equal(answer.headers.get('x-bsv-a'), '7')
  t.equal(answer.headers.get('x-bsv-b'), 'spaced')
  t.equal(answer.headers.get('x-bsv-list'), 'one, two')
  t.equal(answer.headers.get('x-bsv-latin'), 'é')
})

t.test('a client goes on after a restart of the server, with the session it lost', async (t) => {
  const first = await openWebServer(t)
  const client = new AuthFetch(asWallet(KeyWallet.random()))
  t.equal((await client.fetch(`${first.url}/who`)).status, 200)
  await first.app.close()
  await t.rejects(fetch(first.url), 'and the connection it kept is known to be gone')
  const port = Number(new URL(first.url).port)
  const { url, auth } = await openWebServer(t, { wallet: first.wallet, port })

  const answers = await Promise.all(
    Array.from({ length: 5 }, () =>
      client.fetch(`${url}/echo`, { method: 'POST', body: '{"again":true}', headers: json }),
    ),
  )

  t.ok(answers.every(({ status }) => status === 200))
  t.ok(auth.held().sessions >= 1)
})

t.test('sessions that gave way, were idle, or are used up begin anew, unnoticed', async (t) => {
  const { url, auth, clock } = await openWebServer(t, {
    limits: { sessions: 1, noncesPerSession: 3, sessionIdleMs: 1000, nonces: 3 },
  })
  const wallets = [KeyWallet.random(), KeyWallet.random()]
  const clients = wallets.map((wallet) => new AuthFetch(asWallet(wallet)))

  for (let round = 0; round < 3; round++) {
    for (const [index, client] of clients.entries()) {
      t.same(await (await client.fetch(`${url}/who`)).json(), { identity: wallets[index]?.identity })
    }
  }
  for (let round = 0; round < 5; round++) t.equal((await clients[0]!.fetch(`${url}/who`)).status, 200)
  clock.ms += 1001
  t.equal((await clients[0]!.fetch(`${url}/who`)).status, 200)

  t.same(auth.held(), { sessions: 1, nonces: 1 })
})

t.test('two clients of one identity, each with twenty requests at once, get their own answers', async (t) => {
  const { url } = await openWebServer(t)
  const wallet = KeyWallet.random()
  const clients = [new AuthFetch(asWallet(wallet)), new AuthFetch(asWallet(wallet))]
  const ask = (client: AuthFetch, name: string) =>
    Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const body = `{"n":"${name} ${index}"}`
        const answer = await client.fetch(`${url}/echo`, { method: 'POST', body, headers: json })
        return (await answer.text()) === body
      }),
    )

  const cold = await Promise.all(clients.map((client, index) => ask(client, `cold ${index}`)))
  const warm = await Promise.all(clients.map((client, index) => ask(client, `warm ${index}`)))

  t.same([...cold, ...warm].flat(), Array(80).fill(true))
})

t.test('behind a proxy that shortens paths, the longer path is what clients sign', async (t) => {
  const { url } = await openWebServer(t, { publicPrefix: '/relay' })
  const proxy = createServer((incoming, outgoing) => {
    const path = (incoming.url ?? '').replace(/^\/relay/, '')
    const onward = request(
      `${url}${path}`,
      { method: incoming.method, headers: incoming.headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
      },
    )
    incoming.pipe(onward)
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  const { port } = proxy.address() as { port: number }
  const client = new AuthFetch(asWallet(KeyWallet.random()))

  const answer = await client.fetch(`http://127.0.0.1:${port}/relay/query?a=1`)

  t.same(await answer.json(), { a: '1' })
})

t.test('certificates: none are asked for, none are had, and saying so ends the question', async (t) => {
  const { url } = await openWebServer(t)
  const client = new AuthFetch(asWallet(KeyWallet.random()))
  t.equal((await client.fetch(`${url}/who`)).status, 200)

  const certificates = await client.sendCertificateRequest(url, {
    certifiers: [KeyWallet.random().identity],
    types: { z4CfvCfvCfvCfvCfvCfvCfvCfvCfvCfvCfvCfvCfvCc: ['name'], '7': ['first', 'second'] },
  })

  t.same(certificates, [])
})
