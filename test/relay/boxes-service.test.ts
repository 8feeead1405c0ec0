/** What operators and programmers have of message boxes: figures, fees, bounds, notices for devices, and their description. */
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { sha256Hex } from '../../market/hash.ts'
import { freePrices } from '../../market/price.ts'
import { BoxNotices } from '../../relay/boxes/notices.ts'
import { operationsOf } from '../../relay/docs/operations.ts'
import { commands } from '../../relay/operator/commands.ts'
import { putDevice } from '../../relay/store/box-settings.ts'
import { sendToBoxes } from '../../relay/store/boxes.ts'
import { Store } from '../../relay/store/store.ts'
import { boxUser } from '../fixtures/boxes.ts'
import { ann, ben } from '../fixtures/ledger-store.ts'
import { startTestRelay } from '../fixtures/relay.ts'

const minuteMs = 60_000
const quotas = { boxMessages: 10, boxBytes: 10_000, boxSent: 10, boxSentBytes: 10_000 }
const everything = { boxes: true, till: true, board: true, phip: true, authorizing: true }

/** Hears notices; answers what `answers` has left, then 200. */
async function hearer(t: Test, answers: number[] = []) {
  const heard: { headers: IncomingHttpHeaders; body: string }[] = []
  const waiting: (() => void)[] = []
  const server = createServer(async (request, response) => {
    const body = await text(request)
    response.writeHead(answers.shift() ?? 200, { location: 'http://127.0.0.1:1/' }).end()
    heard.push({ headers: request.headers, body })
    for (const go of waiting.splice(0)) go()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const until = async (count: number) => {
    while (heard.length < count) await new Promise<void>((resolve) => waiting.push(resolve))
  }
  return { heard, until, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/told` }
}

t.test('beside the messages', async (t) => {
  const data = t.testdir()
  const clock = { ms: 0 }
  const now = () => Date.now() + clock.ms
  const hook = await hearer(t)
  const args = ['--open-boxes', '--box-fee', 'dear=0', '--push-webhook', hook.url, '--metrics', '127.0.0.1:0']
  const start = () => startTestRelay(data, { args: [...args, '--limit', 'boxRequestsPerMinute=12'], now })
  let relay = await start()
  t.teardown(() => relay.close())
  const [alice, bob] = await Promise.all([boxUser(relay, 'alice'), boxUser(relay, 'bob')])
  const json = async (path: string): Promise<any> => (await fetch(`${relay.url}${path}`)).json()
  const box = async (...words: string[]) => {
    const lines: string[] = []
    const io = { env: { RELAYD_DATA: data }, isTerminal: false, signal: new AbortController().signal }
    await commands.box!.run({ ...io, out: (line) => lines.push(line) }, words)
    return JSON.parse(lines[0]!)
  }

  await t.test('answers are what openapi.json says', async (t) => {
    t.ok((await json('/.well-known/relay')).features.includes('boxes'))
    const said = await json('/openapi.json')
    t.equal(said.openapi, '3.1.0')
    t.same(said.servers, [{ url: relay.url }])
    t.notOk(said.paths['/deposit'], 'there is no wallet')
    const who = `recipient=${bob.key}&messageBox=inbox`
    const asked = {
      'post /sendMessage': await alice.send(bob, { messageId: 1 }),
      'post /permissions/set': await bob.post('/permissions/set', { messageBox: 'inbox', recipientFee: 0 }),
      'post /registerDevice': await bob.post('/registerDevice', { fcmToken: 'a token', platform: 'web' }),
      'post /listMessages': await bob.list(),
      [`get /permissions/get?${who}`]: await alice.get(`/permissions/get?${who}`),
      'get /permissions/list': await bob.get('/permissions/list'),
      [`get /permissions/quote?${who}`]: await alice.get(`/permissions/quote?${who}`),
      'get /devices': await bob.get('/devices'),
      'get /inbox/': await bob.get('/inbox/'),
      'post /acknowledgeMessage': await bob.ack(1),
    }
    for (const [what, { status, body }] of Object.entries(asked)) {
      const [method, path] = what.replace(/\?.*/, '').split(' ')
      const operation = operationsOf(everything).find((one) => one.path === path && one.method === method)
      t.equal(status, 200, what)
      t.equal(operation?.answer.safeParse(body).error, undefined, what)
      t.ok(said.paths[path!][method!].responses[200].content['application/json'].schema)
    }
    const page = await fetch(`${relay.url}/docs`)
    t.match(page.headers.get('content-security-policy'), "default-src 'none'")
    const html = await page.text()
    t.match(html, 'POST /sendMessage')
    t.notMatch(html, /<script|src=|https?:\/\/(?!127\.0\.0\.1)/)
  })

  await t.test('a device is told of by the operator’s own program', async (t) => {
    await alice.send(bob, { messageId: 'told', messageBox: 'notifications' })
    await hook.until(1)
    const [{ headers, body }] = hook.heard as [(typeof hook.heard)[0]]
    t.match(JSON.parse(body), {
      ...{ type: 'message', recipient: bob.key, messageBox: 'notifications', recordId: /^mb_[0-9a-f]{64}$/ },
      devices: [{ id: 1, token: 'a token', platform: 'web' }],
    })
    const secret = Buffer.from(readFileSync(join(data, 'push-webhook.secret'), 'utf8').trim(), 'hex')
    const signed = `${headers['x-relay-timestamp']}.${body}`
    t.equal(
      headers['x-relay-signature'],
      `sha256=${createHmac('sha256', secret).update(signed).digest('hex')}`,
    )
  })

  await t.test('an identity has so many requests in a minute', async (t) => {
    const statuses = []
    for (let at = 0; at < 12; at++) statuses.push((await alice.list()).status)
    t.equal(statuses[0], 200)
    const refused = await alice.list()
    t.equal(refused.status, 429)
    t.match(refused.body, { code: 'ERR_LIMIT', retryAfterMs: Number })
    t.equal((await bob.list()).status, 200, 'others go on')
    clock.ms += minuteMs
    t.equal((await (await boxUser(relay, 'alice')).list()).status, 200)
    const metrics = await (await fetch(relay.metricsUrl!)).text()
    t.match(metrics, /relay_box_requests_total\{route="\/sendMessage",code="ok"\} 2/)
    t.match(metrics, /relay_box_requests_total\{route="\/listMessages",code="ERR_LIMIT"\} \d/)
    t.match(metrics, /relay_box_notices_total\{outcome="sent"\} 1/)
  })

  await t.test('fees are set while it runs, and when it does not', async (t) => {
    t.same(await box('fee', 'list'), { fees: {} })
    t.same(await box('fee', 'dear=7'), { fees: { dear: 7 } })
    clock.ms += minuteMs
    const quote = `/permissions/quote?recipient=${bob.key}&messageBox=dear`
    t.match((await (await boxUser(relay, 'alice')).get(quote)).body, { code: 'ERR_PAYMENT_UNAVAILABLE' })
    await relay.close()
    t.same(await box('fee', 'other=1'), { fees: { dear: 7, other: 1 } })
    t.same(await box('fee', 'dear=0'), { fees: { dear: 0, other: 1 } })
    relay = await start()
    t.match((await (await boxUser(relay, 'alice')).get(quote)).body.quote, { deliveryFee: 0 })
    await t.rejects(box('fee', 'dear'), /takes BOX=SATOSHI/)
  })
})

t.test('what is not taken is tried again, but never sent elsewhere', async (t) => {
  const hook = await hearer(t, [503, 429, 200, 302, 200])
  const store = await Store.open({ directory: t.testdir(), now: Date.now })
  t.teardown(() => store.close())
  const failures: string[] = []
  const notices = new BoxNotices({
    ...{ store, url: hook.url, secret: Buffer.alloc(32), now: Date.now, firstPauseMs: 1 },
    onFailure: (reason) => failures.push(reason),
  })
  const device = { token: 'a token', deviceId: '', platform: 'ios', isStranger: false }
  await store.commit((batch) => void putDevice(batch, ben.identity, device))
  const send = (messageId: string) =>
    store.commit((batch) =>
      sendToBoxes(batch, {
        ...{ sender: ann.identity, box: 'inbox', ttlMs: 1000, quotas },
        messages: [{ recipient: ben.identity, messageId, content: Buffer.alloc(1), hash: sha256Hex('') }],
        agree: (_batch, _recipient, { expires: paidUntil }) => ({
          owner: ann.identity,
          terms: { purse: 'credit', prices: freePrices, paidUntil },
        }),
      }),
    )
  for (const [id, tries] of [3, 4, 5].entries()) {
    await send(String(id))
    await hook.until(tries)
  }
  await send('one that is not waited for')
  await notices.close()
  t.match(notices.counts, { failed: 1, dropped: 0 })
  t.same(failures, ['it answers 302'])
  t.equal(new Set(hook.heard.slice(0, 3).map(({ body }) => body)).size, 1)
})
