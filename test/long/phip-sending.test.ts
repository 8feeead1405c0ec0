/** docs/protocol.md §14.4: what becomes of messages for people who live on other hosts, whatever these hosts do. */
import { once } from 'node:events'
import { createServer as createWebServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { LookupResolver, type WalletInterface } from '@bsv/sdk'
import { MessageBoxClient } from '@bsv/message-box-client'
import t from 'tap'
import { control } from '../../relay/operator/control.ts'
import { boxUser, told } from '../fixtures/boxes.ts'
import { liveUser } from '../fixtures/box-live.ts'
import { openFederation, type TestHost, until } from '../fixtures/federation.ts'
import { openOtherHost, placeOf, refuses } from '../fixtures/other-host.ts'
import { start, startTestRelay } from '../fixtures/relay.ts'
import { keysOf } from '../fixtures/wallet.ts'

t.setTimeout(60_000)
for (const method of ['warn', 'info', 'log', 'error'] as const) t.capture(console, method)

t.test('hosts that others tell of', async (t) => {
  const places = { c: await placeOf('c'), d: await placeOf('d'), hangs: await placeOf('hangs') }
  const reach = Object.values(places).flatMap(({ args }) => args)
  const scene = await openFederation(t, { a: ['--open', ...reach] })
  const { a, b } = scene
  const [c, d, hangs] = [
    await openOtherHost(t, scene, places.c),
    await openOtherHost(t, scene, places.d),
    await openOtherHost(t, scene, places.hangs),
  ]
  const alice = await boxUser(a, 'alice')
  const bob = await scene.resident('bob', b)
  const listed = async (name: string, host: TestHost, box = 'inbox') =>
    told(await (await boxUser(host, name)).list(box))
  const sent = async (name: string, messageId: string, fields: Record<string, unknown> = {}) =>
    alice.send({ key: keysOf(name).identity }, { messageId, ...fields })
  const is = (status: string, host: { domain: string }, fields: object = {}) => ({
    ...{ status, host: host.domain },
    ...fields,
  })

  hangs.raw = () => undefined
  await hangs.takes([keysOf('zoe')], a)
  const slow = sent('zoe', 'slow')

  await t.test('several recipients, each where he lives', async (t) => {
    const carol = await scene.resident('carol', a)
    const dave = await boxUser(a, 'dave')
    const answer = await alice.send(undefined, {
      recipients: [carol.key, bob.key, dave.key],
      messageId: ['1', '2', '3'],
    })
    t.match(answer, { status: 200, body: { status: 'success' } })
    const [hers, his, daves] = answer.body.results
    t.same(hers, { recipient: carol.key, messageId: '1' })
    t.same(his, {
      ...{ recipient: bob.key, messageId: '2', delivery: 'delivered' },
      hosts: [is('delivered', b)],
    })
    t.same(daves, { recipient: dave.key, messageId: '3' })
    t.same(told(await carol.list()), ['1 "hello"'])
    t.same(told(await bob.list()), ['2 "hello"'])
    t.same(told(await dave.list()), ['3 "hello"'])
    t.same(await listed('bob', a), [])
    t.same(await listed('carol', b), [], 'who lives elsewhere, though the message was signed for her, too')
  })

  await t.test('two hosts, of which one refuses', async (t) => {
    await scene.resident('frank', b)
    await c.takes([keysOf('frank')], a)
    c.respond = refuses(403, 'ERR_NOT_HERE')
    const answer = await sent('frank', 'both')
    t.equal(answer.status, 200)
    const [{ delivery, hosts }] = answer.body.results
    t.equal(delivery, 'delivered')
    const [one, other] = [
      is('delivered', b),
      is('refused', c, { code: 'ERR_NOT_HERE', description: 'so it is' }),
    ]
    t.match(new Set(hosts), new Set([one, other]))
    t.same([await listed('frank', b), await listed('frank', a)], [['both "hello"'], []])
    t.equal(c.asked.length, 1)
  })

  await t.test('who lives here as well has it at both', async (t) => {
    await scene.resident('gail', b)
    await control(`${a.data}/control.json`, 'grant', { key: keysOf('gail').identity, satoshi: 1 })
    t.match(await sent('gail', 'twice'), { body: { results: [{ delivery: 'delivered' }] } })
    t.same([await listed('gail', a), await listed('gail', b)], [['twice "hello"'], ['twice "hello"']])
    c.respond = refuses(403, 'ERR_NOT_HERE')
    await control(`${a.data}/control.json`, 'grant', { key: keysOf('hugo').identity, satoshi: 1 })
    await c.takes([keysOf('frank'), keysOf('hugo')], a)
    t.match(
      await sent('hugo', 'here'),
      { status: 200, body: { results: [{ delivery: 'delivered', hosts: [is('refused', c)] }] } },
      'what another host refuses is here all the same',
    )
    t.same(await listed('hugo', a), ['here "hello"'])
  })

  await t.test('the pattern of the token says which boxes', async (t) => {
    await scene.resident('ivan', b, '^(inbox|payment_.*)$')
    for (const [box, isElsewhere] of [
      ['inbox', true],
      ['payment_inbox', true],
      ['other', false],
    ] as const) {
      const answer = await sent('ivan', box, { messageBox: box })
      t.equal(answer.body.results[0].delivery, isElsewhere ? 'delivered' : undefined, box)
      t.same(await listed('ivan', isElsewhere ? b : a, box), [`${box} "hello"`])
      t.same(await listed('ivan', isElsewhere ? a : b, box), [])
    }
  })

  await t.test('as large as messages are, and no larger', async (t) => {
    // Each of these is two bytes in JSON, and four where JSON is in JSON.
    const largest = '"'.repeat(1 << 20)
    const answer = await sent('bob', 'large', { messageBox: 'large', body: largest })
    t.match(
      answer,
      { status: 200, body: { results: [{ delivery: 'delivered' }] } },
      answer.text.slice(0, 500),
    )
    const { messages } = (await bob.list('large')).body
    t.equal(JSON.parse(messages[0].body).message, largest)
    const larger = await sent('bob', 'larger', { messageBox: 'large', body: `${largest}.` })
    t.match(larger, { status: 413, body: { code: 'ERR_MESSAGE_BODY_TOO_LARGE' } })
    const junk = { messageBox: 'large', junk: 'x'.repeat(5 << 20) }
    t.match(
      await sent('bob', 'junk', junk),
      { status: 413, body: { code: 'ERR_MESSAGE_BODY_TOO_LARGE' } },
      'what is signed with it',
    )
    t.equal((await bob.list('large')).body.messages.length, 1)
  })

  await t.test(
    'what was left here before its recipient lived elsewhere leaves when it is sent again',
    async (t) => {
      t.same((await sent('walt', 'early')).body.results, [
        { recipient: keysOf('walt').identity, messageId: 'early' },
      ])
      t.same(await listed('walt', a), ['early "hello"'])
      await scene.resident('walt', b)
      for (const _ of ['again', 'and again'])
        t.match((await sent('walt', 'early')).body.results, [
          { delivery: 'delivered', hosts: [is('delivered', b)] },
        ])
      t.same([await listed('walt', a), await listed('walt', b)], [[], ['early "hello"']])
    },
  )

  await t.test('live', async (t) => {
    const clientOf = async (name: string, host: string) => {
      const local = { networkPreset: 'local' as const, hostOverrides: { ls_messagebox: [host] } }
      const walletClient = (await scene.open(name)) as unknown as WalletInterface
      const client = new MessageBoxClient({ host, walletClient, networkPreset: 'local' })
      Object.assign(client, { lookupResolver: new LookupResolver(local) })
      t.teardown(() => client.disconnectWebSocket())
      return client
    }
    const lover = liveUser(a, 'alice')
    t.teardown(() => lover.close())
    await lover.heard('authenticationSuccess')
    t.match(await lover.send(bob, 'live', { messageId: 'raw', body: 'x' }), {
      status: 'error',
      code: 'ERR_RECIPIENT_ELSEWHERE',
    })
    const [sender, listener] = [await clientOf('alice', a.url), await clientOf('bob', b.url)]
    const heard: unknown[] = []
    await listener.listenForLiveMessages({
      messageBox: 'live',
      overrideHost: b.url,
      onMessage: ({ sender, body }) => void heard.push([sender, body]),
    })
    const to = { recipient: bob.key, messageBox: 'live' }
    t.match(await sender.sendLiveMessage({ ...to, body: 'alive' }, a.url), { status: 'success' })
    t.match(await sender.sendMessage({ ...to, body: 'posted' }, a.url), { status: 'success' })
    await until(() => heard.length === 2)
    t.match(heard[0], [alice.key, /alive/])
    t.match(heard[1], [alice.key, /posted/])
    const got = await listener.listMessagesLite({ messageBox: 'live', host: b.url })
    t.same(
      got.map(({ body }) => body),
      ['alive', 'posted'],
      'as it was encrypted',
    )
  })

  await t.test('hosts that say no', async (t) => {
    await bob.post('/permissions/set', { messageBox: 'shut', recipientFee: -1 })
    const no = await sent('bob', 'no', { messageBox: 'shut' })
    t.match(no, {
      status: 502,
      body: {
        ...{ status: 'error', code: 'ERR_DELIVERY_FAILED' },
        results: [
          {
            messageId: 'no',
            delivery: 'refused',
            hosts: [is('refused', b, { code: 'ERR_DELIVERY_BLOCKED' })],
          },
        ],
      },
    })
    t.same(await listed('bob', a, 'shut'), [])
    await b.stop()
    await b.start('--open', '--phip-deny', a.key)
    t.match(await sent('bob', 'denied'), {
      status: 502,
      body: { results: [{ hosts: [is('refused', b, { code: 'ERR_FORBIDDEN' })] }] },
    })
    await b.stop()
    await b.start('--open')
    t.match(await sent('bob', 'again'), { body: { results: [{ delivery: 'delivered' }] } })
  })

  await t.test('hosts that lie', async (t) => {
    await d.takes(['lia', 'ron', 'sid'].map(keysOf), a)
    const inside = createServer((socket) => void reached.push(socket.destroy()))
    const reached: unknown[] = []
    inside.listen(0, '127.0.0.1')
    await once(inside, 'listening')
    t.teardown(() => void inside.close())
    for (const [messageId, raw] of [
      ['unsigned', (_request, response) => void response.end('{"status":"success"}')],
      ['redirect', (_request, response) => void response.writeHead(307, { location: `${b.url}/` }).end()],
      ['cut', (_request, response) => void response.destroy()],
    ] as [string, NonNullable<typeof d.raw>][]) {
      d.raw = raw
      const answer = await sent('lia', messageId)
      t.match(answer, {
        status: 200,
        body: { results: [{ delivery: 'waiting', hosts: [is('waiting', d)] }] },
      })
      t.notMatch(answer.text, /127\.0\.0\.1/)
      scene.clock.now += 180_000
    }
    d.raw = undefined
    scene.clock.now += 180_000
    await until(() => d.asked.length === 3)
    t.same(new Set(d.asked.map(({ body }) => body.messageId)), new Set(['unsigned', 'redirect', 'cut']))

    const { port } = inside.address() as AddressInfo
    const within = await openOtherHost(t, scene, { ...(await placeOf('within')), domain: `0x7f.1:${port}` })
    await within.takes([keysOf('ned')], a)
    const answer = await sent('ned', 'inside')
    t.match(answer.body.results, [{ delivery: 'waiting', hosts: [is('waiting', within)] }])
    t.equal(reached.length, 0, 'a name for this machine leads nowhere')
  })

  await t.test('a token that is revoked is followed no more', async (t) => {
    await c.takes([keysOf('frank')], a)
    scene.clock.now += 61_000
    const before = c.asked.length
    t.match((await sent('hugo', 'stays')).body.results, [{ messageId: 'stays', delivery: undefined }])
    t.equal(c.asked.length, before)
    t.same(await listed('hugo', a), ['here "hello"', 'stays "hello"'])
  })

  await t.test('a host that says nothing holds up its sender for seconds, and nobody else', async (t) => {
    t.match(await slow, {
      status: 200,
      body: { results: [{ delivery: 'waiting', hosts: [is('waiting', hangs)] }] },
    })
  })

  await t.test('a host that is denied is brought nothing', async (t) => {
    await a.stop()
    await a.start('--open', '--phip-deny', b.key)
    const answer = await (await boxUser(a, 'alice')).send(bob, { messageId: 'kept', messageBox: 'kept' })
    t.same(answer.body.results, [{ recipient: bob.key, messageId: 'kept' }])
    t.same([await listed('bob', a, 'kept'), await listed('bob', b, 'kept')], [['kept "hello"'], []])
  })
})

t.test('while nobody says where people live, nothing is left for those who may live elsewhere', async (t) => {
  let [status, asked] = [503, 0]
  const lookup = createWebServer((_request, response) => {
    asked++
    response
      .writeHead(status, { 'content-type': 'application/json' })
      .end('{"type":"output-list","outputs":[]}')
  })
  lookup.listen(0, '127.0.0.1')
  await once(lookup, 'listening')
  t.teardown(() => {
    lookup.closeAllConnections()
    lookup.close()
  })
  const clock = { ms: start }
  const url = `http://127.0.0.1:${(lookup.address() as AddressInfo).port}`
  const relay = await startTestRelay(t.testdir(), {
    args: ['--open', '--allow', keysOf('bob').identity, '--phip-lookup', url],
    now: () => clock.ms,
  })
  t.teardown(() => relay.close())
  const [alice, bob, zed] = await Promise.all([
    boxUser(relay, 'alice'),
    boxUser(relay, 'bob'),
    boxUser(relay, 'zed'),
  ])
  const unknown = { status: 503, body: { status: 'error', code: 'ERR_BUSY' } }

  t.match(await alice.send(zed, { messageId: 'one' }), unknown)
  t.match(
    await alice.send(undefined, { recipients: [bob.key, zed.key], messageId: ['two', 'three'] }),
    unknown,
    'all of them, or none',
  )
  t.match(await alice.send(bob, { messageId: 'four' }), { status: 200 }, 'he lives here')
  t.same([told(await zed.list()), told(await bob.list())], [[], ['four "hello"']])
  t.equal(asked, 2, 'once for each')
  status = 200
  t.match(await alice.send(zed, { messageId: 'one' }), unknown, 'for a while')
  clock.ms += 10_000
  t.match(await alice.send(zed, { messageId: 'one' }), { status: 200 })
  t.same(told(await zed.list()), ['one "hello"'])
})
