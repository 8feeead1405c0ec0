/** docs/protocol.md §14.4: a message reaches the hosts of its recipient, whatever happens in between, or its sender hears why not. */
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { isSigned, propagation, signingKey } from '../../contracts/overlay/propagation.ts'
import { paymentHeaders, type WebPayment } from '../../contracts/payment.ts'
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { toHex } from '../../market/bytes.ts'
import { MarketError } from '../../market/errors.ts'
import { sha256, sha256Hex } from '../../market/hash.ts'
import { freePrices } from '../../market/price.ts'
import { dayMs } from '../../market/units.ts'
import { decodeContent } from '../../relay/boxes/content.ts'
import { checkLedger } from '../../relay/ledger/check/check.ts'
import { HostCaller } from '../../relay/phip/caller.ts'
import { Deliveries, type DeliveriesOptions } from '../../relay/phip/deliveries.ts'
import type { Host } from '../../contracts/overlay/host.ts'
import { settle } from '../../relay/phip/outcomes.ts'
import { Way } from '../../relay/phip/way.ts'
import { contentOfBody } from '../../relay/store/body.ts'
import { putPermission } from '../../relay/store/box-settings.ts'
import { acknowledgeBoxed, sendToBoxes } from '../../relay/store/boxes.ts'
import { type Departure, findDeparture, putDeparture } from '../../relay/store/departures.ts'
import { bodyKey } from '../../relay/store/keys.ts'
import { headOf } from '../../relay/store/records.ts'
import { Store } from '../../relay/store/store.ts'
import { addWebAuth } from '../../relay/web/auth.ts'
import { clock, start } from '../fixtures/records.ts'

const us = KeyWallet.random()
const ann = KeyWallet.random()
const ben = KeyWallet.random()
const route = '/propagateMessage'
const quotas = { boxMessages: 2000, boxBytes: 1e8, boxSent: 2000, boxSentBytes: 1e8 }
const afterRest = 40_000
const neverMs = 2 ** 31 - 1
const success = { status: 'success' }

type Respond = (reply: FastifyReply, request: FastifyRequest) => unknown

/** Another host, which says what the test lets it. */
async function openHost(t: Test, { port = 0, wallet = KeyWallet.random(), domain = 'b.example' } = {}) {
  const app = Fastify({ forceCloseConnections: true })
  const auth = addWebAuth(app as never, { wallet, now: () => start, trustProxy: false })
  const respond: Respond = (reply) => reply.send(success)
  const greets = (_request: FastifyRequest): boolean => true
  const host = { key: wallet.identity, wallet, domain, url: '', asked: [] as string[], tries: 0 }
  const acts = { respond, greets }
  const opened = Object.assign(host, acts)
  app.addHook('onRequest', (request, _reply, done) => {
    host.tries++
    if (request.url === route || opened.greets(request as never)) done()
  })
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, parsed) => parsed(null, body))
    scope.post(route, (request, reply) => {
      auth.requireIdentity(request as never)
      host.asked.push(String(request.body))
      return opened.respond(reply.type('application/json'), request)
    })
    done()
  })
  host.url = await app.listen({ host: '127.0.0.1', port })
  t.teardown(() => app.close())
  const again = (port = Number(new URL(host.url).port)) => openHost(t, { port, wallet, domain })
  return Object.assign(opened, { close: () => app.close(), again })
}
type TestHost = Awaited<ReturnType<typeof openHost>>

/** A relay's own side: a store, and what leaves it. */
async function openScene(t: Test, hosts: readonly TestHost[], given: Partial<DeliveriesOptions> = {}) {
  const directory = join(t.testdir(), 'store')
  const now = clock()
  const monotonic = clock(0)
  const way = new Way({ reach: new Map(hosts.map(({ domain, url }) => [domain, url])) })
  const caller = new HostCaller({ keys: us, way, now })
  const dropped: string[] = []
  const log = {
    debug: (facts: object, message: string) => {
      if (message.startsWith('the report')) dropped.push((facts as { code: string }).code)
    },
    warn: () => {},
    error: (facts: object) => t.fail('something failed', facts),
  }
  const open = async () => {
    const store = await Store.open({ directory, now })
    const accounts = { checkRoom: () => {} }
    const options = { store, keys: us, caller, fees: undefined, accounts, quotas, now, monotonic, log }
    const limits = { lookEveryMs: neverMs }
    return { store, deliveries: await Deliveries.open({ ...options, random: () => 0.5, limits, ...given }) }
  }
  let { store, deliveries } = await open()
  const close = async () => {
    await deliveries.close()
    await store.close()
  }
  t.teardown(async () => {
    await close()
    way.close()
  })
  let count = 0
  const scene = {
    get store() {
      return store
    },
    get deliveries() {
      return deliveries
    },
    ...{ now, monotonic, dropped },
    async restart() {
      await close()
      ;({ store, deliveries } = await open())
    },
    /** Ann's message to ben, on its way to these hosts. */
    leave: (to: readonly Host[] = hosts, facts: Partial<Departure> = {}) =>
      store.commit((batch) => {
        const messageId = `message ${++count}`
        const [boxed] = sendToBoxes(batch, {
          ...{ sender: ann.identity, box: 'inbox', ttlMs: 30 * dayMs, quotas },
          messages: [
            { recipient: ben.identity, messageId, content: Buffer.alloc(9), hash: sha256Hex(messageId) },
          ],
          agree: (_batch, _recipient, { expires }) => ({
            owner: ann.identity,
            terms: { purse: 'credit', prices: freePrices, paidUntil: expires },
          }),
        })
        const record = { owner: ann.identity, recordId: boxed!.recordId, place: boxed!.place }
        const hosts = to.map(({ key, domain }) => ({ key, domain }))
        const who = { sender: ann.identity, recipient: ben.identity, box: 'inbox', messageId }
        const times = { at: batch.now, until: batch.now + 3 * dayMs }
        const rest = {
          staysHere: false,
          budget: 0,
          delivered: [],
          refused: [],
          isTold: false,
          message: signedBy(ann, messageId),
        }
        putDeparture(batch, { ...record, ...who, ...times, ...rest, hosts, ...facts })
        return record
      }),
    rest(ms = afterRest) {
      monotonic.ms += ms
      deliveries.look()
    },
    /** When so many are left, and what became of the others is durable. */
    left: (count: number) => until(() => deliveries.counts.waiting === count),
    isKept: (id: { owner: string; recordId: string }) => headOf(store, id) !== undefined,
    /** What ann finds in her box. */
    async reports() {
      const { entries } = await store.inventory({ view: { inbox: ann.identity }, after: 0, limit: 100 })
      return entries.map(({ path, place }) => {
        const { body, box } = decodeContent(contentOfBody(store.get(bodyKey(place))!))
        return { body: JSON.parse(body), box, owner: path.split('/')[1], place, path }
      })
    },
    async differences() {
      const snapshot = store.snapshot()
      const { signal } = new AbortController()
      return (await checkLedger(snapshot, { now: now(), signal }).finally(() => snapshot.close())).differences
    },
  }
  return scene
}

/** As she signed her request for us. */
function signedBy(sender: KeyWallet, text: string): Departure['message'] {
  const signed = Buffer.from(text)
  const [nonce, yourNonce] = ['one', 'two'].map((name) => Buffer.from(sha256(name)).toString('base64')) as [
    string,
    string,
  ]
  const name = { protocolID: [2, 'auth message signature'] as [2, string], keyID: `${nonce} ${yourNonce}` }
  const signature = toHex(sender.signatures({ ...name, counterparty: us.identity }).sign(sha256(signed)))
  return { protocol: 'brc104', signature, nonce, yourNonce, signed }
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await setImmediate()
}

const refuse =
  (status: number, code: string): Respond =>
  (reply) =>
    reply.status(status).send({ status: 'error', code, description: 'no\n\u001b[2J' })

const drop: Respond = (reply) => void reply.hijack().raw.destroy()

/** It does not even prove its key. */
function goAway(host: TestHost): void {
  host.greets = ({ raw }) => {
    raw.destroy()
    return false
  }
}

t.test('a message is delivered, with the proof that its sender signed it', async (t) => {
  const [b, c] = [await openHost(t), await openHost(t, { domain: 'c.example' })]
  const scene = await openScene(t, [b, c])
  const sent = await scene.leave()
  const stays = await scene.leave([b], { staysHere: true })

  const outcomes = await scene.deliveries.begin([sent.place, stays.place, 12345])

  const delivered = { recipient: ben.identity, status: 'delivered' }
  t.same(outcomes, [
    { ...delivered, host: 'b.example' },
    { ...delivered, host: 'c.example' },
    { ...delivered, host: 'b.example' },
  ])
  t.equal(scene.isKept(sent), false)
  t.equal(scene.isKept(stays), true, 'its recipient lives here as well')
  t.equal(findDeparture(scene.store, sent.place), undefined)
  t.same(await scene.reports(), [], 'its sender was told')
  t.match(scene.deliveries.counts, { waiting: 0, delivered: 3, refused: 0, givenUp: 0, retries: 0 })
  const brought = propagation(1000).parse(JSON.parse(c.asked[0]!))
  const key = signingKey(brought, us.identity)
  t.equal(brought.originalSender, ann.identity)
  t.ok(brought.proof !== undefined && key !== undefined && isSigned(brought, key))
  t.same(await scene.differences(), [])
})

t.test('what a host refuses is told at once', async (t) => {
  const [b, c] = [await openHost(t), await openHost(t, { domain: 'c.example' })]
  const scene = await openScene(t, [b, c])
  b.respond = refuse(403, 'ERR_DELIVERY_BLOCKED')
  c.respond = (reply) => reply.status(404).send({ code: 'what do\nI know' })
  const sent = await scene.leave()

  const outcomes = await scene.deliveries.begin([sent.place])

  const refused = { recipient: ben.identity, status: 'refused' }
  t.same(outcomes, [
    { ...refused, host: 'b.example', code: 'ERR_DELIVERY_BLOCKED', description: 'no [2J' },
    { ...refused, host: 'c.example', code: 'ERR_HTTP_404' },
  ])
  t.equal(scene.isKept(sent), false)
  t.same(await scene.reports(), [])
})

t.test('a host that is down gets it when it is up, and the sender hears of it in a box', async (t) => {
  const [b, c] = [await openHost(t), await openHost(t, { domain: 'c.example' })]
  const scene = await openScene(t, [b, c])
  await b.close()
  c.respond = refuse(400, 'ERR_MALFORMED')
  const sent = await scene.leave()

  const [waiting, refused] = await scene.deliveries.begin([sent.place])
  t.match(waiting, { host: 'b.example', status: 'waiting', code: 'ERR_BUSY' })
  t.notMatch(JSON.stringify(waiting), '127.0.0.1', 'how our network looks inside')
  t.match(refused, { host: 'c.example', status: 'refused' })
  t.match(findDeparture(scene.store, sent.place), {
    isTold: true,
    hosts: [{ domain: 'b.example' }],
    refused: [{ domain: 'c.example', code: 'ERR_MALFORMED' }],
  })
  t.equal(scene.isKept(sent), true)

  const up = await b.again()
  scene.rest(afterRest / 2)
  t.equal(up.tries, 0, 'not before it has rested')
  scene.rest()
  await scene.left(0)
  const [report, ...others] = await scene.reports()
  t.same(others, [])
  t.match(report, { box: 'delivery_reports', owner: us.identity })
  t.same(report?.body, {
    ...{ type: 'delivery', messageId: 'message 1', recipient: ben.identity, messageBox: 'inbox' },
    status: 'delivered',
    hosts: [
      { host: 'b.example', status: 'delivered' },
      { host: 'c.example', status: 'refused', code: 'ERR_MALFORMED' },
    ],
    at: start,
  })
  t.same(await scene.differences(), [])
})

t.test('a restart takes up what was on its way, and the sender hears of that, too', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b])
  await b.close()
  const told = await scene.leave()
  await scene.deliveries.begin([told.place])
  await scene.leave() // unheard of
  const up = await b.again()

  await scene.restart()
  await scene.left(0)

  t.equal(up.asked.length, 2)
  t.same((await scene.reports()).map(({ body }) => body.messageId).sort(), ['message 1', 'message 2'])
})

t.test('whoever has acknowledged it here needs it nowhere else', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b], { limits: { lookEveryMs: 5 } })
  b.respond = refuse(429, 'ERR_INBOX_QUOTA_EXCEEDED')
  const sent = await scene.leave()
  t.match(await scene.deliveries.begin([sent.place]), [
    { status: 'waiting', code: 'ERR_INBOX_QUOTA_EXCEEDED' },
  ])

  await scene.store.commit((batch) => acknowledgeBoxed(batch, [sent]))
  scene.monotonic.ms += afterRest // its timer sees it
  await scene.left(0)

  t.equal(b.asked.length, 1, 'it was not asked again')
  t.match(await scene.reports(), [{ body: { status: 'delivered', hosts: [] } }])
})

t.test('after three days it is given up', async (t) => {
  const b = await openHost(t)
  let isTrusted = false
  const checkClock = () => {
    if (!isTrusted) throw new MarketError('ERR_BUSY', 'the clock jumped')
  }
  const scene = await openScene(t, [b], { checkClock })
  b.respond = refuse(429, 'ERR_INBOX_QUOTA_EXCEEDED')
  const sent = await scene.leave()
  await scene.deliveries.begin([sent.place])

  scene.now.ms += 3 * dayMs
  scene.rest()
  await until(() => scene.deliveries.counts.retries === 2)
  t.equal(scene.isKept(sent), true, 'not while the clock is not trusted')
  isTrusted = true
  scene.rest(60_000)
  await scene.left(0)

  t.match(await scene.reports(), [
    {
      body: {
        status: 'given up',
        hosts: [{ host: 'b.example', status: 'given up', code: 'ERR_DELIVERY_EXPIRED' }],
      },
    },
  ])
  t.match(scene.deliveries.counts, { waiting: 0, givenUp: 1 })
  t.equal(b.asked.length, 2)
})

t.test('a message that a host cannot take holds up no other', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b])
  const busyWith =
    (id: string, status: number, code: string): Respond =>
    (reply, request) =>
      String(request.body).includes(id) ? refuse(status, code)(reply, request) : reply.send(success)
  const [full, failing, ...good] = await Promise.all(Array.from({ length: 12 }, () => scene.leave()))
  b.respond = busyWith('"message 1"', 429, 'ERR_INBOX_QUOTA_EXCEEDED')
  const outcomes = await scene.deliveries.begin([full!, ...good].map(({ place }) => place))
  t.same(
    outcomes.map(({ status }) => status),
    ['waiting', ...good.map(() => 'delivered')],
  )

  b.respond = busyWith('"message 2"', 500, 'ERR_INTERNAL')
  t.match(await scene.deliveries.begin([failing!.place]), [{ status: 'waiting' }])
  const after = await scene.leave()
  t.match(await scene.deliveries.begin([after.place]), [{ status: 'delivered' }], 'nor does its failure')
  const asked = b.asked.length
  scene.rest()
  await scene.left(1)
  await until(() => scene.deliveries.counts.retries === 3)
  t.equal(b.asked.length, asked + 2, 'each once')
})

t.test('messages that a host never answers hold up none that it does', async (t) => {
  const raw =
    (text: string): Respond =>
    (reply) => {
      reply.hijack()
      reply.raw.socket?.end(text)
    }
  const ways: [what: string, Respond][] = [
    ['413 of what stands before it', raw('HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n')],
    ['503 of what stands before it', raw('HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n')],
    [
      'another protocol',
      raw('HTTP/1.1 101 Switching Protocols\r\nupgrade: a\r\nconnection: upgrade\r\n\r\n'),
    ],
    ['a connection that ends', drop],
    ['503 that it signs', refuse(503, 'ERR_BUSY')],
    ['401 that it signs', refuse(401, 'ERR_UNAUTHORIZED')],
    ['429 that it signs', refuse(429, 'ERR_LIMIT')],
  ]
  const b = await openHost(t)
  const scene = await openScene(t, [b])
  const counts = { poisons: 0, honest: 0 }
  for (const [at, [what, respond]] of ways.entries()) {
    const count = at === 0 ? 30 : 4
    const poisons = await Promise.all(Array.from({ length: count }, () => scene.leave()))
    const honest = await scene.leave()
    const places = [...poisons, honest].map(({ place }) => place)
    const ids = new Set(poisons.map(({ place }) => `"${findDeparture(scene.store, place)!.messageId}"`))
    const isPoison = (body: string) => [...ids].some((id) => body.includes(id))
    b.respond = (reply, request) =>
      isPoison(String(request.body)) ? respond(reply, request) : reply.send(success)
    b.asked.length = 0
    const outcomes = await scene.deliveries.begin(places, 1e9)
    t.same(
      outcomes.map(({ status }) => status),
      [...poisons.map(() => 'waiting'), 'delivered'],
      what,
    )
    t.equal(new Set(b.asked.filter(isPoison)).size, count, 'each was tried')
    t.match(await scene.deliveries.begin([(await scene.leave()).place]), [{ status: 'delivered' }])
    b.respond = (reply) => reply.send(success)
    scene.rest()
    await scene.left(0)
    counts.poisons += count
    counts.honest += 2
    t.equal(scene.deliveries.counts.delivered, counts.poisons + counts.honest, 'nothing is lost')
    t.equal(scene.deliveries.counts.retries, counts.poisons, 'each was tried once before')
  }

  await b.close()
  t.match(await scene.deliveries.begin([(await scene.leave()).place]), [{ status: 'waiting' }])
  await scene.leave()
  const { retries } = scene.deliveries.counts
  t.match(await scene.deliveries.begin([(await scene.leave()).place], 1e9), [{ status: 'waiting' }])
  t.equal(scene.deliveries.counts.retries, retries, 'for a host that is away all wait')
})

t.test('what a host is paid for and never answers holds up no other either', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b], { fees: openPurse().fees })
  b.respond = (reply, request) => {
    if (request.headers[paymentHeaders.payment] !== undefined) return drop(reply, request)
    const asks = { [paymentHeaders.version]: '1.0', [paymentHeaders.required]: '10' }
    return reply
      .status(402)
      .headers({ ...asks, [paymentHeaders.prefix]: 'prefix' })
      .send({})
  }
  const paid = await Promise.all(Array.from({ length: 5 }, () => scene.leave([b], { budget: 10 })))
  const unpaid = await scene.leave()

  const outcomes = await scene.deliveries.begin(
    [...paid, unpaid].map(({ place }) => place),
    1e9,
  )

  t.same(
    outcomes.map(({ status }) => status),
    [...paid.map(() => 'waiting'), 'refused'],
  )
})

t.test('a relay stops while it looks whether a host is there', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b])
  b.respond = drop
  let asked = 0
  b.greets = () => ++asked === 1
  const told = scene.deliveries.begin([(await scene.leave()).place], 1e9)
  await until(() => asked === 2)
  const start = performance.now()
  await scene.deliveries.close()
  t.ok(performance.now() - start < 5000)
  t.match(await told, [{ status: 'waiting' }])
})

t.test('a host that answers late is one of those that may hang', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b])
  const begin = (count: number) =>
    Promise.all(Array.from({ length: count }, () => scene.leave())).then((sent) =>
      scene.deliveries.begin(
        sent.map(({ place }) => place),
        1e9,
      ),
    )
  let [underWay, most, lateMs] = [0, 0, 0]
  b.respond = async (reply) => {
    most = Math.max(most, ++underWay)
    for (let turn = 0; turn < 200 && underWay < 2; turn++) await setImmediate() // another call may come
    scene.monotonic.ms += lateMs
    underWay--
    return reply.send(success)
  }
  const atOnce = async (count: number) => {
    most = 0
    await begin(count)
    return most
  }
  await begin(1)
  lateMs = 2000
  await begin(1)
  t.equal(await atOnce(6), 1, 'it is asked for one thing at a time')
  lateMs = 1999
  await begin(1)
  lateMs = 0
  t.equal(await atOnce(6), 2)
  t.equal(scene.deliveries.counts.retries, 0)
})

t.test('a dead host costs one try per rest, however many wait for it', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b], { limits: { departures: 1001, lookEveryMs: neverMs } })
  goAway(b)
  await Promise.all(Array.from({ length: 1000 }, () => scene.leave()))
  const { counts } = scene.deliveries
  await scene.restart()

  for (const [tries, restMs] of [30, 60, 120, 240].map((s, at) => [at + 1, s * 1000 * 1.125] as const)) {
    await until(() => scene.deliveries.counts.retries === tries)
    scene.rest(restMs - 1)
    t.equal(b.tries, tries)
    scene.rest(1)
  }
  await until(() => scene.deliveries.counts.retries === 5)
  const last = await scene.leave()
  t.match(await scene.deliveries.begin([last.place], 1e9), [{ status: 'waiting' }], 'known at once')

  t.equal(b.tries, 5)
  t.match(counts, { waiting: 0 })
  t.match(scene.deliveries.counts, { waiting: 1001, delivered: 0 })
  t.doesNotThrow(() => scene.deliveries.checkRoom(ben.identity, 0, 1000))
  t.throws(() => scene.deliveries.checkRoom(ben.identity, 1, 0), { code: 'ERR_BUSY' })
  t.throws(() => scene.deliveries.checkRoom(ben.identity, 0, 256 << 20), { code: 'ERR_BUSY' })
  t.throws(
    () => scene.deliveries.checkRoom(ann.identity, 0, 0),
    { code: 'ERR_BUSY' },
    'one sender has but a part',
  )
})

t.test('hosts take turns: eight calls at once, two of each', async (t) => {
  const b = await openHost(t)
  const domains = Array.from({ length: 10 }, (_, at) => ({ ...b, domain: `b${at}.example` }))
  const scene = await openScene(t, domains)
  let [underWay, most] = [0, 0]
  const goOn: (() => void)[] = []
  b.respond = async (reply) => {
    most = Math.max(most, ++underWay)
    await new Promise<void>((resolve) => goOn.push(resolve))
    underWay--
    return reply.send(success)
  }
  const finish = async (asked: Promise<unknown>) => {
    let isOver = false
    const over = asked.finally(() => {
      isOver = true
    })
    await until(() => {
      for (const go of goOn.splice(0)) go()
      return isOver
    })
    return over
  }
  const many = await Promise.all(domains.flatMap((domain) => [scene.leave([domain]), scene.leave([domain])]))
  const all = scene.deliveries.begin(many.map(({ place }) => place))
  await until(() => goOn.length === 8)
  t.equal(new Set(b.asked).size, 8)
  await finish(all)
  t.equal(most, 8)
  t.equal(scene.deliveries.counts.delivered, 20)

  most = 0
  const one = await Promise.all(Array.from({ length: 6 }, () => scene.leave([domains[0]!])))
  const asked = scene.deliveries.begin(one.map(({ place }) => place))
  await until(() => goOn.length > 0)
  goOn.shift()?.()
  await until(() => goOn.length === 2)
  await finish(asked)
  t.equal(most, 2)
})

t.test('all that wait for a host hear at once that it does not answer', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b])
  goAway(b)
  const sent = [await scene.leave(), await scene.leave(), await scene.leave()]
  const asked = await Promise.all(sent.map(({ place }) => scene.deliveries.begin([place], 1e9)))
  t.match(asked, [[{ status: 'waiting' }], [{ status: 'waiting' }], [{ status: 'waiting' }]])
  t.equal(b.tries, 1)
})

t.test('hosts that hang hold up none that answer', async (t) => {
  const [b, c] = [await openHost(t), await openHost(t, { domain: 'c.example' })]
  const hanging = Array.from({ length: 12 }, (_, at) => ({ ...c, domain: `c${at}.example` }))
  const scene = await openScene(t, [b, ...hanging])
  await scene.deliveries.begin([(await scene.leave([b])).place])
  scene.deliveries.look()
  c.respond = () => new Promise(() => {})
  const stuck = await Promise.all(hanging.map((host) => scene.leave([host])))
  const asked = scene.deliveries.begin(stuck.map(({ place }) => place))
  await until(() => c.asked.length === 8)

  t.match(await scene.deliveries.begin([(await scene.leave([b])).place]), [{ status: 'delivered' }])
  t.equal(c.asked.length, 8)
  await scene.deliveries.close()
  t.ok((await asked).every(({ status }) => status === 'waiting'))
})

t.test('who waits while the relay stops is told that it is on its way', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b])
  const sent = await scene.leave()
  b.respond = () => new Promise(() => {})

  const asked = scene.deliveries.begin([sent.place])
  await until(() => b.asked.length === 1)
  b.respond = (reply) => reply.send(success)
  await scene.restart()
  await scene.left(0)

  t.match(await asked, [{ host: 'b.example', status: 'waiting' }])
  t.match(await scene.reports(), [{ body: { status: 'delivered' } }])
})

t.test('no message is brought twice at once to a host', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b])
  const sent = await scene.leave()
  let answer = (): void => {}
  b.respond = (reply) =>
    new Promise((resolve) => {
      answer = () => resolve(reply.send(success) as never)
    })

  const asked = scene.deliveries.begin([sent.place])
  await until(() => b.asked.length === 1)
  const other = await scene.deliveries.begin([sent.place], 0)
  scene.rest()
  answer()

  t.match(other, [{ status: 'waiting' }])
  t.match(await asked, [{ status: 'delivered' }])
  t.equal(b.asked.length, 1)
  t.match(await scene.reports(), [{ body: { status: 'delivered' } }], 'as the one was told it would come')
})

t.test('hosts are paid once, within the budget of the message', async (t) => {
  const [b, c] = [await openHost(t), await openHost(t, { domain: 'c.example' })]
  const purse = openPurse()
  const scene = await openScene(t, [b, c], { fees: purse.fees })
  const sells =
    (satoshis: number, taken = true): Respond =>
    (reply, { headers }) => {
      if (headers[paymentHeaders.payment] !== undefined && taken) return reply.send(success)
      if (headers[paymentHeaders.payment] !== undefined) return refuse(503, 'ERR_BUSY')(reply, {} as never)
      const asks = { [paymentHeaders.version]: '1.0', [paymentHeaders.required]: String(satoshis) }
      return reply
        .status(402)
        .headers({ ...asks, [paymentHeaders.prefix]: 'prefix' })
        .send({ status: 'error', code: 'ERR_PAYMENT_REQUIRED' })
    }
  b.respond = sells(60)
  c.respond = sells(50)

  const rich = await scene.leave([b, c], { budget: 110 })
  const poor = await scene.leave([b, c], { budget: 109 })
  const none = await scene.leave([b])
  const outcomes = await scene.deliveries.begin([rich.place, poor.place, none.place])
  const [one, two, three, four, five] = outcomes.map(({ status }) => status)
  t.same([one, two, five], ['delivered', 'delivered', 'refused'])
  t.same([three, four].sort(), ['delivered', 'refused'], 'for one of the two there is enough')
  t.equal(outcomes.find(({ status }) => status === 'refused')?.code, 'ERR_PAYMENT_REQUIRED')
  t.equal(purse.payments.size, 3)

  b.respond = sells(10, false)
  const later = await scene.leave([b], { budget: 110 })
  t.match(await scene.deliveries.begin([later.place]), [{ status: 'waiting', code: 'ERR_BUSY' }])
  b.respond = sells(10)
  const asked = b.asked.length
  scene.rest()
  await scene.left(0)
  t.equal(b.asked.length, asked + 1, 'with the payment of before, at once')
  t.equal(purse.payments.size, 4)

  purse.isOpen = false
  const shut = await scene.leave([b], { budget: 110 })
  t.match(await scene.deliveries.begin([shut.place]), [{ status: 'waiting', code: 'ERR_CHAIN_UNAVAILABLE' }])
  purse.isOpen = true
  scene.rest()
  await scene.left(0)
})

/** Satoshi as numbers: which of them are coins is tested where they are. */
function openPurse() {
  const purse = {
    isOpen: true,
    payments: new Map<string, { place: number; satoshis: number } & WebPayment>(),
  }
  const nameOf = ({ place, host }: { place: number; host: Host }) => `${place} ${host.domain}`
  const spent = (place: number) =>
    [...purse.payments.values()].reduce((sum, one) => sum + (one.place === place ? one.satoshis : 0), 0)
  const fees: NonNullable<DeliveriesOptions['fees']> = {
    async pay({ budget, satoshis, derivationPrefix, ...name }) {
      if (!purse.isOpen) throw new MarketError('ERR_CHAIN_UNAVAILABLE', 'no chain')
      if (satoshis > budget) throw new MarketError('ERR_PAYMENT_REQUIRED', 'too dear')
      const payment = { derivationPrefix, derivationSuffix: nameOf(name), transaction: 'AAAA' }
      purse.payments.set(nameOf(name), { place: name.place, satoshis, ...payment })
      return payment
    },
    paid: async (name) => purse.payments.get(nameOf(name)),
    spent: async (place) => spent(place),
  }
  return Object.assign(purse, { fees })
}

t.test('a report is put once, into a box that has room, of a reader who wants it', async (t) => {
  const b = await openHost(t)
  const scene = await openScene(t, [b], { quotas: { ...quotas, boxMessages: 1, boxSent: 1 } })
  const { key, domain } = b
  const ending = {
    reports: { keys: us, quotas, checkRoom: () => {} },
    isAwaited: () => false,
    onDropped: () => t.fail('there is room'),
  }
  const first = await scene.leave()
  const fates = [{ host: { key, domain }, code: 'ERR_FORBIDDEN' }]
  const repeated = () => scene.store.commit((batch) => settle(batch, first.place, fates, ending))
  t.same([await repeated(), await repeated()], [true, false])
  t.match(await scene.reports(), [{ body: { status: 'refused', hosts: [{ code: 'ERR_FORBIDDEN' }] } }])

  const drop = async () => {
    const { place } = await scene.leave([b], { isTold: true })
    await scene.deliveries.begin([place])
    t.equal(findDeparture(scene.store, place), undefined, 'it is over all the same')
  }
  await drop()
  await scene.store.commit((batch) =>
    putPermission(batch, ann.identity, { box: 'delivery_reports', sender: '', fee: -1, isStranger: false }),
  )
  await drop()

  t.same(scene.dropped, ['ERR_INBOX_QUOTA_EXCEEDED', 'ERR_DELIVERY_BLOCKED'])
  t.equal((await scene.reports()).length, 1)
})
