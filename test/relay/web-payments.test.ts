/** Paying for requests by 402, on a real devnet: the sdk's own client, and clients that misbehave. */
import { randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { AuthFetch } from '@bsv/sdk'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { readConfig } from '../../relay/config.ts'
import { startRelay } from '../../relay/relay.ts'
import { asWallet, shakeHands, signRequest } from '../fixtures/web-auth.ts'
import { json, paymentFor, recordFor, webClient, wireClient } from '../fixtures/web-files.ts'
import { actor, askSigned } from '../fixtures/wire.ts'
import { keysOf, openScene } from '../fixtures/wallet.ts'

t.setTimeout(120_000)
// What the sdk tells of its payments.
for (const method of ['warn', 'info'] as const) t.capture(console, method)

const prices = ['storageGBDay=1000000000', 'egressGB=100000000'].flatMap((price) => ['--price', price])
/** Of a record of 200 bytes. */
const readPrice = 72

/** A relay that sells for coins of a devnet, and people who have some. */
async function open(t: Test, args: readonly string[] = prices) {
  const scene = await openScene(t)
  const clock = { ms: scene.clock.now }
  const now = () => clock.ms
  const options = [
    '--data',
    join(scene.directory, 'relay'),
    '--listen',
    '127.0.0.1:0',
    '--min-free-disk',
    '0',
  ]
  const config = readConfig([...options, '--chain', `devnet:${scene.devnet.url}`, ...args], {})
  const log = pino({ level: 'silent' })
  const relay = { ...(await startRelay(config, { log, now, monotonic: now, followEveryMs: 50 })), now }
  t.teardown(() => relay.close())
  const person = async (name: string, coins: readonly number[] = [50_000, 50_000]) => {
    const keys = keysOf(name)
    const wallet = await scene.open(name)
    await scene.fund(wallet, coins)
    return { keys, wallet, fetch: webClient(relay, wallet), wire: await wireClient(relay, keys) }
  }
  const creditOf = async (keys: ReturnType<typeof keysOf>) => {
    const { result } = await askSigned(relay, keys, { type: 'account' })
    const paid = result.entries.filter((entry: any) => entry.note?.startsWith('payment '))
    return { ...result.purses.find(({ purse }: any) => purse === 'credit'), paid }
  }
  return { relay, clock, scene, person, creditOf }
}

t.test('AuthFetch buys a write and a read, and what it paid is credit that was used', async (t) => {
  const { relay, person, creditOf } = await open(t)
  const alice = await person('alice')
  const bob = await person('bob')
  const record = await recordFor(relay, alice.keys, bob.keys, { bilateralPulls: 1 })

  const offered = await alice.wire.ask('PUT', record.path, record.text)
  t.equal(offered.status, 402)
  const price = offered.body.satoshisRequired
  t.match(offered.body, { status: 'error', code: 'ERR_PAYMENT_REQUIRED', quote: { satoshis: String(price) } })
  t.equal(offered.headers.get('x-bsv-payment-satoshis-required'), String(price))
  t.equal(offered.headers.get('x-bsv-payment-transports'), 'header,multipart')

  const written = await alice.fetch.ask('PUT', record.path, record.text)
  t.equal(written.status, 200, written.text)
  t.match(written.body.reply.msg.request.receipt, { path: record.path, charge: { purse: 'credit' } })
  t.equal(written.headers.get('x-bsv-payment-satoshis-paid'), String(price))
  const { paid, received } = await creditOf(alice.keys)
  t.equal(received, String(price))
  t.equal(paid[0].note, `payment ${written.headers.get('x-bsv-payment-reference')}`)

  const first = await bob.fetch.ask('GET', record.path)
  t.equal(first.text, record.text)
  t.notOk(first.headers.has('x-bsv-payment-satoshis-paid'), 'the owner bears as many as he signed for')
  const second = await bob.fetch.ask('GET', record.path)
  t.equal(second.text, record.text)
  t.equal(second.headers.get('x-bsv-payment-satoshis-paid'), String(readPrice))
  t.match(await creditOf(bob.keys), { received: String(readPrice), available: '0' })

  t.match((await bob.fetch.ask('GET', '/inbox/')).body.records, [{ path: record.path }], 'lists cost nothing')
  t.match((await alice.fetch.ask('DELETE', record.path)).body, { receipt: { path: record.path } })
})

t.test('the same payment for the same request is the same; for another it is refused', async (t) => {
  const { relay, clock, person, creditOf } = await open(t)
  const alice = await person('alice')
  const bob = await person('bob')
  const record = await recordFor(relay, alice.keys, bob.keys)
  const other = await recordFor(relay, alice.keys, bob.keys)
  const offer = await alice.wire.ask('PUT', record.path, record.text)
  const paying = { ...json, 'x-bsv-payment': await paymentFor(alice.wallet, offer.headers) }
  const put = (what: typeof record) => alice.wire.ask('PUT', what.path, what.text, paying)

  const answers = await Promise.all(Array.from({ length: 6 }, () => put(record)))
  for (const { status, body, headers } of answers) {
    t.equal(status, 200)
    t.same(body.reply.msg.request.receipt, answers[0]?.body.reply.msg.request.receipt)
    t.equal(headers.get('x-bsv-payment-satoshis-paid'), String(offer.body.satoshisRequired))
  }
  const txid = answers[0]?.headers.get('x-bsv-payment-reference')
  const refused = await put(other)
  t.match(refused, { status: 409, body: { code: 'ERR_PAYMENT_REPLAYED', txid, broadcast: true } })
  t.match(await creditOf(alice.keys), { received: String(offer.body.satoshisRequired) })

  const asked = await bob.wire.ask('GET', record.path)
  t.match(asked, { status: 402, body: { satoshisRequired: readPrice } })
  const reading = { 'x-bsv-payment': await paymentFor(bob.wallet, asked.headers) }
  const statuses: number[] = []
  for (let round = 0; round < 5; round++)
    statuses.push((await bob.wire.ask('GET', record.path, undefined, reading)).status)
  t.same(statuses, [200, 200, 200, 200, 409], 'as often as any read that was answered')
  t.match(await creditOf(bob.keys), { received: String(readPrice), earned: undefined, available: '0' })
  clock.ms += 600_001
  const late = await bob.wire.ask('GET', record.path, undefined, reading)
  t.match(late, { status: 409, body: { code: 'ERR_CONFLICT', broadcast: true } }, 'then it is spent')
})

t.test('two clients of one person pay for different things at once', async (t) => {
  const { relay, person, creditOf } = await open(t)
  const alice = await person('alice', [20_000, 20_000, 20_000, 20_000])
  const clients = [webClient(relay, alice.wallet), webClient(relay, alice.wallet)]
  const records = await Promise.all([0, 1, 2, 3].map(() => recordFor(relay, alice.keys, keysOf('bob'))))

  const answers = await Promise.all(
    records.map((record, place) => clients[place % 2]!.ask('PUT', record.path, record.text)),
  )

  t.same(
    answers.map(({ status }) => status),
    [200, 200, 200, 200],
  )
  t.ok((await creditOf(alice.keys)).paid.length <= 4, 'none paid twice')
})

t.test('an answer that was lost is asked for again with the same payment', async (t) => {
  const { relay, person, creditOf } = await open(t)
  const alice = await person('alice')
  const record = await recordFor(relay, alice.keys, keysOf('bob'))
  const offer = await alice.wire.ask('PUT', record.path, record.text)
  const headers = { ...json, 'x-bsv-payment': await paymentFor(alice.wallet, offer.headers) }
  const session = await shakeHands(relay.url, alice.keys)
  const signed = await signRequest(alice.keys, session, {
    method: 'PUT',
    ...record,
    body: record.text,
    headers,
  })
  await new Promise((resolve) => {
    const asked = httpRequest(`${relay.url}${record.path}`, { method: 'PUT', headers: signed.headers })
    asked.on('error', () => undefined).once('close', () => resolve(undefined))
    asked.end(record.text, () => asked.destroy())
  })

  for (let round = 0; round < 500; round++) if ((await creditOf(alice.keys)).paid?.length === 1) break

  const answer = await alice.wire.ask('PUT', record.path, record.text, headers)

  t.equal(answer.status, 200)
  const { paid } = await creditOf(alice.keys)
  t.equal(paid.length, 1)
})

t.test('payments that are none are refused with a reason, never by 402', async (t) => {
  const { relay, person } = await open(t)
  const alice = await person('alice')
  const eve = await person('eve')
  const record = await recordFor(relay, alice.keys, eve.keys)
  const put = (payment: string, headers = json) =>
    alice.wire.ask('PUT', record.path, record.text, { ...headers, 'x-bsv-payment': payment })
  const offer = await alice.wire.ask('PUT', record.path, record.text)
  const forged = await eve.wire.ask('POST', '/deposit', '{"satoshis":500}')
  const price = offer.body.satoshisRequired
  const cases: [string, string, number, string][] = [
    ['no JSON', '{', 400, 'ERR_MALFORMED_PAYMENT'],
    ['nothing in it', '{}', 400, 'ERR_MALFORMED_PAYMENT'],
    ['200 KB of nothing', JSON.stringify({ transaction: 'A'.repeat(200_000) }), 400, 'ERR_MALFORMED_PAYMENT'],
    [
      'too little',
      await paymentFor(alice.wallet, offer.headers, { satoshis: price - 1 }),
      400,
      'ERR_INSUFFICIENT_PAYMENT',
    ],
    ['another’s', await paymentFor(eve.wallet, forged.headers), 400, 'ERR_INVALID_DERIVATION_PREFIX'],
  ]
  for (const [what, payment, status, code] of cases) {
    const answer = await put(payment)
    t.match(answer, { status, body: { code, broadcast: false } }, what)
    t.notOk(answer.headers.has('x-bsv-payment-satoshis-paid'))
  }
  const good = await paymentFor(alice.wallet, offer.headers)
  for (const [method, path, body] of [
    ['GET', '/inbox/'],
    ['DELETE', record.path],
    ['POST', '/withdraw', `{"id":"${'1'.repeat(64)}"}`],
  ] as const) {
    const answer = await alice.wire.ask(method, path, body, { ...(body && json), 'x-bsv-payment': good })
    t.match(answer, { status: 400, body: { code: 'ERR_MALFORMED_PAYMENT', broadcast: false } }, path)
  }
  const foreign = await alice.wire.ask('GET', record.path, undefined, { 'x-bsv-payment': good })
  t.match(foreign, { status: 403, body: { code: 'ERR_FORBIDDEN', broadcast: false } }, 'not hers to read')
  const bent = await alice.wire.ask('PUT', record.path, '{', { ...json, 'x-bsv-payment': good })
  t.match(bent, { status: 400, body: { code: 'ERR_MALFORMED', broadcast: false } })

  t.equal((await put(good)).status, 200, 'and is as good as before')
})

t.test('who forges payments is not heard for a while', async (t) => {
  const { clock, person, creditOf } = await open(t, [...prices, '--limit', 'failuresPerMinute=3'])
  const eve = await person('eve')
  const pay = (payment: string) =>
    eve.wire.ask('POST', '/deposit', '{"satoshis":500}', { ...json, 'x-bsv-payment': payment })
  const offer = await eve.wire.ask('POST', '/deposit', '{"satoshis":500}')
  const good = await paymentFor(eve.wallet, offer.headers)
  const forged = JSON.stringify({ ...JSON.parse(good), derivationSuffix: 'b3RoZXI=' })
  for (let n = 0; n < 3; n++)
    t.match(await pay(forged), { status: 400, body: { code: 'ERR_MALFORMED_PAYMENT' } })
  for (const payment of [forged, good])
    t.match(await pay(payment), { status: 429, body: { code: 'ERR_LIMIT', broadcast: false } })
  clock.ms += 61_000
  t.equal((await pay(good)).status, 200)
  t.equal((await creditOf(eve.keys)).paid.length, 1)
})

t.test('a payment may come in a part of the body, and is the same payment', async (t) => {
  const { relay, person, creditOf } = await open(t)
  const alice = await person('alice')
  const record = await recordFor(relay, alice.keys, keysOf('bob'))
  const offer = await alice.wire.ask('PUT', record.path, record.text)
  const payment = await paymentFor(alice.wallet, offer.headers)
  const boundary = 'a boundary?'
  const type = { 'content-type': `multipart/form-data; boundary="${boundary}"` }
  const part = (name: string, text: string) =>
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\nContent-Type: application/json\r\n\r\n${text}\r\n`
  const end = `--${boundary}--\r\n`
  const both = `${part('x-bsv-payment', payment)}${part('body', record.text)}${end}`
  for (const [what, body, headers] of [
    ['no end', both.slice(0, -4), {}],
    ['more behind it', `${both}x`, {}],
    ['something before it', ` ${both}`, {}],
    ['a part twice', `${part('body', record.text)}${both}`, {}],
    ['a part of another name', `${part('file', 'x')}${both}`, {}],
    ['no payment', `${part('body', record.text)}${end}`, {}],
    ['two payments', both, { 'x-bsv-payment': payment }],
    ['a part without a name', both.replace('Content-Disposition', 'Content-Description'), {}],
    ['a part without headers', both.replace('Content-Type: application/json\r\n\r\n', ''), {}],
    ['a long header', both.replace('application/json', 'x'.repeat(2000)), {}],
    ['nothing', '', {}],
  ] as const) {
    const answer = await alice.wire.ask('PUT', record.path, body, { ...type, ...headers })
    t.equal(answer.status, 400, what)
  }

  const paid = await alice.wire.ask('PUT', record.path, both, type)
  t.equal(paid.status, 200, paid.text)
  const again = await alice.wire.ask('PUT', record.path, record.text, { ...json, 'x-bsv-payment': payment })
  t.equal(again.status, 200)

  t.equal((await creditOf(alice.keys)).paid.length, 1)
})

t.test('what rests on no block yet is limited: then the same payment is presented again', async (t) => {
  const { relay, scene, person } = await open(t)
  const alice = await person('alice')
  const record = await recordFor(relay, alice.keys, keysOf('bob'), { bytes: 150_000, maxPulls: 1 })
  const offer = await alice.wire.ask('PUT', record.path, record.text)
  t.ok(offer.body.satoshisRequired > 10_000)
  const headers = { ...json, 'x-bsv-payment': await paymentFor(alice.wallet, offer.headers) }
  const put = () => alice.wire.ask('PUT', record.path, record.text, headers)

  t.match(await put(), { status: 503, body: { code: 'ERR_BUSY', broadcast: true, retryAfterMs: Number } })
  await scene.devnet.node.mine(1)
  let answer = await put()
  for (let round = 0; round < 200 && answer.status === 503; round++) answer = await put()

  t.equal(answer.status, 200, answer.text)
})

t.test('deposits are credit, which buys, and is paid back', async (t) => {
  const { relay, scene, person, creditOf } = await open(t)
  const alice = await person('alice')
  const deposited = await alice.fetch.ask('POST', '/deposit', '{"satoshis":5000}')
  t.match(deposited, {
    status: 200,
    body: { status: 'success', satoshis: '5000', available: '5000', pending: '0', txid: /^[0-9a-f]{64}$/ },
  })
  const record = await recordFor(relay, alice.keys, keysOf('bob'))
  const written = await alice.wire.ask('PUT', record.path, record.text)
  t.equal(written.status, 200, 'no payment is asked for')
  for (const body of [
    '',
    '{}',
    '{"satoshis":0}',
    '{"satoshis":2100000000000001}',
    '{"satoshis":"5.0"}',
    '[]',
  ])
    t.match(
      await alice.wire.ask('POST', '/deposit', body),
      { status: 400, body: { code: 'ERR_MALFORMED' } },
      body,
    )

  const id = randomBytes(32).toString('hex')
  const early = await alice.wire.ask('POST', '/withdraw', JSON.stringify({ id, satoshis: '1000' }))
  t.match(early, { status: 409, body: { code: 'ERR_CONFLICT' } }, 'it rests on no block')
  await scene.devnet.node.mine(1)
  const withdraw = () => alice.wire.ask('POST', '/withdraw', JSON.stringify({ id, satoshis: '1000' }))
  let paid = await withdraw()
  for (let round = 0; round < 200 && paid.status !== 200; round++) paid = await withdraw()
  t.equal(paid.status, 200, paid.text)
  t.same((await withdraw()).body, paid.body, 'the same id is the same withdrawal')
  const { tx, derivationPrefix, derivationSuffix, satoshis, fee } = paid.body
  const paymentRemittance = { derivationPrefix, derivationSuffix, senderIdentityKey: relay.key }
  const before = (await alice.wallet.listOutputs({ basket: 'default', limit: 1000 })).outputs
  await alice.wallet.internalizeAction({
    tx: [...Buffer.from(tx, 'base64')],
    outputs: [{ outputIndex: 0, protocol: 'wallet payment', paymentRemittance }],
    description: 'paid back',
  })
  const after = (await alice.wallet.listOutputs({ basket: 'default', limit: 1000 })).outputs
  const sum = (coins: typeof before) => coins.reduce((total, coin) => total + coin.satoshis, 0)
  t.equal(sum(after) - sum(before), Number(satoshis) - Number(fee))
  t.match(await creditOf(alice.keys), { received: '5000', returned: '1000' })
})

t.test(
  'a relay that gives everything for nothing asks for nothing, and keeps what it is given',
  async (t) => {
    const { relay, person, creditOf } = await open(t, ['--open'])
    const alice = await person('alice')
    const bob = await person('bob')
    const record = await recordFor(relay, alice.keys, bob.keys)
    const written = await alice.fetch.ask('PUT', record.path, record.text)
    t.equal(written.status, 200)
    t.notOk(written.headers.has('x-bsv-payment-satoshis-paid'))
    t.equal((await bob.fetch.ask('GET', record.path)).text, record.text)

    const offer = await alice.wire.ask('POST', '/deposit', '{"satoshis":100}')
    const headers = { ...json, 'x-bsv-payment': await paymentFor(alice.wallet, offer.headers) }
    const paid = await alice.wire.ask('PUT', record.path, record.text, headers)
    t.equal(paid.status, 200, 'a payment that nobody asked for is credit')
    t.equal((await creditOf(alice.keys)).available, '100')
  },
)

t.test('a record that is gone when its payment comes leaves the money to whoever paid', async (t) => {
  const { relay, person, creditOf } = await open(t)
  const alice = await person('alice')
  const bob = await person('bob')
  const record = await recordFor(relay, alice.keys, bob.keys)
  await alice.fetch.ask('PUT', record.path, record.text)
  const offer = await bob.wire.ask('GET', record.path)
  await alice.fetch.ask('DELETE', record.path)

  const payment = await paymentFor(bob.wallet, offer.headers)
  const answer = await bob.wire.ask('GET', record.path, undefined, { 'x-bsv-payment': payment })

  t.match(answer, { status: 404, body: { code: 'ERR_NOT_FOUND', broadcast: true, txid: /^[0-9a-f]{64}$/ } })
  t.equal((await creditOf(bob.keys)).available, String(readPrice))
})

t.test('without coins nothing is offered: a 402 that nobody can pay by its headers', async (t) => {
  const data = t.testdir()
  const args = ['--data', data, '--listen', '127.0.0.1:0', '--min-free-disk', '0', ...prices]
  const relay = await startRelay(readConfig(args, {}), { log: pino({ level: 'silent' }) })
  t.teardown(() => relay.close())
  const alice = actor()
  const wire = await wireClient(relay, alice)
  const record = await recordFor(relay, alice, actor())

  const answer = await wire.ask('PUT', record.path, record.text)
  t.match(answer, { status: 402, body: { code: 'ERR_PAYMENT_REQUIRED' } })
  t.notOk([...answer.headers.keys()].some((name) => name.startsWith('x-bsv-payment')))
  const pay = { derivationPrefix: 'x', derivationSuffix: 'y', transaction: 'AAAA' }
  const given = { ...json, 'x-bsv-payment': JSON.stringify(pay) }
  t.match(await wire.ask('PUT', record.path, record.text, given), {
    status: 403,
    body: { code: 'ERR_FORBIDDEN', broadcast: false },
  })
  await t.rejects(
    new AuthFetch(asWallet(alice)).fetch(`${relay.url}${record.path}`, {
      method: 'PUT',
      body: record.text,
      headers: json,
    }),
  )
})
